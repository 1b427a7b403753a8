package pipeline

import (
	"cmp"
	"context"
	"slices"
)

// Ordered calls work for each of n items, up to workers at once, and hands the results to use in
// the order of the items: a slow result is there when its turn comes. At most window items are
// begun and not yet used. The first error of use, or ctx, ends it; work that was begun by then is
// waited for, and its results go to drop.
func Ordered[T any](ctx context.Context, n, workers, window int,
	work func(ctx context.Context, i int) T, use func(i int, v T) error, drop func(v T)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	semaphore := make(chan struct{}, max(1, workers))
	results := make([]chan T, n)
	begun := 0
	begin := func() {
		i := begun
		results[i] = make(chan T, 1)
		begun++
		go func() {
			semaphore <- struct{}{}
			defer func() { <-semaphore }()
			results[i] <- work(ctx, i)
		}()
	}
	var err error
	used := 0
	for ; used < n && err == nil; used++ {
		for begun < n && begun < used+max(1, window) {
			begin()
		}
		v := <-results[used]
		results[used] = nil
		if err = context.Cause(ctx); err != nil {
			drop(v)
			continue
		}
		err = use(used, v)
	}
	cancel()
	for ; used < begun; used++ {
		drop(<-results[used])
	}
	return err
}

// Future starts f and returns a function that waits for its result. It may be called several times.
func Future[T any](f func() (T, error)) func() (T, error) {
	var v T
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		v, err = f()
	}()
	return func() (T, error) {
		<-done
		return v, err
	}
}

// LargeSize is the size in bytes from which it matters which file is worked on last.
const LargeSize = 32 << 20

// LargeFirst returns the order in which n files of these sizes are best worked on at the same time:
// the one that is worked on last, alone, should not be the largest. Else the order stays as it is.
func LargeFirst(n int, size func(i int) int64) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(size(b)/LargeSize, size(a)/LargeSize)
	})
	return order
}

// Window is how many items Ordered is usefully given at most: so many may be begun, or be done,
// before the first of them is used.
const Window = 256
