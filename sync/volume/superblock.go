package volume

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
)

// Superblock is what the first sectors of a device tell of its file system.
type Superblock struct {
	Type  Type   `json:"type"`
	Label string `json:"label,omitempty"`
}

// ErrUnknown is returned for a device without a file system that could carry a tree: another one,
// none, or a table of partitions.
var ErrUnknown = errors.New("no file system of a kind that is known here")

// AmbiguousError reports that a device looks like two file systems at once: leftovers of an earlier
// one. Neither is mounted.
type AmbiguousError struct{ Types []string }

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("the device looks like %s at once; wipefs shows and removes what is left of the other", strings.Join(e.Types, " and "))
}

// maxRoot is how much of a FAT root directory is looked through for the label, in bytes.
const maxRoot = 256 << 10

// Identify reads the magic numbers and the label. Everything it reads is foreign: no more than
// maxRoot bytes and a few sectors are looked at, and no number there leads further than to another
// read.
//
//	xfs    XFSB at 0; label 12 bytes at 108
//	exfat  "EXFAT   " at 3, 55 AA at 510; label: the entry of type 0x83 in the root directory
//	vfat   a BIOS parameter block that makes sense, 55 AA at 510; label: the volume entry in the root directory, else of the boot sector
//	ext4   53 EF at 1024+56; label 16 bytes at 1024+120
//	iso9660  CD001 at 32768+1, the first volume descriptor; label 32 bytes at 32768+40
//	btrfs  _BHRfS_M at 65536+64; label 256 bytes at 65536+299
func Identify(r io.ReaderAt) (Superblock, error) {
	var found []Superblock
	for i := range table {
		if table[i].superblock == nil {
			continue
		}
		switch label, ok, err := table[i].superblock(disk{r}); {
		case err != nil:
			return Superblock{}, fmt.Errorf("identify the file system: %w", err)
		case ok:
			found = append(found, Superblock{Type(i), label})
		}
	}
	switch len(found) {
	case 0:
		return Superblock{}, ErrUnknown
	case 1:
		return found[0], nil
	}
	e := &AmbiguousError{}
	for _, fs := range found {
		e.Types = append(e.Types, fs.Type.String())
	}
	return Superblock{}, e
}

type disk struct{ r io.ReaderAt }

// iso9660 recognises the primary volume descriptor (ECMA-119, 8.4) in the first place that one can
// have.
func (d disk) iso9660() (label string, ok bool, err error) {
	b, err := d.read(32768, 72)
	if b == nil || string(b[1:6]) != "CD001" {
		return "", false, err
	}
	return strings.TrimRight(string(b[40:72]), " \x00"), true, nil
}

// read reads n bytes. Behind the end of the device there are none: nil, no error.
func (d disk) read(at int64, n int) ([]byte, error) {
	b := make([]byte, n)
	got, err := d.r.ReadAt(b, at)
	if got == n {
		return b, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return nil, nil
	}
	return nil, err
}

func (d disk) xfs() (label string, ok bool, err error) {
	b, err := d.read(0, 512)
	if b == nil || string(b[:4]) != "XFSB" {
		return "", false, err
	}
	return cString(b[108:120]), true, nil
}

const (
	extMagic       = 0xEF53
	extJournalOnly = 0x8 // INCOMPAT_JOURNAL_DEV: a journal of another file system
)

func (d disk) ext() (label string, ok bool, err error) {
	b, err := d.read(1024, 1024)
	if b == nil || binary.LittleEndian.Uint16(b[56:]) != extMagic ||
		binary.LittleEndian.Uint32(b[96:])&extJournalOnly != 0 {
		return "", false, err
	}
	return cString(b[120:136]), true, nil
}

func (d disk) btrfs() (label string, ok bool, err error) {
	b, err := d.read(64<<10, 1024)
	if b == nil || string(b[64:72]) != "_BHRfS_M" {
		return "", false, err
	}
	return cString(b[299 : 299+256]), true, nil
}

// bootSector reads the first sector if it ends like a boot sector.
func (d disk) bootSector() ([]byte, error) {
	b, err := d.read(0, 512)
	if b == nil || b[510] != 0x55 || b[511] != 0xAA {
		return nil, err
	}
	return b, nil
}

const (
	exfatLabelEntry = 0x83
	entrySize       = 32 // of a directory of both FATs
)

func (d disk) exfat() (label string, ok bool, err error) {
	b, err := d.bootSector()
	if b == nil || string(b[3:11]) != "EXFAT   " {
		return "", false, err
	}
	sector, perCluster := b[108], b[109] // powers of two
	cluster := binary.LittleEndian.Uint32(b[96:])
	if sector < 9 || sector > 12 || perCluster > 25-sector || cluster < 2 {
		return "", false, nil
	}
	heap := int64(binary.LittleEndian.Uint32(b[88:])) << sector
	at := heap + int64(cluster-2)<<(sector+perCluster)
	root, err := d.read(at, min(maxRoot, 1<<(sector+perCluster)))
	if err != nil {
		return "", false, err
	}
	for ; len(root) >= entrySize && root[0] != 0; root = root[entrySize:] {
		if root[0] == exfatLabelEntry {
			label = exfatLabel(root[:entrySize])
			break
		}
	}
	return label, true, nil
}

