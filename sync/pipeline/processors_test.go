package pipeline_test

import (
	"runtime"
	"testing"

	"pkgsneak/sync/pipeline"
)

func TestExpectWaits(t *testing.T) {
	processors := pipeline.Processors()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors)) // go test -cpu has changed it

	pipeline.ExpectWaits()
	if got, want := runtime.GOMAXPROCS(0), processors+min(processors, 4); got != want {
		t.Errorf("%d threads for %d processors, want %d", got, processors, want)
	}
	if got := pipeline.Processors(); got != processors {
		t.Errorf("Processors is %d, want %d: only the threads are more", got, processors)
	}
}
