package state

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

	"pkgsneak/sync/fault"
)

// The files memory and undo are JSON, one object a line, each with one key. The first line names
// the format, the last one counts those before it. A line is a struct of pointers, of which one is
// set, with the edges embedded.

// edges are the first line and the last one.
type edges struct {
	Format *formatRecord `json:"format,omitempty"`
	End    *int          `json:"end,omitempty"`
}

type formatRecord struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
}

func (e edges) edge() edges { return e }

// maxLine bounds a line, in bytes; that of an import in undo has its directories.
const maxLine = 64 << 20

// parseLines passes the lines between the edges to add; those that begin with passOver, unless it
// is "", are counted only. The line number is that of the error.
func parseLines[Line interface{ edge() edges }](data []byte, format formatRecord, passOver string,
	add func(Line) error) (line int, err error) {
	ended := false
	for line = 1; len(data) > 0; line++ {
		text, rest, ok := bytes.Cut(data, []byte("\n"))
		switch {
		case ended:
			return line, errors.New("text after the end")
		case !ok:
			return line, errors.New("the line has no end")
		case len(text) > maxLine:
			return line, fmt.Errorf("longer than %d bytes", maxLine)
		}
		data = rest
		if passOver != "" && line > 1 && bytes.HasPrefix(text, []byte(passOver)) {
			continue
		}
		var l Line
		if err := parseLine(text, &l); err != nil {
			if line == 1 {
				err = cmp.Or(checkNewer(text, format), err)
			}
			return line, err
		}
		e := l.edge()
		switch {
		case (line == 1) != (e.Format != nil):
			return line, fmt.Errorf("the format %q must be told in the first line", format.Name)
		case e.Format != nil && e.Format.Name != format.Name:
			return line, fmt.Errorf("unknown format %q", e.Format.Name)
		case e.Format != nil:
			err = fault.CheckFormat(e.Format.Version, format.Version)
		case e.End != nil && *e.End != line-1:
			return line, fmt.Errorf("%d lines are missing", *e.End-(line-1))
		case e.End != nil:
			ended = true
		default:
			err = add(l)
		}
		if err != nil {
			return line, err
		}
	}
	if !ended {
		return 0, errors.New("the end is missing")
	}
	return 0, nil
}

// checkNewer returns a *fault.NewerError for a first line that tells a higher version, whatever
// else it tells.
func checkNewer(text []byte, format formatRecord) error {
	var head struct {
		Format formatRecord `json:"format"`
	}
	if json.Unmarshal(text, &head) != nil || head.Format.Name != format.Name ||
		head.Format.Version <= format.Version {
		return nil
	}
	return fault.CheckFormat(head.Format.Version, format.Version)
}

func parseLine(text []byte, line any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(line); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("more than one object")
	}
	if n := countSet(reflect.ValueOf(line).Elem()); n != 1 {
		return fmt.Errorf("%d records in one object", n)
	}
	return nil
}

// countSet returns how many pointers of a line are set.
func countSet(line reflect.Value) (n int) {
	for i := range line.NumField() {
		switch f := line.Field(i); {
		case f.Kind() == reflect.Struct:
			n += countSet(f)
		case !f.IsNil():
			n++
		}
	}
	return n
}

// A lineWriter writes what parseLines reads. Its first error is that of end.
type lineWriter struct {
	b   *bufio.Writer
	enc *json.Encoder
	n   int // lines
	err error
}

func newLineWriter(w io.Writer, format formatRecord) *lineWriter {
	b := bufio.NewWriterSize(w, 64<<10)
	lw := &lineWriter{b: b, enc: json.NewEncoder(b)}
	lw.enc.SetEscapeHTML(false)
	lw.put(edges{Format: &format})
	return lw
}

func (w *lineWriter) put(line any) {
	if w.err == nil {
		w.err = w.enc.Encode(line)
	}
	w.n++
}

func (w *lineWriter) end() error {
	n := w.n
	w.put(edges{End: &n})
	return errors.Join(w.err, w.b.Flush())
}
