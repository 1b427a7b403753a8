package volume

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Type is a kind of file system. The zero value stands for all that are not in the table.
type Type uint8

// The kinds of file system that a drive may have.
const (
	Unknown Type = iota
	VFAT
	ExFAT
	Ext4 // ext2 and ext3 too
	Btrfs
	XFS
	ISO9660 // of optical media; never written
)

// Access is a way in which a file system is mounted.
type Access uint8

// The ways of access. Peek is read-only and writes nothing to the medium at all, not even by
// replaying a journal: it finds out whether a drive is ours.
const (
	Peek Access = iota
	Read
	Write
)

// Reserve is how a file system lets space be reserved without writing it.
type Reserve uint8

const (
	NoReserve    Reserve = iota // it does not
	ReserveHoles                // a sparse file: blocks at their places in one file
	ReserveFiles                // fallocate(2) that keeps the size, in files of their own
	// ftruncate(2) likewise, where the kernel does not write the zeros
	ReserveTruncate
)

// traits is a row of the table.
type traits struct {
	name  string // as mount(8) has it
	magic uint32 // of statfs(2)
	// superblock recognises the file system on a device, and reads its label.
	superblock func(disk) (label string, ok bool, err error)
	// mount is the data of mount(2) for Peek, Read and Write.
	mount [3]string
	// peekBefore is the data for Peek of kernels that refuse that of mount.
	peekBefore string
	// replays is set if a read-only mount that is not told otherwise writes to the medium.
	replays bool
	// check is run before a drive is written to; empty where the file system recovers by itself
	// when it is mounted.
	check []string
	// repair is the command that a person types.
	repair string
	// checkTwice is set if a check may leave behind what only the next one mends: fsck.vfat takes
	// its free cluster off a directory that a pull has left with one, and deletes in the next run
	// what no kernel enters then.
	checkTwice bool
	// fixedDirs is set if a pull while a directory grows can make all of it unreadable.
	fixedDirs bool
	// staleDirs is set if a directory is read without a look at whether its clusters are taken: one
	// that a pull left may come to show the contents of a file that was written since.
	staleDirs bool
	reserve   Reserve
	// links is set if the file system has hard links, owners and modes.
	links bool
	// ownNumbers is set if its mounts have device numbers of their own.
	ownNumbers bool
	// readOnly is set if no kernel writes to it.
	readOnly bool
}

// table is all that is known. ext4 and btrfs write nothing on a read-only mount where there is
// nothing to replay; xfs does even then, so it is never replayed for reading.
var table = [...]traits{
	Unknown: {name: "unknown", links: true},
	VFAT: {
		name: "vfat", magic: unix.MSDOS_SUPER_MAGIC, superblock: disk.vfat,
		mount: [3]string{vfatMount, vfatMount, vfatMount},
		check: []string{"fsck.vfat", "-a"}, repair: "fsck.vfat -a", checkTwice: true,
		fixedDirs: true, reserve: ReserveFiles,
	},
	ExFAT: {
		name: "exfat", magic: exfatMagic, superblock: disk.exfat,
		mount: [3]string{exfatMount, exfatMount, exfatMount},
		check: []string{"fsck.exfat", "-p"}, repair: "fsck.exfat -p",
		staleDirs: true, reserve: ReserveTruncate,
	},
	Ext4: {
		name: "ext4", magic: unix.EXT4_SUPER_MAGIC, superblock: disk.ext,
		mount: [3]string{Peek: "noload"}, replays: true,
		repair: "e2fsck -p", reserve: ReserveHoles, links: true,
	},
	Btrfs: {
		name: "btrfs", magic: unix.BTRFS_SUPER_MAGIC, superblock: disk.btrfs,
		mount: [3]string{Peek: "rescue=nologreplay"}, replays: true,
		peekBefore: "nologreplay", // Linux 5.8
		repair:     "btrfs check", reserve: ReserveHoles, links: true, ownNumbers: true,
	},
	XFS: {
		name: "xfs", magic: unix.XFS_SUPER_MAGIC, superblock: disk.xfs,
		mount:  [3]string{Peek: "norecovery", Read: "norecovery"},
		repair: "xfs_repair", reserve: ReserveHoles, links: true,
	},
	ISO9660: {name: "iso9660", magic: unix.ISOFS_SUPER_MAGIC, superblock: disk.iso9660,
		readOnly: true},
}

