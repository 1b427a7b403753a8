package binhost

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// awayError reports that the drive is not there.
type awayError struct{ err error }

func (e *awayError) Error() string { return fmt.Sprintf("the drive is not there: %v", e.err) }

// damagedError reports that a file on the drive is not what was signed.
type damagedError struct{ path, reason string }

func (e *damagedError) Error() string { return fmt.Sprintf("%q is damaged: %s", e.path, e.reason) }

// notThere are the errors of a path that leads to nothing that is served.
func notThere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) ||
		errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) ||
		errors.Is(err, syscall.ENAMETOOLONG) || errors.Is(err, errHidden)
}

// errHidden: something has the name and is not served.
var errHidden = errors.New("not served")
