package main

import (
	"runtime"
	"testing"

	"pkgsneak/sync/pipeline"
)

func TestUsersNumberOfThreadsWins(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	for value, more := range map[string]bool{"1": false, "": true} {
		t.Setenv("GOMAXPROCS", value)
		runtime.GOMAXPROCS(pipeline.Processors())
		tuneThreads()
		if got := runtime.GOMAXPROCS(0) > pipeline.Processors(); got != more {
			t.Errorf("with GOMAXPROCS=%q: more threads than processors: %v", value, got)
		}
	}
}

func TestMayGrow(t *testing.T) {
	for _, tt := range []struct {
		name string
		live uint64
		goal uint64 // of the heap, roughly; 0: whatever
	}{
		{"nothing", 0, 0},
		{"little", 5 << 20, uint64(smallHeap)},
		{"some", 20 << 20, uint64(smallHeap)},
		{"at the border", 32 << 20, uint64(smallHeap)},
		{"more", 80 << 20, 120 << 20},
		{"much", 120 << 20, 150 << 20},
		{"too much", 300 << 20, 324 << 20},
	} {
		p := mayGrow(tt.live)
		if p < leastGrowth {
			t.Errorf("%s: %d %%", tt.name, p)
		}
		goal := tt.live * uint64(100+p) / 100
		if tt.goal > 0 && (goal > tt.goal+tt.goal/50 || goal < tt.goal-tt.goal/50) {
			t.Errorf("%s: the next collection comes at %d bytes, not at %d", tt.name, goal, tt.goal)
		}
	}
}
