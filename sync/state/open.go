package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"pkgsneak/sync/durable"
)

// Options for Open. The zero value opens for writing and does not wait for another pkgsneak.
type Options struct {
	ReadOnly bool          // no lock, nothing is created, an absent directory is an empty state
	LockWait time.Duration // durable.ErrLocked after this long
	OnWait   func()        // called once after a second of waiting
	Hook     durable.Hook  // shown each change of a file; nil outside of tests
}

// Open opens the state directory dir, and creates it (not with ReadOnly). The error is
// durable.ErrLocked if another pkgsneak uses it, and a *FileError if its memory cannot be used.
func Open(ctx context.Context, dir string, o Options) (*Dir, error) {
	st, err := open(ctx, dir, o)
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", err)
	}
	return st, nil
}

func open(ctx context.Context, dir string, o Options) (_ *Dir, err error) {
	st := &Dir{dir: dir, rows: make(map[importsID]map[string]Import)}
	if !o.ReadOnly {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	st.root, err = durable.OpenRoot(dir, o.Hook, directories...)
	if o.ReadOnly && errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			st.Close()
		}
	}()
	if !o.ReadOnly {
		st.lock, err = st.root.Acquire(ctx, lockName, durable.LockOptions{Wait: o.LockWait,
			OnWait: o.OnWait})
		if err != nil {
			return nil, unlockable(err)
		}
		if err := st.sweep(); err != nil {
			return nil, err
		}
	}
	if err := st.readMemory(); err != nil || o.ReadOnly {
		return st, err
	}
	if err := finishReplacing(st); err != nil {
		return nil, err
	}
	return st, finishRenewing(st)
}

// sweep removes what killed runs left.
func (st *Dir) sweep() error {
	for _, dir := range append([]string{"."}, directories...) {
		if err := st.root.Sweep(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
