package pkgindex

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"pkgsneak/sync/pytext"
)

// Read reads an index. See the package comment for what it makes of odd ones. The error is a
// *FormatError where a limit is passed, or the reader's; then nothing is returned.
func Read(r io.Reader) (*Index, error) { return read(r, nil, false) }

// ReadLocal is Read for an index of this machine's own, which nobody else can make anew: a line or
// a block that is too long costs no more than its entry. A caller who has another index with much
// the same entries may give known: an entry that is equal to what known returns for its PATH is
// that one, so that both indices together take little more memory than one.
func ReadLocal(r io.Reader, known func(path string) Entry) (*Index, error) {
	return read(r, known, true)
}

func read(r io.Reader, known func(path string) Entry, local bool) (*Index, error) {
	p := parser{lines: newLineReader(r), remarks: make(map[string]int), known: known, local: local}
	p.lines.passOver = local
	if err := p.readHeader(); err != nil {
		return nil, err
	}
	if err := p.readEntries(); err != nil {
		return nil, err
	}
	p.remarkHeader()
	return &p.index, nil
}

type parser struct {
	lines   *lineReader
	index   Index
	remarks map[string]int // reason to place in index.Remarks
	known   func(path string) Entry
	local   bool // what is too long costs its entry, not the index
	// the block being read
	values  fields[[]byte]
	seen    [numFields]bool
	text    []byte // what values point into
	size    int
	invalid string // why the block is dropped
	scratch []byte
}

// maxRemarks is how many different remarks an index can get; a hostile one has no end of them.
const maxRemarks = 1000

func (p *parser) remark(line int, dropped bool, format string, args ...any) {
	reason := format
	if len(args) > 0 {
		reason = fmt.Sprintf(format, args...)
	}
	if _, known := p.remarks[reason]; !known && len(p.remarks) >= maxRemarks {
		reason = "more of the like"
	}
	i, known := p.remarks[reason]
	if !known {
		i = len(p.index.Remarks)
		p.remarks[reason] = i
		p.index.Remarks = append(p.index.Remarks, Remark{Line: line, Reason: reason})
	}
	p.index.Remarks[i].Count++
	p.index.Remarks[i].Dropped = p.index.Remarks[i].Dropped || dropped
}

// line is a line of a block, cleaned: key without blanks around it, value without the blank after
// the colon.
type line struct {
	key   []byte
	value []byte
}

// nextLine returns the next line of the block that has a key. ok is false where there is none; more
// tells then whether the file goes on.
func (p *parser) nextLine() (l line, ok, more bool, err error) {
	for {
		raw, err := p.lines.next()
		if err == io.EOF {
			return line{}, false, false, nil
		}
		if err != nil {
			return line{}, false, false, err
		}
		if len(raw) == 0 {
			return line{}, false, true, nil
		}
		if p.lines.cut {
			p.remark(p.lines.number, true,
				"a line longer than %d bytes: dropped with its entry", MaxLine)
			p.size, p.invalid = p.size+1, "a line is too long"
			continue
		}
		if p.size > MaxBlock { // that was told
			continue
		}
		if p.size += len(raw) + 1; p.size > MaxBlock {
			if !p.local {
				return line{}, false, false, p.lines.fail("a block longer than %d bytes", MaxBlock)
			}
			p.remark(p.lines.number, true, "a block longer than %d bytes: dropped", MaxBlock)
			p.invalid = "too long"
			continue
		}
		if l, ok := p.split(raw); ok {
			return l, true, true, nil
		}
	}
}

func (p *parser) split(raw []byte) (line, bool) {
	key, value, found := bytes.Cut(raw, []byte(":"))
	if !found {
		p.remark(p.lines.number, true, "no colon in the line: dropped")
		return line{}, false
	}
	if trimmed := trimBlanks(key); len(trimmed) != len(key) {
		p.remark(p.lines.number, false, "blanks around a key: left out")
		key = trimmed
	}
	if len(key) == 0 {
		p.remark(p.lines.number, true, "no key before the colon: dropped")
		return line{}, false
	}
	if len(value) > 0 {
		if isBlank(value[0]) {
			value = value[1:]
		} else {
			p.remark(p.lines.number, false,
				"no blank after the colon: Portage loses the first letter of the value")
		}
	}
	return line{key, value}, true
}

