package durable

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// OpenFile is root.OpenFile for files of any size. os.Root opens without O_LARGEFILE, and a 32-bit
// kernel interface then refuses every file of 2 GiB or more (EOVERFLOW); os.OpenFile and
// unix.Openat add the flag themselves. It is the one place through which a file below an os.Root
// is opened; a test of the sources holds that.
func OpenFile(root *os.Root, name string, flag int, perm fs.FileMode) (*os.File, error) {
	return root.OpenFile(name, flag|unix.O_LARGEFILE, perm)
}

// OpenDir opens a directory below root, to read its names or to sync it.
func OpenDir(root *os.Root, name string) (*os.File, error) {
	return OpenFile(root, name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
}
