package durable

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// LockStore keeps other imports out of a directory until the lock is released: two that stage in
// one directory, each with a state directory of its own, would remove each other's files. emerge is
// not kept out; for that there is the lock of the index. It is nil where nothing can be written,
// and for a PKGDIR that is the DISTDIR too and locked already.
func LockStore(ctx context.Context, store, locked *Store, o LockOptions) (*Lock, error) {
	if store == nil || locked != nil && sameDirectory(store, locked) {
		return nil, nil
	}
	l, err := store.Lock(ctx, o)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil, nil // whatever has to be brought in reports it
	}
	return l, err
}

func sameDirectory(a, b *Store) bool {
	x, err := a.Lstat(".")
	if err != nil {
		return false
	}
	y, err := b.Lstat(".")
	return err == nil && os.SameFile(x, y)
}
