package pkgindex

import "bytes"

// quickEntry reads a block that stands in the file as it stands in an entry, which nearly all do:
// known keys in their order, no value that is a default, plain text, an empty line behind it, and
// all of it in the reader's buffer. Of any other block nothing is read. The entry is the same as if
// the block had been taken apart.
func (p *parser) quickEntry() (e Entry, ok bool) {
	block := p.lines.block()
	if len(block) == 0 {
		return Entry{}, false
	}
	l, ok := scanBlock(block)
	if !ok {
		return Entry{}, false
	}
	b := append(p.scratch[:0], block[:l.chostAt]...)
	if !l.hasCHOST {
		b = p.inherited(b, fieldCHOST)
	}
	moved := len(b) - l.chostAt // all that stands behind CHOST
	b = append(b, block[l.chostAt:]...)
	if !l.hasRepo {
		b = p.inherited(b, fieldRepo)
	}
	p.scratch = b
	text := string(b)
	e = Entry{text: text, cpv: text[moved+l.cpv.from : moved+l.cpv.to]}
	if len(text) > MaxBlock ||
		checkIdentity(e.cpv, text[moved+l.path.from:moved+l.path.to]) != "" ||
		!p.lines.skip(len(block), l.lines) {
		return Entry{}, false
	}
	return e, true
}

// inherited appends the header's value of a key that an entry does not have.
func (p *parser) inherited(b []byte, i field) []byte {
	if value := p.index.Header.Get(fieldNames[i]); value != "" {
		b = append(append(append(append(b, fieldNames[i]...), ": "...), value...), '\n')
	}
	return b
}

// blockLayout is where things are in the text of a block.
type blockLayout struct {
	lines             int
	cpv, path         extent
	chostAt           int // the line of CHOST, or where that belongs
	hasCHOST, hasRepo bool
}

// extent is a part of a text, which begins at one offset and ends before the other.
type extent struct{ from, to int }

// scanBlock looks through the lines of a block; ok is false for one that is not as this package
// writes it. REPO, the last key, belongs at the end.
func scanBlock(block []byte) (l blockLayout, ok bool) {
	l.chostAt = -1
	next := field(0)
	for at := 0; at < len(block); l.lines++ {
		line := block[at : at+bytes.IndexByte(block[at:], '\n')]
		i := fieldOf(line, next)
		if i == numFields || !isPlain(line) {
			return l, false
		}
		value := line[len(fieldNames[i])+len(": "):]
		if isBlank(value[0]) || isBlank(value[len(value)-1]) || string(value) == defaultValue(i) {
			return l, false
		}
		if l.chostAt < 0 && i >= fieldCHOST {
			l.chostAt = at
		}
		switch i {
		case fieldCHOST:
			l.hasCHOST = true
		case fieldCPV:
			l.cpv = extent{at + len(line) - len(value), at + len(line)}
		case fieldPath:
			l.path = extent{at + len(line) - len(value), at + len(line)}
		case fieldRepo:
			l.hasRepo = true
		}
		at, next = at+len(line)+1, i+1
	}
	return l, l.cpv.to > 0
}

// fieldOf returns the field of a line KEY: VALUE whose key is one of those from next on and whose
// value is not empty; else numFields.
func fieldOf(line []byte, next field) field {
	i := next
	for ; i < numFields; i++ {
		name := fieldNames[i]
		if len(line) > len(name)+len(": ") && line[len(name)] == ':' && line[len(name)+1] == ' ' &&
			string(line[:len(name)]) == name {
			break
		}
	}
	return i
}

// block returns the lines up to the next empty one, with their ends, if the buffer has all of them;
// nothing is read. Where lines end in CR there is none: they would be looked through in vain, one
// buffer for each block.
func (l *lineReader) block() []byte {
	if l.hasRest || l.returns > 0 {
		return nil
	}
	b, _ := l.r.Peek(l.r.Buffered())
	n := bytes.Index(b, []byte("\n\n"))
	if n < 0 {
		b, _ = l.r.Peek(l.r.Size()) // an error comes again with the next line
		n = bytes.Index(b, []byte("\n\n"))
	}
	return b[:n+1]
}

// skip passes over a block that has so many bytes and lines, and the empty line behind it, unless
// the index is longer than MaxSize with them.
func (l *lineReader) skip(size, lines int) bool {
	if l.size+int64(size)+1 > MaxSize {
		return false
	}
	_, _ = l.r.Discard(size + 1) // which are there
	l.size, l.number = l.size+int64(size)+1, l.number+lines+1
	return true
}
