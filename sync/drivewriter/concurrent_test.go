package drivewriter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
)

// Files that are put side by side, some of which their source gives up, end as if they had been put
// one after the other: what was carried is whole, nothing else is left.
func TestPutSideBySide(t *testing.T) {
	h, mount := small(), tempDir(t)
	h.part = 1 << 20
	for i := range 60 {
		// up to 2.8 MB: some are split
		h.dist(fmt.Sprintf("source-%02d.tar.xz", i),
			strings.Repeat(fmt.Sprintf("%04d", i), 1+i*i*200))
	}
	giveUp := errors.New("the source is bad")
	h.beside = func(ctx context.Context, w *Writer, planned []NewFile) (keep []layout.Item) {
		var mu sync.Mutex
		var group sync.WaitGroup
		queue := make(chan NewFile)
		for range 6 {
			group.Go(func() {
				for f := range queue {
					mu.Lock()
					data := h.files[payload.Key{Kind: f.Kind, Path: f.Path}]
					mu.Unlock()
					bad := f.Size%3 == 0
					it, err := w.Put(ctx, f, func(out io.Writer) error {
						for half := len(data) / 2; len(data) > 0; data = data[half:] {
							half = min(max(half, 1), len(data))
							if _, err := io.WriteString(out, data[:half]); err != nil {
								return err
							}
							if bad {
								return giveUp
							}
						}
						return nil
					})
					mu.Lock()
					switch {
					case err == nil:
						keep = append(keep, it)
					case bad && errors.Is(err, giveUp):
						delete(h.files, payload.Key{Kind: f.Kind, Path: f.Path})
					default:
						t.Error(err)
					}
					mu.Unlock()
				}
			})
		}
		for _, f := range planned {
			queue <- f
		}
		close(queue)
		group.Wait()
		return keep
	}
	all := len(h.files)
	mustExport(t, h, mount)
	if gone := all - len(h.files); gone < 10 || len(h.files) < 10 {
		t.Fatalf("%d files were given up and %d carried", gone, len(h.files))
	}
	checkHolds(t, h, mount).Close()
}

// A session keeps a second one away until it is over, and not longer: a program that was started
// meanwhile inherits the descriptor, and has it until its image is replaced.
func TestLockEndsWithTheSession(t *testing.T) {
	mount := tempDir(t)
	mustExport(t, small(), mount)
	d, err := drive.Open(mount)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	first, second := newSession(d, "host", nil), newSession(d, "host", nil)
	if err := first.takeLock(); err != nil {
		t.Fatal(err)
	}
	inherited, err := unix.FcntlInt(first.lock.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	if err := second.takeLock(); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("while the first has it: %v", err)
	}
	first.release()
	if err := second.takeLock(); err != nil {
		t.Errorf("after the first: %v", err)
	}
	second.release()
}
