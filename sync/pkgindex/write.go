package pkgindex

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// Write writes the index as Portage does: PACKAGES is the number of entries, VERSION is 0,
// TIMESTAMP is what SetTimestamp or Read left in the header and has to be there. The error is a
// *ValueError where something could not be read back; then nothing is written.
func (x *Index) Write(w io.Writer) error {
	h, _, err := x.prepare()
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(w, 64<<10)
	x.writeText(h, b)
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

// MarshalText returns what Write writes.
func (x *Index) MarshalText() ([]byte, error) {
	h, size, err := x.prepare()
	if err != nil {
		return nil, err
	}
	b := bytes.NewBuffer(make([]byte, 0, size))
	x.writeText(h, b)
	return b.Bytes(), nil
}

// prepare returns the header that is written, and about how many bytes that is with all entries.
func (x *Index) prepare() (h Header, size int64, err error) {
	h = x.Header.Clone()
	h.Set("PACKAGES", strconv.Itoa(len(x.Entries)))
	if !h.Supported() {
		h.Set("VERSION", Version)
	}
	if err := h.check(); err != nil {
		return h, 0, err
	}
	if _, ok := x.Timestamp(); !ok {
		return h, 0, &ValueError{Key: "TIMESTAMP", Value: h.Get("TIMESTAMP"),
			Reason: "no time to write into the header"}
	}
	for _, e := range x.Entries {
		if e.IsZero() {
			return h, 0, &ValueError{Key: "CPV", Reason: "an entry without content"}
		}
		if len(e.text) > MaxBlock {
			return h, 0, &ValueError{Key: "CPV", Value: e.cpv, Reason: "its entry is too long"}
		}
	}
	if size, err = x.checkSize(0, 0); err != nil {
		return h, 0, err
	}
	return h, size - MaxBlock + 4096, nil
}

// CheckSize returns the error of Write for an index that has so many more entries, of so many
// bytes, and is too long with them.
func (x *Index) CheckSize(entries int, bytes int64) error {
	_, err := x.checkSize(entries, bytes)
	return err
}

func (x *Index) checkSize(more int, bytes int64) (size int64, err error) {
	n := len(x.Entries) + more
	if n > MaxEntries {
		return 0, &ValueError{Key: "PACKAGES", Value: strconv.Itoa(n), Reason: "too many entries"}
	}
	size = MaxBlock + bytes
	for _, e := range x.Entries {
		size += int64(len(e.text)) + 1
	}
	if size > MaxSize {
		return 0, &ValueError{Key: "PACKAGES", Value: strconv.Itoa(n),
			Reason: "the index is too long"}
	}
	return size, nil
}

func (x *Index) writeText(h Header, w io.StringWriter) {
	for _, key := range h.Keys() {
		for _, part := range [...]string{key, ": ", h.Get(key), "\n"} {
			w.WriteString(part)
		}
	}
	w.WriteString("\n")
	inherited := inheritedLines(h)
	for _, e := range x.sorted() {
		text := e.text
		for _, line := range inherited {
			if i := lineIndex(text, line); i >= 0 {
				w.WriteString(text[:i])
				text = text[i+len(line):]
			}
		}
		w.WriteString(text)
		w.WriteString("\n")
	}
}

// inheritedLines are the lines that an entry need not have, in the order of an entry.
func inheritedLines(h Header) []string {
	var lines []string
	for _, f := range []field{fieldCHOST, fieldRepo} {
		if value := h.Get(fieldNames[f]); value != "" {
			lines = append(lines, fieldNames[f]+": "+value+"\n")
		}
	}
	return lines
}

// lineIndex finds a whole line in a text of lines.
func lineIndex(text, line string) int {
	if strings.HasPrefix(text, line) {
		return 0
	}
	for from := 0; ; {
		i := strings.Index(text[from:], line)
		if i < 0 {
			return -1
		}
		if from += i; text[from-1] == '\n' {
			return from
		}
		from++
	}
}

// sorted returns the entries in the order of the file.
func (x *Index) sorted() []Entry {
	byCPV := func(a, b Entry) int { return strings.Compare(a.cpv, b.cpv) }
	if slices.IsSortedFunc(x.Entries, byCPV) {
		return x.Entries
	}
	entries := slices.Clone(x.Entries)
	slices.SortStableFunc(entries, byCPV)
	return entries
}

// gzipLevel makes an index 2 % larger than the best compression, which Portage uses, and takes a
// third of the time.
const gzipLevel = 5

// WriteGzip writes what plain writes, an index, as Portage writes Packages.gz: no name, the index's
// TIMESTAMP as time.
func WriteGzip(w io.Writer, plain func(io.Writer) error, timestamp int64) error {
	if timestamp < 0 || timestamp > math.MaxUint32 {
		return &ValueError{Key: "TIMESTAMP", Value: strconv.FormatInt(timestamp, 10),
			Reason: "does not fit into a gzip header"}
	}
	z, err := gzip.NewWriterLevel(w, gzipLevel)
	if err != nil {
		return fmt.Errorf("compress index: %w", err)
	}
	z.ModTime = time.Unix(timestamp, 0)
	if err := plain(z); err != nil {
		return fmt.Errorf("compress index: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("compress index: %w", err)
	}
	return nil
}
