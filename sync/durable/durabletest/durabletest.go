// Package durabletest is for tests of what writes through package durable: it records the changes
// in their order, and lets one of them fail or end the process.
//
//	rec := &durabletest.Recorder{}
//	d, err := pkgdir.OpenWith(dir, rec.Hook)
//	...
//	rec.Changes(dir)   // "create a", "write a", "fsync a", "rename a b", "fsync-dir ."
//
// A test that has to hold at every operation runs once to count them ([Recorder.Len]), and then
// once for each with [FailAt] or, in a process of its own, [KillAt].
package durabletest

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"pkgsneak/sync/durable"
)

// A Recorder keeps the changes that its Hook is shown. The zero value is ready.
type Recorder struct {
	mu      sync.Mutex
	changes []durable.Change
	next    durable.Hook
}

// Then lets hook decide about each change after it was recorded.
func (r *Recorder) Then(hook durable.Hook) *Recorder {
	r.next = hook
	return r
}

// Hook is a durable.Hook.
func (r *Recorder) Hook(c durable.Change) error {
	r.mu.Lock()
	r.changes = append(r.changes, c)
	r.mu.Unlock()
	if r.next != nil {
		return r.next(c)
	}
	return nil
}

// Len is the number of changes so far.
func (r *Recorder) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.changes)
}

// Reset forgets what was recorded.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes = nil
}

// All returns the changes as they were made.
func (r *Recorder) All() []durable.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.changes)
}

var tempName = regexp.MustCompile(`\.pkgsneak-[0-9a-f]{16}`)

// Changes returns the changes below one root as text, made comparable: random names of temporary
// files are ".NAME.pkgsneak-", writes to one file that follow each other are one, and fsyncs that
// follow each other are sorted, since they are made at the same time.
func (r *Recorder) Changes(root string) []string {
	var list []string
	syncs := 0 // at the end of list
	for _, c := range r.All() {
		if c.Root != root {
			continue
		}
		s := tempName.ReplaceAllString(c.String(), ".pkgsneak-")
		if c.Op == durable.OpWrite && len(list) > 0 && list[len(list)-1] == s {
			continue
		}
		list = append(list, s)
		if c.Op != durable.OpFsync {
			syncs = 0
			continue
		}
		syncs++
		slices.Sort(list[len(list)-syncs:])
	}
	return list
}

// Index returns the place of the first change that begins with prefix, or -1.
func Index(changes []string, prefix string) int {
	return slices.IndexFunc(changes, func(s string) bool { return strings.HasPrefix(s, prefix) })
}

// FailAt is a hook that lets the n-th change, from 1, fail with err, and only that one. It may be
// called from several goroutines.
func FailAt(n int, err error) durable.Hook {
	var mu sync.Mutex
	return func(durable.Change) error {
		mu.Lock()
		defer mu.Unlock()
		if n--; n == 0 {
			return err
		}
		return nil
	}
}

// FailFrom is FailAt for the n-th change and all after it, as on a disk that is full or gone.
func FailFrom(n int, err error) durable.Hook {
	var mu sync.Mutex
	return func(durable.Change) error {
		mu.Lock()
		defer mu.Unlock()
		if n--; n <= 0 {
			return err
		}
		return nil
	}
}

// KillAt is a hook that ends the process with SIGKILL before its n-th change, from 1.
func KillAt(n int) durable.Hook {
	var mu sync.Mutex
	return func(durable.Change) error {
		mu.Lock()
		defer mu.Unlock()
		if n--; n == 0 {
			_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
			select {} // until it arrives
		}
		return nil
	}
}
