package state

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"pkgsneak/sync/fault"
)

// A table is the text form of imports/*, digests/* and refused/*: a heading, rows in bytewise order
// of their first field, and a last line with the number of rows.
type table struct {
	kind    string // first word of the heading, before the version
	version int
	about   []string // further fields of the heading
	fields  int      // of a row
}

const tableEnd = "end\t"

func (t table) heading() string {
	h := t.kind + " " + strconv.Itoa(t.version)
	for _, a := range t.about {
		h += "\t" + escape(a)
	}
	return h
}

// checkVersion returns a *fault.NewerError if a heading is of this kind with a higher version.
func (t table) checkVersion(head string) error {
	first, _, _ := strings.Cut(head, "\t")
	version, ok := strings.CutPrefix(first, t.kind+" ")
	if n, err := strconv.Atoi(version); ok && err == nil && n > t.version {
		return fault.CheckFormat(n, t.version)
	}
	return nil
}

// write writes n rows; row appends the i-th one to b, without the line feed.
func (t table) write(w io.Writer, n int, row func(b []byte, i int) []byte) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	bw.WriteString(t.heading())
	bw.WriteByte('\n')
	var line []byte
	for i := range n {
		line = append(row(line[:0], i), '\n')
		bw.Write(line) // the first error stays and is Flush's
	}
	bw.WriteString(tableEnd)
	bw.WriteString(strconv.Itoa(n))
	bw.WriteByte('\n')
	return bw.Flush()
}

// parse hands the fields of each row to row; they are only valid during the call, but the strings
// in them may be kept. The line number is that of the error.
func (t table) parse(text string, row func(f []string) error) (line int, err error) {
	head, text, _ := strings.Cut(text, "\n")
	if head != t.heading() {
		if err := t.checkVersion(head); err != nil {
			return 1, err
		}
		return 1, fmt.Errorf("begins with %.80q instead of %.80q", head, t.heading())
	}
	f := make([]string, t.fields)
	last := ""
	for rows := 0; ; rows++ {
		line := rows + 2
		s, rest, ok := strings.Cut(text, "\n")
		if !ok {
			return line, errors.New("the end is missing")
		}
		text = rest
		if n, ok := strings.CutPrefix(s, tableEnd); ok && strings.Count(s, "\t") == 1 {
			return line, checkEnd(n, rows, text)
		}
		if err := split(s, f); err != nil {
			return line, err
		}
		if rows > 0 && f[0] <= last {
			return line, fmt.Errorf("%q does not follow %q", f[0], last)
		}
		last = f[0]
		if err := row(f); err != nil {
			return line, err
		}
	}
}

func checkEnd(n string, rows int, rest string) error {
	if n != strconv.Itoa(rows) {
		return fmt.Errorf("%d rows, but the end counts %q", rows, n)
	}
	if rest != "" {
		return errors.New("text after the end")
	}
	return nil
}

// split fills f with the fields of a row. The first two may be escaped.
func split(s string, f []string) error {
	for i := range f {
		part, rest, more := strings.Cut(s, "\t")
		if more != (i < len(f)-1) {
			return fmt.Errorf("does not have %d fields", len(f))
		}
		f[i], s = part, rest
	}
	for i := range min(2, len(f)) {
		var err error
		if f[i], err = unescape(f[i]); err != nil {
			return err
		}
	}
	return nil
}

var escaper = strings.NewReplacer("\\", `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`)

func escape(s string) string { return escaper.Replace(s) }

// unescape accepts only what escape writes.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", fmt.Errorf("%q ends in a backslash", s)
		}
		switch s[i] {
		case '\\':
			b.WriteByte('\\')
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		default:
			return "", fmt.Errorf("%q has an unknown escape", s)
		}
	}
	return b.String(), nil
}
