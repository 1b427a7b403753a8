package binpkg

import (
	"errors"
	"fmt"
)

// InvalidError reports that a file is no package that may be indexed or carried.
type InvalidError struct {
	Path   string // as given to Read
	Reason string // lower case, without the path
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("package %q: %s", e.Path, e.Reason)
}

// fault is the reason of an InvalidError on its way up. Every other error
// means that the file could not be read, which proves nothing about the package.
type fault string

func (f fault) Error() string { return string(f) }

func faultf(format string, args ...any) error {
	return fault(fmt.Sprintf(format, args...))
}

// within names in which part of the package a fault is.
func within(part string, err error) error {
	var f fault
	if errors.As(err, &f) {
		return faultf("%s: %s", part, f)
	}
	return err
}

// verdict makes the error of an exported function.
func verdict(path string, err error) error {
	var f fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return &InvalidError{Path: path, Reason: string(f)}
	default:
		return fmt.Errorf("read package %q: %w", path, err)
	}
}
