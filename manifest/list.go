package manifest

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	timeLayout = "2006-01-02T15:04:05Z"
	lastSecond = 253402300799 // 9999-12-31T23:59:59Z

	tagTime   = "TIMESTAMP "
	tagData   = "DATA "
	tagIgnore = "IGNORE "
	hashField = " BLAKE2B "

	hexDigest = 2 * len(Digest{})
	// minData is the length of the shortest DATA line, newline included.
	minData = len(tagData) + len("a 0") + len(hashField) + hexDigest + 1
)

// MarshalText returns the text of the package comment. The order of l's slices
// does not matter and is not changed. A list that could not be read back gives a
// *FormatError.
func (l *List) MarshalText() ([]byte, error) {
	files, ignore, err := l.canonical()
	if err != nil {
		return nil, err
	}
	least := leastText(files)
	if least > MaxText {
		return nil, errTooLong(least)
	}
	b := make([]byte, 0, least+12*len(files)+1024)
	b = append(b, tagTime...)
	b = l.Timestamp.UTC().AppendFormat(b, timeLayout)
	b = append(b, '\n')
	for i := range files {
		f := &files[i]
		b = append(b, tagData...)
		b = appendEscaped(b, f.Path)
		b = append(b, ' ')
		b = strconv.AppendInt(b, f.Size, 10)
		b = append(b, hashField...)
		b = hex.AppendEncode(b, f.Sum[:])
		b = append(b, '\n')
	}
	for _, path := range ignore {
		b = append(b, tagIgnore...)
		b = appendEscaped(b, path)
		b = append(b, '\n')
	}
	if len(b) > MaxText {
		return nil, errTooLong(len(b))
	}
	return b, nil
}

// canonical returns the sorted files and paths of a list that can be written.
func (l *List) canonical() ([]File, []string, error) {
	if len(l.Files) > MaxFiles || len(l.Ignore) > MaxIgnore {
		return nil, nil,
			&FormatError{Reason: fmt.Sprintf("%d files and %d ignored paths, more than %d and %d",
				len(l.Files), len(l.Ignore), MaxFiles, MaxIgnore)}
	}
	if s := l.Timestamp.Unix(); s < 0 || s > lastSecond || l.Timestamp.Nanosecond() != 0 {
		return nil, nil,
			&FormatError{Reason: fmt.Sprintf("timestamp %s is not a whole second from 1970 to 9999",
				l.Timestamp.UTC().Format(time.RFC3339Nano))}
	}
	files, ignore := l.Files, l.Ignore
	byPath := func(a, b File) int { return strings.Compare(a.Path, b.Path) }
	if !slices.IsSortedFunc(files, byPath) {
		files = slices.Clone(files)
		slices.SortFunc(files, byPath)
	}
	if !slices.IsSorted(ignore) {
		ignore = slices.Clone(ignore)
		slices.Sort(ignore)
	}
	for i := range files {
		if s := files[i].Size; s < 0 || s > MaxFileSize {
			return nil, nil, &FormatError{Reason: fmt.Sprintf("%q has the size %d",
				clip(files[i].Path), s)}
		}
	}
	if i, reason := checkFiles(files); reason != "" {
		return nil, nil, &FormatError{Reason: fmt.Sprintf("path %q %s",
			clip(files[i].Path), reason)}
	}
	if i, reason := checkIgnore(ignore, files); reason != "" {
		return nil, nil, &FormatError{Reason: fmt.Sprintf("ignored path %q %s",
			clip(ignore[i]), reason)}
	}
	return files, ignore, nil
}

func errTooLong(size int) error {
	return &FormatError{Reason: fmt.Sprintf("%d bytes of text, more than %d", size, MaxText)}
}

// leastText returns how long the DATA lines are without escapes and with sizes of
// one digit.
func leastText(files []File) int {
	n := 0
	for i := range files {
		n += minData - 1 + len(files[i].Path)
	}
	return n
}

// checkFiles returns the first file whose path is not allowed or not after the
// one before it, and why.
func checkFiles(files []File) (int, string) {
	for i := range files {
		if reason := checkPath(files[i].Path); reason != "" {
			return i, reason
		}
		if i > 0 {
			if reason := checkOrder(files[i-1].Path, files[i].Path); reason != "" {
				return i, reason
			}
		}
	}
	return 0, ""
}

// checkIgnore is checkFiles for ignored paths, which must not hide a file either.
func checkIgnore(ignore []string, files []File) (int, string) {
	for i, path := range ignore {
		if reason := checkPath(path); reason != "" {
			return i, reason
		}
		if i > 0 {
			if reason := checkOrder(ignore[i-1], path); reason != "" {
				return i, reason
			}
		}
		if hides(path, files) {
			return i, "hides a listed file"
		}
	}
	return 0, ""
}

func checkOrder(before, path string) string {
	switch strings.Compare(before, path) {
	case 0:
		return "is listed twice"
	case 1:
		return "is not in bytewise order"
	}
	return ""
}

// hides reports whether ignored, or something below it, is among the sorted files.
func hides(ignored string, files []File) bool {
	at := func(want string) (int, bool) {
		return slices.BinarySearchFunc(files, want, func(f File, p string) int {
			return strings.Compare(f.Path, p)
		})
	}
	if _, ok := at(ignored); ok {
		return true
	}
	i, _ := at(ignored + "/")
	return i < len(files) && strings.HasPrefix(files[i].Path, ignored+"/")
}

