package exporter

import (
	"strings"
	"testing"

	"pkgsneak/sync/progress"
)

// A drive of a few hundred KiB is tested with less than a MiB.
func TestCapacityTestOfASmallDriveTellsItsSize(t *testing.T) {
	var told string
	(&probeEvents{}).event(func(m progress.Message) {
		if n, ok := m.(progress.Notice); ok {
			told += string(n)
		}
	}, 600<<10)
	if !strings.Contains(told, "with 300 KiB that are written") {
		t.Errorf("%q", told)
	}
}
