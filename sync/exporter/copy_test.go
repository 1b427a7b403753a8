package exporter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/pipeline"
)

// changer changes a file at the first byte that is copied from it.
type changer struct {
	change func()
	n      int
}

func (c *changer) Write(p []byte) (int, error) {
	if c.n == 0 {
		c.change()
	}
	c.n += len(p)
	return len(p), nil
}

// A file that somebody writes to while it is copied is no file that anybody could sign: its
// beginning is that of the old one.
func TestAFileThatChangesWhileItIsRead(t *testing.T) {
	changes := map[string]func(name string) error{
		"a byte is changed": func(name string) error {
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("x"), 0)
				err = errors.Join(err, f.Close())
			}
			return err
		},
		"it grows": func(name string) error {
			f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
			if err == nil {
				_, err = f.WriteString("more")
				err = errors.Join(err, f.Close())
			}
			return err
		},
		"it loses its end": func(name string) error { return os.Truncate(name, 10) },
	}
	for what, change := range changes {
		for _, large := range []bool{false, true} {
			name := filepath.Join(t.TempDir(), "file")
			size := int64(1000)
			if large {
				size = 3 * pipeline.SmallSize
			}
			if err := errors.Join(os.WriteFile(name, make([]byte, size), 0o644),
				os.Chtimes(name, time.Time{}, time.Unix(1e9, 0))); err != nil {
				t.Fatal(err)
			}
			file, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			scanned, err := file.Stat()
			if err != nil {
				t.Fatal(err)
			}
			doChange := func() {
				if err := change(name); err != nil {
					t.Fatal(err)
				}
			}
			bufs := &pipeline.Buffers{}
			if large {
				err = copyTo(context.Background(), &changer{change: doChange}, file, scanned, bufs)
			} else {
				doChange() // between the opening and the reading
				_, err = readWhole(file, scanned, bufs.Small())
			}
			if !errors.Is(err, durable.ErrChanged) {
				t.Errorf("%s, %d bytes: %v", what, size, err)
			}
		}
	}
}

// askedContext calls when it is asked whether it has ended: between the pieces of what is read.
type askedContext struct {
	context.Context
	asked func()
}

func (c askedContext) Err() error {
	c.asked()
	return c.Context.Err()
}

// A file that somebody writes to while it is compared has no digest, and none is remembered.
func TestAFileThatChangesWhileItIsCompared(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a")
	if err := os.WriteFile(name, []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	scanned, err := root.Lstat("a")
	if err != nil {
		t.Fatal(err)
	}
	ctx := askedContext{context.Background(), func() {
		if err := os.WriteFile(name, []byte("two"), 0o644); err != nil {
			t.Error(err)
		}
	}}
	d := &payloadDir{path: dir, root: root}
	if sums, err := d.sum(ctx, "a", scanned); !errors.Is(err, durable.ErrChanged) {
		t.Errorf("%x, %v", sums.Blake2b, err)
	}
}
