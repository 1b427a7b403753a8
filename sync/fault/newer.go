package fault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// NewerError reports that a file of this machine's state has a format that a later pkgsneak made.
type NewerError struct {
	Format, Known int // the file's, and the highest that this program reads
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("a newer pkgsneak wrote it: format %d, and this one reads up to %d",
		e.Format, e.Known)
}

// CheckFormat returns a *NewerError for a format above the known one, and an error for one that
// never was.
func CheckFormat(format, known int) error {
	switch {
	case format > known:
		return &NewerError{format, known}
	case format < 1:
		return fmt.Errorf("format %d", format)
	}
	return nil
}

// CheckNewer returns a *NewerError if a JSON object tells a format above the known one, whatever
// else it has: another shape than this program reads, or no end.
func CheckNewer(object []byte, known int) error {
	d := json.NewDecoder(bytes.NewReader(object))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return nil
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return nil
		}
		var format int
		if name == "format" && json.Unmarshal(value, &format) == nil && format > known {
			return &NewerError{format, known}
		}
	}
	return nil
}

// NewerHints are the ways out where err has a *NewerError: nothing is damaged, so that nothing is
// to be removed. Without one they are nil.
func NewerHints(err error) []string {
	var newer *NewerError
	if !errors.As(err, &newer) {
		return nil
	}
	return []string{"use the newer pkgsneak; this one can only go on with a copy of the state directory from before"}
}
