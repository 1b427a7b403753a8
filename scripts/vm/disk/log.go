// Package disk is what a drive holds when it is pulled: the log of its writes,
// the states that a pull can leave, and the image of each.
//
// # The log
//
// A log is what QEMU's blklogwrites and the kernel's dm-log-writes make.
// Integers are little-endian; everything begins at a multiple of the sector:
//
//	file  = super *entry
//	super = 0x006a736677736872 u64, version 1 u64, number of entries u64, sector size u32
//	entry = sector u64, sectors u64, flags u64, length of a mark u64
//	        padded to a sector; then the data: sectors, none for a discard
//
// # States
//
// A drive may lose what it was told since the last flush, in any order, and of
// the last write some sectors. So the states are: every prefix of the log, a
// prefix whose last write is torn, and a prefix from whose unflushed writes
// some are lost.
package disk

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// Sector is the unit of a log's positions in bytes.
const Sector = 512

// Flags of an entry.
type Flags uint64

// The flags of blklogwrites.
const (
	Flush   Flags = 1 << iota // the drive's cache was flushed
	FUA                       // this write went to the medium itself
	Discard                   // the range was given up
	Mark                      // a note between the writes
)

// Entry is one request. A flush has no data.
type Entry struct {
	Offset int64 // bytes
	Data   []byte
	Flags  Flags
}

// writes reports whether the entry changes the medium.
func (e Entry) writes() bool { return len(e.Data) > 0 }

// Log is what a drive was told, in order.
type Log []Entry

const (
	logMagic   = 0x6a736677736872
	logVersion = 1
	maxEntry   = 64 << 20 // bytes of one write
	maxLog     = 1 << 24  // entries
)

// ReadLog reads a log to its end. The number of entries in the super block is
// not looked at: QEMU renews it only now and then.
func ReadLog(src io.Reader) (Log, error) {
	r := bufio.NewReaderSize(src, 1<<20)
	head := make([]byte, 28)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("reading the write log: %w", err)
	}
	magic, version, unit := binary.LittleEndian.Uint64(head), binary.LittleEndian.Uint64(head[8:]),
		int64(binary.LittleEndian.Uint32(head[24:]))
	if magic != logMagic || version != logVersion || unit < Sector || unit > 1<<16 {
		return nil, fmt.Errorf("reading the write log: magic %#x, version %d, sectors of %d bytes",
			magic, version, unit)
	}
	if _, err := r.Discard(int(unit) - len(head)); err != nil {
		return nil, fmt.Errorf("reading the write log: %w", err)
	}
	var l Log
	block := make([]byte, unit)
	for len(l) < maxLog {
		if _, err := io.ReadFull(r, block); err == io.EOF {
			return l, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading entry %d of the write log: %w", len(l), err)
		}
		e, n, err := parseEntry(block, unit)
		if err != nil {
			return nil, fmt.Errorf("reading entry %d of the write log: %w", len(l), err)
		}
		if n > 0 {
			e.Data = make([]byte, n)
			if _, err := io.ReadFull(r, e.Data); err != nil {
				return nil, fmt.Errorf("reading entry %d of the write log: %w", len(l), err)
			}
		}
		l = append(l, e)
	}
	return nil, fmt.Errorf("reading the write log: more than %d entries", maxLog)
}

// parseEntry returns an entry and how many bytes of data follow it.
func parseEntry(block []byte, unit int64) (Entry, int64, error) {
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(block[8*i:]) }
	flags := Flags(word(2))
	if word(0) > 1<<50/uint64(unit) || word(1) > maxEntry/uint64(unit) &&
		flags&Discard == 0 || flags > 15 {
		return Entry{}, 0, fmt.Errorf("sector %d, %d sectors, flags %#x", word(0), word(1), flags)
	}
	n := int64(word(1)) * unit
	if flags&Discard != 0 {
		n = 0
	}
	if flags&Mark != 0 {
		n = (int64(word(3)) + unit - 1) / unit * unit
		if n < 0 || n > maxEntry {
			return Entry{}, 0, fmt.Errorf("a mark of %d bytes", n)
		}
	}
	return Entry{Offset: int64(word(0)) * unit, Flags: flags}, n, nil
}

// Encode writes a log that ReadLog reads back, in sectors of 512 bytes.
func (l Log) Encode(dst io.Writer) error {
	w := bufio.NewWriterSize(dst, 1<<20)
	block := make([]byte, Sector)
	binary.LittleEndian.PutUint64(block, logMagic)
	binary.LittleEndian.PutUint64(block[8:], logVersion)
	binary.LittleEndian.PutUint64(block[16:], uint64(len(l)))
	binary.LittleEndian.PutUint32(block[24:], Sector)
	w.Write(block)
	for i, e := range l {
		if e.Offset%Sector != 0 || len(e.Data)%Sector != 0 || e.Offset < 0 {
			return fmt.Errorf("writing entry %d of the write log: %d bytes at %d are no whole sectors", i, len(e.Data), e.Offset)
		}
		clear(block)
		binary.LittleEndian.PutUint64(block, uint64(e.Offset/Sector))
		binary.LittleEndian.PutUint64(block[8:], uint64(len(e.Data)/Sector))
		binary.LittleEndian.PutUint64(block[16:], uint64(e.Flags))
		if e.Flags&Mark != 0 {
			binary.LittleEndian.PutUint64(block[24:], uint64(len(e.Data)))
		}
		w.Write(block)
		w.Write(e.Data)
	}
	return w.Flush() // of the first error, too
}
