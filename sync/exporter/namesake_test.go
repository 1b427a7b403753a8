package exporter

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"pkgsneak/sync/state"
)

// Forgetting a namesake makes room on the drive. A state directory that is full gets none by it.
func TestNamesakesMakeRoomOnTheDriveOnly(t *testing.T) {
	full := fmt.Errorf("write: %w", syscall.ENOSPC)
	namesakes := []Namesake{{Dir: "host"}}
	for _, tt := range []struct {
		err  error
		told bool
	}{
		{full, true},
		{state.Unsaved(full, "export: it is on the drive"), false},
		{syscall.EIO, false},
	} {
		err := withNamesakes(tt.err, namesakes, nil)
		if told := errors.As(err, new(*CrowdedError)); told != tt.told {
			t.Errorf("%v: namesakes are told: %t", tt.err, told)
		}
	}
}
