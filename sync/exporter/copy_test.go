package exporter

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/state"
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

// tinyPackage is a package without an image (man 5 xpak).
func tinyPackage(metadata ...[2]string) []byte {
	var index, data []byte
	number := binary.BigEndian.AppendUint32
	for _, kv := range metadata {
		index = append(number(index, uint32(len(kv[0]))), kv[0]...)
		index = number(number(index, uint32(len(data))), uint32(len(kv[1])))
		data = append(data, kv[1]...)
	}
	segment := number(number([]byte("XPAKPACK"), uint32(len(index))), uint32(len(data)))
	segment = append(append(append(segment, index...), data...), "XPAKSTOP"...)
	return append(number(append([]byte("image"), segment...), uint32(len(segment))), "STOP"...)
}

// emptyPackage is one with an image that holds nothing, compressed with gzip, whose header names
// the system that it was made on in a byte of its own.
func emptyPackage(system byte) []byte {
	var image bytes.Buffer
	z := gzip.NewWriter(&image)
	z.OS = system
	z.Write(make([]byte, 1024)) // the end of a tar
	z.Close()
	tiny := tinyPackage([2]string{"CATEGORY", "a"}, [2]string{"PF", "b-1"}, [2]string{"SLOT", "0"})
	return append(image.Bytes(), bytes.TrimPrefix(tiny, []byte("image"))...)
}

// A package that somebody writes to while it is looked through has not passed.
func TestAPackageThatChangesWhileItIsLookedThrough(t *testing.T) {
	for _, changes := range []bool{false, true} {
		f, d := newSourceFile(t, emptyPackage(3))
		passed := mayBeListed(askedContext{t.Context(), func() {
			if !changes {
				return
			}
			if err := os.WriteFile(filepath.Join(d.path, f.Path), emptyPackage(4),
				0o644); err != nil {
				t.Error(err)
			}
		}}, &source{packages: d}, f)
		if passed == changes {
			t.Errorf("changes: %t; passed: %t", changes, passed)
		}
	}
}

// A file that somebody writes to while it is looked at has no digest and no entry, and none is
// remembered.
func TestAFileThatChangesWhileItIsCompared(t *testing.T) {
	data := tinyPackage([2]string{"CATEGORY", "a"}, [2]string{"PF", "b-1"}, [2]string{"SLOT", "0"})
	changed := append([]byte("I"), data[1:]...)
	for name, look := range map[string]func(ctx context.Context, d *payloadDir, f *sourceFile) bool{
		"compared": func(ctx context.Context, d *payloadDir, f *sourceFile) bool {
			_, err := d.sum(ctx, f.Path, f.info)
			return errors.Is(err, durable.ErrChanged)
		},
		"one of two": func(ctx context.Context, d *payloadDir, f *sourceFile) bool {
			sum, err := d.readSum(ctx, f)
			return err == nil && sum == manifest.Digest{} && f.Sum == sum
		},
		"described again": func(ctx context.Context, d *payloadDir, f *sourceFile) bool {
			o := newOwnWord(d, f)
			_, err := fromHost(ctx, o, manifest.Digest(digest.Bytes(changed)))
			o.remember()
			return errors.Is(err, durable.ErrChanged)
		},
		"described where it stays": func(ctx context.Context, d *payloadDir, f *sourceFile) bool {
			o := newOwnWord(d, f)
			defer o.remember()
			return o.tell(ctx).IsZero()
		},
	} {
		f, d := newSourceFile(t, data)
		change := func() {
			if err := os.WriteFile(filepath.Join(d.path, f.Path), changed, 0o644); err != nil {
				t.Error(err)
			}
		}
		if !look(askedContext{context.Background(), change}, d, f) {
			t.Errorf("%s: nobody noticed", name)
		}
		if _, _, ok := d.cache.Lookup(f.Path, f.info); ok {
			t.Errorf("%s: a digest is remembered", name)
		}
		if f, d = newSourceFile(t, changed); look(askedContext{context.Background(),
			func() {}}, d, f) {
			t.Errorf("%s: a file that does not change is refused", name)
		}
	}
}

// A package that was looked through stays so when its MD5 is computed later; other bytes under the
// same status were not.
func TestRememberKeepsTheVerdict(t *testing.T) {
	data := tinyPackage([2]string{"CATEGORY", "a"}, [2]string{"PF", "b-1"}, [2]string{"SLOT", "0"})
	for _, tt := range []struct {
		sum  digest.Blake2b
		want int
	}{{digest.Bytes(data), binpkg.Rules}, {digest.Bytes(nil), 0}} {
		f, d := newSourceFile(t, data)
		d.cache.Put(f.Path, f.info, digest.Sums{Blake2b: tt.sum}, digest.BLAKE2B|digest.SHA1)
		d.cache.Approve(f.Path, f.info, binpkg.Rules)
		o := newOwnWord(d, f)
		if _, err := o.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		o.remember()
		if got := d.cache.Approved(f.Path, f.info); got != tt.want {
			t.Errorf("the rules of the verdict are %d, want %d", got, tt.want)
		}
		if _, set, _ := d.cache.Lookup(f.Path, f.info); set != digest.All {
			t.Errorf("the digests %b are remembered", set)
		}
	}
}

// newSourceFile makes a file of a host that is an hour old.
func newSourceFile(t *testing.T, data []byte) (*sourceFile, *payloadDir) {
	t.Helper()
	st, err := state.Open(t.Context(), t.TempDir(), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	d := &payloadDir{path: t.TempDir()}
	name, old := filepath.Join(d.path, "a/b-1.tbz2"), time.Now().Add(-time.Hour)
	if err := errors.Join(os.Mkdir(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644),
		os.Chtimes(name, old, old)); err != nil {
		t.Fatal(err)
	}
	if d.root, err = os.OpenRoot(d.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.root.Close() })
	if d.cache, err = st.Cache(d.path, time.Now()); err != nil {
		t.Fatal(err)
	}
	info, err := d.root.Lstat("a/b-1.tbz2")
	if err != nil {
		t.Fatal(err)
	}
	return &sourceFile{HostFile: HostFile{Kind: payload.Package, Path: "a/b-1.tbz2",
		Size: info.Size()}, info: info}, d
}
