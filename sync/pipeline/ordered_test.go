package pipeline_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"pkgsneak/sync/pipeline"
)

func TestOrderedKeepsOrder(t *testing.T) {
	var got []int
	err := pipeline.Ordered(t.Context(), 100, 4, 8,
		func(_ context.Context, i int) int { return i * i },
		func(i, v int) error {
			if v != i*i {
				t.Errorf("item %d got %d", i, v)
			}
			got = append(got, i)
			return nil
		}, func(int) {})
	if err != nil || len(got) != 100 {
		t.Fatalf("%d results, %v", len(got), err)
	}
	for i, v := range got {
		if i != v {
			t.Fatalf("result %d came as number %d", v, i)
		}
	}
}

func TestOrderedStaysWithinItsWindow(t *testing.T) {
	var begun, used, most atomic.Int64
	err := pipeline.Ordered(t.Context(), 50, 8, 3,
		func(context.Context, int) int {
			if lead := begun.Add(1) - used.Load(); lead > most.Load() {
				most.Store(lead)
			}
			return 0
		},
		func(int, int) error { used.Add(1); return nil }, func(int) {})
	if err != nil || most.Load() > 4 {
		t.Errorf("%d items were begun ahead, want at most the window of 3 and the one in hand; %v",
			most.Load(), err)
	}
}

func TestOrderedDropsWhatIsNotUsed(t *testing.T) {
	stop := errors.New("stop")
	var made, dropped atomic.Int64
	used := 0
	err := pipeline.Ordered(t.Context(), 20, 4, 6,
		func(context.Context, int) int { made.Add(1); return 0 },
		func(i, _ int) error {
			used++
			if i == 5 {
				return stop
			}
			return nil
		}, func(int) { dropped.Add(1) })
	if !errors.Is(err, stop) || used != 6 {
		t.Errorf("used %d, %v", used, err)
	}
	if made.Load() != int64(used)+dropped.Load() {
		t.Errorf("made %d, used %d, dropped %d", made.Load(), used, dropped.Load())
	}
}

func TestOrderedEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := pipeline.Ordered(ctx, 20, 2, 4,
		func(context.Context, int) int { return 0 },
		func(i, _ int) error {
			if i == 2 {
				cancel()
			}
			return nil
		}, func(int) {})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
