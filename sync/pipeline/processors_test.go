package pipeline_test

import (
	"runtime"
	"testing"

	"pkgsneak/sync/pipeline"
)

func TestExpectWaits(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)

	pipeline.ExpectWaits()
	if got, want := runtime.GOMAXPROCS(0), before+min(before, 4); got != want {
		t.Errorf("%d threads for %d processors, want %d", got, before, want)
	}
	if got := pipeline.Processors(); got != before {
		t.Errorf("Processors is %d, want %d: only the threads are more", got, before)
	}
}
