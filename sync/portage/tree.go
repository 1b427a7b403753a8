package portage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Limits of what is read. They are far above what real configurations have; passing one is
// reported, never cut in silence.
const (
	MaxFile  = 4 << 20  // bytes of one configuration file
	MaxTotal = 64 << 20 // bytes of all configuration files of one Load
	MaxFiles = 10_000   // files of one Load
)

const maxLinks = 40 // symlinks followed in one path, as Linux does

var errTooLarge = errors.New("larger than a configuration file can be")

// tree opens files below a root: every absolute path, and every absolute symlink, starts there. It
// is a value for finding files of a tree laid out as a machine (a chroot, a test), not a wall
// against its owner.
type tree struct {
	root string // "" is the machine itself
	// The files at the path at are read from the directory instead, which is not below root: a
	// repository that has not got its name yet. "" is no path.
	at, instead string
}

// place is where a path without links really lies.
func (t tree) place(p string) string {
	if rest, below := strings.CutPrefix(p, t.at); t.at != "" && below &&
		(rest == "" || rest[0] == '/') {
		return t.instead + rest
	}
	return t.root + p
}

func newTree(root string) tree {
	if root != "" {
		if root = filepath.Clean(root); root == "/" {
			root = ""
		}
	}
	return tree{root: root}
}

// host returns the name under which the running process finds p.
func (t tree) host(p string) (string, error) {
	if t.root == "" && t.at == "" {
		return p, nil
	}
	real, err := t.real(p)
	if err != nil {
		return "", err
	}
	return t.place(real), nil
}

// real resolves every symlink of p, as realpath -m does: parts that do not exist stay as they are.
func (t tree) real(p string) (string, error) {
	done, todo, links := "/", p, 0
	for todo != "" {
		part, rest, _ := strings.Cut(todo, "/")
		todo = rest
		switch part {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, part)
		target, err := os.Readlink(t.place(next))
		if err != nil {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "open", Path: p, Err: syscall.ELOOP}
		}
		if path.IsAbs(target) {
			done = "/"
		}
		todo = target + "/" + todo
	}
	return done, nil
}

func (t tree) stat(p string) (fs.FileInfo, error) {
	h, err := t.host(p)
	if err != nil {
		return nil, err
	}
	return os.Stat(h)
}

func (t tree) isDir(p string) bool {
	fi, err := t.stat(p)
	return err == nil && fi.IsDir()
}

func (t tree) exists(p string) bool {
	_, err := t.stat(p)
	return err == nil
}

// names lists a directory in byte order.
func (t tree) names(p string) ([]string, error) {
	h, err := t.host(p)
	if err != nil {
		return nil, err
	}
	d, err := os.Open(h)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// open opens a regular file; a FIFO in its place cannot make it wait.
func (t tree) open(p string) (*os.File, fs.FileInfo, error) {
	h, err := t.host(p)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(h, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("not a regular file")
		if fi.IsDir() {
			err = &fs.PathError{Op: "open", Path: p, Err: syscall.EISDIR}
		}
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

// readFile reads a whole configuration file of at most MaxFile bytes.
func (t tree) readFile(p string) ([]byte, error) {
	f, fi, err := t.open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi.Size() > MaxFile {
		return nil, errTooLarge
	}
	buf := make([]byte, 0, fi.Size()+1) // one more, so that EOF is seen without growing
	return readAll(f, buf, MaxFile)
}

func readAll(r io.Reader, buf []byte, limit int64) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > limit:
			return nil, errTooLarge
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return nil, err
		}
	}
}

// Directories of version control systems are never configuration.
func isVCSDir(name string) bool {
	switch name {
	case "CVS", "RCS", "SCCS", ".bzr", ".git", ".hg", ".svn":
		return true
	}
	return false
}

func isHidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~")
}

// list returns p itself if it is a file, and if it is a directory all files below it, sorted, files
// and directories together by name; hidden files, backups (name~) and version control are left out.
// This is how Portage reads each configuration file that may be a directory. Unreadable directories
// are given to fail.
func (t tree) list(p string, fail func(path string, err error)) []string {
	var files []string
	var walk func(p string, depth int)
	walk = func(p string, depth int) {
		fi, err := t.stat(p)
		if err != nil {
			if !isAbsent(err) {
				fail(p, err)
			}
			return
		}
		name := path.Base(p)
		switch {
		case isHidden(name):
		case fi.Mode().IsRegular():
			files = append(files, p)
		case fi.IsDir() && !isVCSDir(name):
			if depth == maxLinks || len(files) > MaxFiles {
				fail(p, fmt.Errorf("too many directories inside each other"))
				return
			}
			names, err := t.names(p)
			if err != nil {
				fail(p, err)
			}
			for _, n := range names {
				walk(path.Join(p, n), depth+1)
			}
		}
	}
	walk(p, 0)
	return files
}

func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

const maxSmall = 4096

// readSmall reads the beginning of a file that holds one line.
func (t tree) readSmall(p string) ([]byte, error) {
	f, _, err := t.open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSmall))
}

// readTail reads the end of a file of lines.
func (t tree) readTail(p string) ([]byte, error) {
	f, fi, err := t.open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	from := max(0, fi.Size()-maxSmall)
	return io.ReadAll(io.NewSectionReader(f, from, maxSmall))
}