func exfatLabel(entry []byte) string {
	units := make([]uint16, min(int(entry[1]), 11))
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(entry[2+2*i:])
	}
	return cString([]byte(string(utf16.Decode(units))))
}

// fat is the content of a BIOS parameter block, in bytes.
type fat struct {
	cluster, reserved int64
	table             int64 // of one FAT
	tables            int64
	rootAt, rootSize  int64 // FAT12 and FAT16
	rootCluster       uint32
	label             string
}

func (d disk) vfat() (label string, ok bool, err error) {
	b, err := d.bootSector()
	if b == nil {
		return "", false, err
	}
	f, ok := parseFAT(b)
	if !ok {
		return "", false, nil
	}
	label, err = d.fatLabel(f)
	if err != nil {
		return "", false, err
	}
	if label == "" {
		label = f.label
	}
	return label, true, nil
}

// parseFAT takes a sector for FAT's if all of its numbers make sense; a table of partitions ends
// with the same two bytes.
func parseFAT(b []byte) (fat, bool) {
	u16 := func(at int) int64 { return int64(binary.LittleEndian.Uint16(b[at:])) }
	u32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(b[at:])) }
	sector, perCluster := u16(11), int64(b[13])
	f := fat{cluster: sector * perCluster, reserved: u16(14) * sector,
		tables: int64(b[16]), rootSize: u16(17) * entrySize}
	power := func(n, least, most int64) bool { return n >= least && n <= most && n&(n-1) == 0 }
	if !power(sector, 512, 4096) || !power(perCluster, 1, 128) || f.reserved == 0 || f.tables < 1 ||
		f.tables > 2 || b[21] < 0xF8 && b[21] != 0xF0 {
		return f, false
	}
	if b[0] != 0xEB && b[0] != 0xE9 || u16(19) == 0 && u32(32) == 0 {
		return f, false
	}
	if f.table = u16(22) * sector; f.table != 0 {
		f.rootAt = f.reserved + f.tables*f.table
		f.label = fatName(b[43:54], b[38])
		return f, f.rootSize > 0
	}
	f.table = u32(36) * sector
	f.rootCluster = binary.LittleEndian.Uint32(b[44:])
	f.label = fatName(b[71:82], b[66])
	return f, f.rootSize == 0 && f.table > 0 && f.rootCluster >= 2
}

// fatName is the label of a boot sector, which is there if the signature before it is. "NO
// NAME" means none.
func fatName(name []byte, signature byte) string {
	s := oem(name)
	if signature != 0x29 || s == "NO NAME" {
		return ""
	}
	return s
}

// fatLabel looks for the volume entry in the root directory, which Windows changes without the boot
// sector.
func (d disk) fatLabel(f fat) (string, error) {
	if f.rootCluster == 0 {
		root, err := d.read(f.rootAt, int(min(f.rootSize, maxRoot)))
		label, _ := volumeEntry(root)
		return label, err
	}
	data := f.reserved + f.tables*f.table
	for cluster, n := f.rootCluster, int64(0); cluster >= 2 && cluster < 0x0FFFFFF8 &&
		n < maxRoot; n += f.cluster {
		root, err := d.read(data+int64(cluster-2)*f.cluster, int(min(f.cluster, maxRoot)))
		if err != nil {
			return "", err
		}
		if label, end := volumeEntry(root); end {
			return label, nil
		}
		next, err := d.read(f.reserved+int64(cluster)*4, 4)
		if next == nil {
			return "", err
		}
		cluster = binary.LittleEndian.Uint32(next) & 0x0FFFFFFF
	}
	return "", nil
}

const (
	attrVolume   = 0x08
	attrDir      = 0x10
	attrLongName = 0x0F
	entryDeleted = 0xE5
)

// volumeEntry looks through entries of a FAT directory; end tells that there is nothing more to
// look for.
func volumeEntry(root []byte) (label string, end bool) {
	for ; len(root) >= entrySize; root = root[entrySize:] {
		attr := root[11]
		switch {
		case root[0] == 0:
			return "", true
		case root[0] != entryDeleted && attr&0x3F != attrLongName && attr&attrVolume != 0 &&
			attr&attrDir == 0:
			return oem(root[:11]), true
		}
	}
	return "", len(root) > 0
}

// oem is the text of a FAT name; what is not ASCII depends on an unknown code page.
func oem(name []byte) string {
	b := bytes.TrimRight(name, " \x00")
	var s strings.Builder
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			c = '_'
		}
		s.WriteByte(c)
	}
	return s.String()
}

// cString is the text before the first NUL, as far as it can be shown.
func cString(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, strings.TrimRight(strings.ToValidUTF8(string(b), "_"), " "))
}
