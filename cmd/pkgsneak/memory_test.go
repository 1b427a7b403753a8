package main

import "testing"

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