func (p *parser) readHeader() error {
	h := &p.index.Header
	size := 0
	for {
		l, ok, _, err := p.nextLine()
		if err != nil || !ok {
			return err
		}
		key, value := p.cleanText(l.key), p.cleanText(l.value)
		if size += lineLen(key, value); size > MaxBlock {
			return p.lines.fail("a header longer than %d bytes", MaxBlock)
		}
		if !isText(key) || !isText(value) {
			p.remark(p.lines.number, true, "control characters in header key %.40q: dropped", key)
			continue
		}
		if lineLen(key, value) > MaxLine {
			p.remark(p.lines.number, true,
				"header key %.40q is longer than %d bytes: dropped", key, MaxLine)
			continue
		}
		if h.Get(key) != "" {
			p.remark(p.lines.number, true,
				"header key %.40q occurs twice: the last one counts", key)
		}
		h.Set(key, value)
	}
}

// cleanText returns b as a string of UTF-8.
func (p *parser) cleanText(b []byte) string {
	if !isPlain(b) {
		p.scratch = pytext.Append(p.scratch[:0], b)
		b = p.scratch
	}
	return string(b)
}

func (p *parser) readEntries() error {
	ended := false // as far as Portage is concerned
	for {
		start := p.lines.number + 1
		if e, ok := p.quickEntry(); ok {
			if err := p.addEntry(e, start, ended); err != nil {
				return err
			}
			continue
		}
		empty, more, err := p.readBlock()
		if err != nil {
			return err
		}
		if empty {
			ended = true // newlines may follow without end: a drive's index has them for padding
			if err := p.lines.skipEmpty(); err != nil {
				return err
			}
		} else if e, reason := p.entry(); reason != "" {
			p.remark(start, true, "entry of %.100q dropped: %s", p.values[fieldCPV], reason)
		} else if err := p.addEntry(e, start, ended); err != nil {
			return err
		}
		if !more {
			return nil
		}
	}
}

func (p *parser) addEntry(e Entry, start int, ended bool) error {
	if ended {
		p.remark(start, false, "entries behind an empty block: Portage does not see them")
	}
	if len(p.index.Entries) >= MaxEntries {
		return p.lines.fail("more than %d entries", MaxEntries)
	}
	if p.known != nil {
		if k := p.known(e.Path()); k == e {
			e = k
		}
	}
	p.index.Entries = append(p.index.Entries, e)
	return nil
}

// revisionsKey is one that Portage writes into the entry of a package that it has just built, and
// drops when it reads it: no reason for a remark.
const revisionsKey = "REPO_REVISIONS"

// readBlock reads the values of a block; empty is true if there is none among them that Portage
// reads.
func (p *parser) readBlock() (empty, more bool, err error) {
	if p.size > 0 {
		p.values, p.seen, p.text, p.size, p.invalid = fields[[]byte]{}, [numFields]bool{},
			p.text[:0], 0, ""
	}
	empty = true
	next := field(0)
	for {
		l, ok, more, err := p.nextLine()
		if err != nil || !ok {
			return empty, more, err
		}
		i, known := findField(l.key, next)
		if !known {
			if string(l.key) == revisionsKey {
				continue
			}
			p.remark(p.lines.number, true, "key %.40q is none of an entry: dropped",
				p.cleanText(l.key))
			continue
		}
		empty, next = false, i+1
		p.setValue(i, l.value)
	}
}

// findField looks a key up. Keys come in order as a rule, so those that may be next are tried
// first.
func findField(key []byte, next field) (field, bool) {
	for i := next; i < min(next+4, numFields); i++ {
		if string(key) == fieldNames[i] {
			return i, true
		}
	}
	i, known := fieldByName[diskName(string(key))]
	return i, known
}

func (p *parser) setValue(i field, value []byte) {
	if p.seen[i] {
		p.remark(p.lines.number, true, "key %s occurs twice in an entry: the last one counts",
			fieldNames[i])
	}
	p.seen[i] = true
	if trimmed := trimBlanks(value); len(trimmed) != len(value) {
		p.remark(p.lines.number, false, "blanks around a value: left out")
		value = trimmed
	}
	start := len(p.text)
	if isPlain(value) {
		p.text = append(p.text, value...)
	} else {
		p.text = pytext.Append(p.text, value)
		if !isText(string(p.text[start:])) {
			p.invalid = "control characters in " + fieldNames[i]
		}
	}
	p.values[i] = p.text[start:]
	if lineLen(fieldNames[i], p.values[i]) > MaxLine {
		p.invalid = fieldNames[i] + " is too long"
	}
}

