package state

import "fmt"

// UnsavedError reports that something is done for good, and that this machine could not write down
// what it has to remember of it: its state directory is full, or cannot be written any more.
type UnsavedError struct {
	Done string
	Err  error
}

// Unsaved is err as an UnsavedError, nil for nil.
func Unsaved(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &UnsavedError{fmt.Sprintf(format, args...), err}
}

func (e *UnsavedError) Error() string {
	return fmt.Sprintf("%s; what is remembered of that here could not be saved: %v", e.Done, e.Err)
}

// Unwrap gives the error of the state directory.
func (e *UnsavedError) Unwrap() error { return e.Err }

// Hints tell that the same command goes on from there.
func (e *UnsavedError) Hints(string) []string {
	return []string{"make room in the state directory, or make it writable, and run the same command again: what is done is not done twice"}
}
