package main

import "pkgsneak/sync/progress"

// The lines of --json. Each is one object with the member "event"; the last line of a run is the one with "event":"result". Sizes are bytes, times are RFC 3339 in
// UTC, digests lower-case hex. Members may be added, never renamed.

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

func newProgressEvent(e progress.Event) progressEvent {
	if e.Notice != "" {
		return progressEvent{Event: "notice", Text: e.Notice}
	}
	return progressEvent{Event: "progress", Phase: e.Phase, Path: e.Path, Done: e.Done, Total: e.Total, Files: e.Files, FilesTotal: e.FilesTotal}
}

// resultEvent is the last line.
type resultEvent struct {
	Event  string   `json:"event"` // "result"
	Verb   string   `json:"verb,omitempty"`
	Exit   int      `json:"exit"`
	Error  string   `json:"error,omitempty"`
	Hints  []string `json:"hints,omitempty"`
	Report any      `json:"report,omitempty"`
}

// result prints the last line of a run that came to its end.
func (c *call) result(code int, report any) {
	if c.out.json {
		c.out.event(resultEvent{Event: "result", Verb: c.verb, Exit: code, Report: report})
	}
}