// entry makes an entry of the block, or tells why it is none.
func (p *parser) entry() (e Entry, reason string) {
	if p.invalid != "" {
		return Entry{}, p.invalid
	}
	for _, i := range [...]field{fieldCHOST, fieldRepo} {
		if len(p.values[i]) == 0 {
			start := len(p.text)
			p.text = append(p.text, p.index.Header.Get(fieldNames[i])...)
			p.values[i] = p.text[start:]
		}
	}
	e, p.scratch = encode(&p.values, p.scratch)
	if len(e.text) > MaxBlock {
		return Entry{}, "too long"
	}
	return e, checkIdentity(e.cpv, e.Get("PATH"))
}

// remarkHeader compares the header with what was read.
func (p *parser) remarkHeader() {
	h := p.index.Header
	if !h.Supported() {
		p.remark(0, false, "VERSION is %.40q, not 0: Portage counts this index as empty",
			h.Get("VERSION"))
	}
	if s := h.Get("PACKAGES"); s != "" {
		if n, ok := parseInt(s); !ok || n != int64(len(p.index.Entries)) {
			p.remark(0, false, "PACKAGES is %.40q, but there are %d entries", trimBlanks(s),
				len(p.index.Entries))
		}
	}
	if p.lines.returns > 0 {
		p.remark(0, false, "carriage returns at the end of %d lines", p.lines.returns)
	}
}

// lineReader splits a file into lines that end in LF, CRLF or CR: Portage opens its index as text,
// and Python takes all three for line ends.
type lineReader struct {
	r       *bufio.Reader
	rest    []byte // behind a CR in the middle
	hasRest bool
	long    []byte // a line that is longer than the reader's buffer
	cut     bool   // the line is longer than MaxLine and was passed over
	number  int    // of the line returned last, from 1
	size    int64
	returns int // lines with a CR

	passOver bool // lines longer than MaxLine, instead of failing
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10)}
}

func (l *lineReader) fail(format string, args ...any) error {
	return &FormatError{Line: l.number, Reason: fmt.Sprintf(format, args...)}
}

// skipEmpty passes over the empty lines that come next, many at a time.
func (l *lineReader) skipEmpty() error {
	for !l.hasRest {
		_, _ = l.r.Peek(1) // fills the buffer; an error comes again with the next line
		b, _ := l.r.Peek(l.r.Buffered())
		n := len(b) - len(bytes.TrimLeft(b, "\n"))
		if n == 0 {
			return nil
		}
		_, _ = l.r.Discard(n) // which are there
		l.number += n
		if l.size += int64(n); l.size > MaxSize {
			return l.fail("the index is longer than %d bytes", MaxSize)
		}
	}
	return nil
}

// next returns a line without its end, valid until the next call, or io.EOF behind the last one.
func (l *lineReader) next() ([]byte, error) {
	l.number++
	if !l.hasRest {
		b, err := l.read()
		if err != nil {
			return nil, err
		}
		l.rest, l.hasRest = b, true
	}
	b, rest, found := bytes.Cut(l.rest, []byte("\r"))
	l.rest, l.hasRest = rest, found
	if found {
		l.returns++
		l.hasRest = len(rest) > 0
	}
	return b, nil
}

// read returns what stands before the next LF; of a line longer than MaxLine only that there is one
// (cut).
func (l *lineReader) read() ([]byte, error) {
	l.long, l.cut = l.long[:0], false
	for {
		b, err := l.r.ReadSlice('\n')
		if l.size += int64(len(b)); l.size > MaxSize {
			return nil, l.fail("the index is longer than %d bytes", MaxSize)
		}
		if len(l.long)+len(b) > MaxLine+1 {
			if !l.passOver {
				return nil, l.fail("longer than %d bytes", MaxLine)
			}
			l.cut = true
		}
		if l.cut {
			l.long, b = append(l.long[:0], '-'), nil // it stands for the line
		}
		if err == bufio.ErrBufferFull || len(l.long) > 0 {
			l.long = append(l.long, b...)
			b = l.long
		}
		switch {
		case l.cut && (err == nil || err == io.EOF):
			return b, nil
		case err == nil:
			return b[:len(b)-1], nil
		case err == io.EOF && len(b) > 0:
			return b, nil
		case err == io.EOF:
			return nil, io.EOF
		case err != bufio.ErrBufferFull:
			return nil, fmt.Errorf("read index: %w", err)
		}
	}
}
