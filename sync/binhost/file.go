package binhost

import (
	"io"
	"time"
)

// file is an opened file for an answer.
type file struct {
	content  io.ReadSeeker // an *os.File where it can be, for sendfile
	close    func() error
	name     string // for the type
	size     int64
	modified time.Time // zero: none is told
	etag     string    // quoted
	// not nil: reads and compares the whole; to be called before a part of it is served
	check  func() error
	failed func() error // not nil: why reading ended early
	small  bool         // content is memory, of at most smallRead bytes
}
