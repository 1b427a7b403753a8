package volume

import (
	"bytes"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fatDirent is struct __fat_dirent of linux/msdos_fs.h.
type fatDirent struct {
	ino, off uintptr // C's long
	length   uint16
	name     [256]byte
}

func (e *fatDirent) String() string {
	text, _, _ := bytes.Cut(e.name[:], []byte{0})
	return string(text)
}

// readBoth is VFAT_IOCTL_READDIR_BOTH, _IOR('r', 1, struct __fat_dirent[2]).
const readBoth = 2<<30 | unsafe.Sizeof([2]fatDirent{})<<16 | 'r'<<8 | 1

// ShortNames returns the 8.3 name of each name in an open directory of a vfat, by which fsck.vfat
// calls it; nil on other file systems. The directory is read from where its reader stands.
func ShortNames(fd int) map[string]string {
	var names map[string]string
	for {
		var both [2]fatDirent // the short name, and the long one where there is one
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), readBoth,
			uintptr(unsafe.Pointer(&both)))
		if errno != 0 || n == 0 {
			return names
		}
		if names == nil {
			names = make(map[string]string)
		}
		short, long := both[0].String(), both[1].String()
		if both[1].length == 0 {
			long = short
		}
		names[long] = strings.ToUpper(short)
	}
}