const (
	exfatMagic = 0x2011bab0 // EXFAT_SUPER_MAGIC of linux/magic.h
	vfatMount  = "umask=022,utf8=1,shortname=mixed,errors=remount-ro"
	exfatMount = "umask=022,iocharset=utf8,errors=remount-ro"
)

func (t Type) traits() *traits {
	if int(t) >= len(table) {
		t = Unknown
	}
	return &table[t]
}

// String returns the name as mount(8) has it.
func (t Type) String() string { return t.traits().name }

// MarshalText implements encoding.TextMarshaler with String. Unknown is the empty text.
func (t Type) MarshalText() ([]byte, error) {
	if t == Unknown {
		return nil, nil
	}
	return []byte(t.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Type) UnmarshalText(text []byte) error {
	*t = Unknown
	for i := range table {
		if i > 0 && table[i].name == string(text) {
			*t = Type(i)
			return nil
		}
	}
	if len(text) > 0 {
		return fmt.Errorf("no file system is called %q", text)
	}
	return nil
}

// OfMagic returns the file system that statfs(2) reports by its magic number.
func OfMagic(magic uint32) Type {
	for i := range table {
		if i > 0 && table[i].magic == magic {
			return Type(i)
		}
	}
	return Unknown
}

// MountData returns the last argument of mount(2).
func (t Type) MountData(a Access) string { return t.traits().mount[a] }

// PeekBefore returns the data of mount(2) for Peek where an older kernel refuses MountData with
// EINVAL; "" if there is no other.
func (t Type) PeekBefore() string { return t.traits().peekBefore }

// HasOwnNumbers reports whether a mount of the file system called name has not the number of its
// device (btrfs has one for each subvolume): its source tells the device.
func HasOwnNumbers(name string) bool {
	for i := range table {
		if table[i].name == name {
			return table[i].ownNumbers
		}
	}
	return false
}

// Interchangeable reports whether a mount made for one way of access serves another one.
func (t Type) Interchangeable(a, b Access) bool {
	return a == b || !t.traits().replays && t != Unknown && a != Write && b != Write
}

// Check returns the command, without the device, that has to be run before the file system is
// written to; nil where there is none.
func (t Type) Check() []string { return t.traits().check }

// RepairHint returns what a person types to repair the file system after a pull, in one line. An
// empty device stands for one that is not known.
func (t Type) RepairHint(device string) string {
	if device == "" {
		device = "DEVICE"
	}
	repair := t.traits().repair
	if repair == "" {
		repair = "fsck"
	}
	repair += " " + device
	if t.traits().checkTwice {
		repair += "; " + repair
	}
	return "umount it; " + repair + "; mount it again"
}

// CheckTwice reports whether a check that has mended something has to be followed by another one.
func (t Type) CheckTwice() bool { return t.traits().checkTwice }

// FixedDirectories reports whether a directory that holds committed files must not grow any more:
// on vfat a pull at the moment when a cluster is linked to it makes all of it unreadable.
func (t Type) FixedDirectories() bool { return t.traits().fixedDirs }

// StaleDirectories reports whether a directory that a pull left empty may come to show the contents
// of a file that is written later, because nobody looks whether its clusters are taken: on exFAT.
// Such a directory goes before anything is allocated.
func (t Type) StaleDirectories() bool { return t.traits().staleDirs }

// Reserve returns how space is reserved.
func (t Type) Reserve() Reserve { return t.traits().reserve }

// HasLinks reports whether the file system has hard links, owners and modes. Real Portage cannot
// write its index where it has not.
func (t Type) HasLinks() bool { return t.traits().links }

// IsReadOnly reports whether nothing can ever be written to the file system, as on a disc.
func (t Type) IsReadOnly() bool { return t.traits().readOnly }
