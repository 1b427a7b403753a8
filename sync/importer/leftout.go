package importer

import (
	"errors"
	"io/fs"

	"pkgsneak/sync/drive"
)

// leftOutError is the reason why one file is not brought in, while the rest is.
type leftOutError struct {
	reason string
	hint   string // the command that helps, "" for none
}

func (e *leftOutError) Error() string { return e.reason }

func isLeftOut(err error) bool {
	var reason *leftOutError
	return errors.As(err, &reason)
}

// onTheDrive tells what is wrong with a file of the drive.
func onTheDrive(damaged *drive.DamagedError) *leftOutError {
	switch {
	case damaged.Forbidden():
		return &leftOutError{reason: damaged.Reason, hint: drive.MayRead}
	case errors.Is(damaged, fs.ErrNotExist):
		return &leftOutError{reason: "missing on the drive"}
	}
	return &leftOutError{reason: "damaged on the drive: " + damaged.Reason}
}