// parseList reads the text of the package comment, and only what MarshalText
// would have written. It is given verified text alone.
func parseList(text []byte) (List, error) {
	p := listParser{
		files: make([]File, 0, len(text)/minData),
		ends:  make([]int, 0, len(text)/minData),
		paths: make([]byte, 0, maxPathBytes(text)),
	}
	for len(text) > 0 {
		p.line++
		end := bytes.IndexByte(text, '\n')
		if end < 0 {
			return List{}, p.fail("does not end with a newline")
		}
		if err := p.parseLine(text[:end]); err != nil {
			return List{}, err
		}
		text = text[end+1:]
	}
	return p.finish()
}

// maxPathBytes returns the most bytes that the paths in text can have together.
func maxPathBytes(text []byte) int {
	return max(0, len(text)-bytes.Count(text, []byte(hashField))*(minData-1))
}

type listParser struct {
	line   int
	time   time.Time
	files  []File // without Path
	ignore []string
	paths  []byte // the paths of files, one after the other
	ends   []int  // where each of them ends
}

func (p *listParser) fail(format string, args ...any) error {
	return &FormatError{Line: p.line, Reason: fmt.Sprintf(format, args...)}
}

func (p *listParser) parseLine(line []byte) error {
	if data, ok := bytes.CutPrefix(line, []byte(tagData)); ok && p.line > 1 {
		return p.parseData(data)
	}
	if path, ok := bytes.CutPrefix(line, []byte(tagIgnore)); ok && p.line > 1 {
		return p.parseIgnore(path)
	}
	if stamp, ok := bytes.CutPrefix(line, []byte(tagTime)); ok && p.line == 1 {
		return p.parseTime(stamp)
	}
	if p.line == 1 {
		return p.fail("%q is not the TIMESTAMP that comes first", clip(string(line)))
	}
	return p.fail("%q is neither DATA nor IGNORE", clip(string(line)))
}

func (p *listParser) parseTime(stamp []byte) error {
	t, err := time.Parse(timeLayout, string(stamp))
	if err != nil || t.Unix() < 0 || t.Format(timeLayout) != string(stamp) {
		return p.fail("%q is no time as 2006-01-02T15:04:05Z", clip(string(stamp)))
	}
	p.time = t
	return nil
}

func (p *listParser) parseData(data []byte) error {
	if len(p.ignore) > 0 {
		return p.fail("DATA after IGNORE")
	}
	if len(p.files) == MaxFiles {
		return p.fail("more than %d files", MaxFiles)
	}
	pathEnd := bytes.IndexByte(data, ' ')
	if pathEnd < 0 {
		return p.fail("DATA without a size")
	}
	rest := data[pathEnd+1:]
	sizeEnd := bytes.IndexByte(rest, ' ')
	if sizeEnd < 0 {
		return p.fail("DATA without a hash")
	}
	var f File
	var ok bool
	if f.Size, ok = parseSize(rest[:sizeEnd]); !ok {
		return p.fail("%q is no size from 0 to 2^53", clip(string(rest[:sizeEnd])))
	}
	sum, ok := bytes.CutPrefix(rest[sizeEnd:], []byte(hashField))
	if !ok || !decodeDigest(&f.Sum, sum) {
		return p.fail("%q is not BLAKE2B with 128 lower-case hex digits",
			clip(string(rest[sizeEnd:])))
	}
	var reason string
	if p.paths, reason = appendUnescaped(p.paths, data[:pathEnd]); reason != "" {
		return p.fail("path %q %s", clip(string(data[:pathEnd])), reason)
	}
	p.files = append(p.files, f)
	p.ends = append(p.ends, len(p.paths))
	return nil
}

func (p *listParser) parseIgnore(escaped []byte) error {
	if len(p.ignore) == MaxIgnore {
		return p.fail("more than %d ignored paths", MaxIgnore)
	}
	path, reason := appendUnescaped(nil, escaped)
	if reason != "" {
		return p.fail("path %q %s", clip(string(escaped)), reason)
	}
	p.ignore = append(p.ignore, string(path))
	return nil
}

// finish gives the files their paths and checks these. All paths share one
// string: a list is used as a whole or not at all.
func (p *listParser) finish() (List, error) {
	if p.line == 0 {
		return List{}, p.fail("no TIMESTAMP")
	}
	paths, start := string(p.paths), 0
	for i, end := range p.ends {
		p.files[i].Path = paths[start:end]
		start = end
	}
	if i, reason := checkFiles(p.files); reason != "" {
		p.line = 2 + i
		return List{}, p.fail("path %q %s", clip(p.files[i].Path), reason)
	}
	if i, reason := checkIgnore(p.ignore, p.files); reason != "" {
		p.line = 2 + len(p.files) + i
		return List{}, p.fail("path %q %s", clip(p.ignore[i]), reason)
	}
	return List{Timestamp: p.time, Files: p.files, Ignore: p.ignore}, nil
}

// parseSize reads a decimal number as strconv.AppendInt writes it.
func parseSize(s []byte) (int64, bool) {
	if len(s) == 0 || len(s) > len("9007199254740992") || s[0] == '0' && len(s) > 1 {
		return 0, false
	}
	var n int64
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, n <= MaxFileSize
}

// decodeDigest reads 128 lower-case hex digits.
func decodeDigest(d *Digest, s []byte) bool {
	if len(s) != hexDigest {
		return false
	}
	for i := range d {
		hi, lo := unhex[s[2*i]], unhex[s[2*i+1]]
		if hi > 15 || lo > 15 {
			return false
		}
		d[i] = hi<<4 | lo
	}
	return true
}

// unhex has the value of each lower-case hex digit, and 16 for all other bytes.
var unhex = func() (t [256]byte) {
	for i := range t {
		t[i] = 16
	}
	for i, c := range "0123456789abcdef" {
		t[c] = byte(i)
	}
	return t
}()
