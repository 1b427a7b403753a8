package main

import (
	"bytes"
	"encoding/json"
	"reflect"

	"pkgsneak/sync/progress"
)

// The lines of --json. Each is one object. The last line of a run is the envelope, and the only one
// with the member "pkgsneak"; all others have the member "event". Sizes are bytes, times are RFC
// 3339 in UTC, digests lower-case hex. A list that is empty is [], never null. One thing has one
// name in all commands: origin (its name), dir (its directory on a drive), fingerprint, serial,
// left_out, notices, removed. Members may be added, never renamed. The schemas are in doc/schema.

// jsonFormat is the number of the format, which changes when a member loses its meaning.
const jsonFormat = 1

// progressEvent is a line with "event":"progress" or "event":"notice".
type progressEvent struct {
	Event      string         `json:"event"`
	Phase      progress.Phase `json:"phase,omitempty"`
	Path       string         `json:"path,omitempty"`
	Done       int64          `json:"done,omitempty"`
	Total      int64          `json:"total,omitempty"`
	Files      int            `json:"files,omitempty"`
	FilesTotal int            `json:"files_total,omitempty"`
	Text       string         `json:"text,omitempty"`
}

func newProgressEvent(m progress.Message) progressEvent {
	e, ok := m.(progress.Event)
	if text, isNotice := m.(progress.Notice); isNotice || !ok {
		return progressEvent{Event: "notice", Text: string(text)}
	}
	return progressEvent{Event: "progress", Phase: e.Phase, Path: e.Path, Done: e.Done,
		Total: e.Total, Files: e.Files, FilesTotal: e.FilesTotal}
}

// envelope is the last line.
type envelope struct {
	Format  int      `json:"pkgsneak"`
	Command string   `json:"command"` // "" where the command line names none
	Exit    int      `json:"exit"`
	Error   string   `json:"error,omitempty"`
	Hints   []string `json:"hints"`  // command lines, or sentences, that lead on
	Result  any      `json:"result"` // {} after an error, and of commands that have none
}

// last prints the envelope of a run.
func (p *printer) last(e envelope) {
	e.Format = jsonFormat
	if e.Result == nil {
		e.Result = struct{}{}
	}
	p.event(e)
}

// result prints the last line of a run that came to its end.
func (c *invocation) result(code int, result any) {
	if c.out.json {
		c.out.last(envelope{Command: c.verb, Exit: code, Result: result})
	}
}

// encodeLine gives a line of JSON, with its newline.
func encodeLine(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(withLists(v)); err != nil {
		return nil, err
	}
	return asciiJSON(b.Bytes()), nil
}

// withLists gives a copy of what is to be encoded in which each list that is nil is an empty one.
func withLists(v any) any {
	if v == nil {
		return nil
	}
	filled := reflect.New(reflect.TypeOf(v)).Elem()
	filled.Set(reflect.ValueOf(v))
	fillLists(filled)
	return filled.Interface()
}

func fillLists(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fillLists(v.Elem())
		}
	case reflect.Interface:
		if !v.IsNil() {
			v.Set(reflect.ValueOf(withLists(v.Interface())))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); (f.IsExported() || f.Anonymous) && f.Tag.Get("json") != "-" {
				fillLists(v.Field(i))
			}
		}
	case reflect.Slice:
		switch {
		case v.Type().Elem().Kind() == reflect.Uint8: // bytes are a text
		case v.IsNil():
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		default:
			for i := range v.Len() {
				fillLists(v.Index(i))
			}
		}
	}
}
