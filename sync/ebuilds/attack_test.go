package ebuilds

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
)

// archive makes an archive of anything.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, io.LimitReader(zeros{}, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func reg(name string, size int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size}
}
func dir(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name} }

func TestHostileArchives(t *testing.T) {
	deep := []tar.Header{}
	for i := 1; i <= maxDepth+2; i++ {
		deep = append(deep, dir(strings.Repeat("d/", i)))
	}
	many := []tar.Header{}
	for i := range 50 {
		many = append(many, reg(fmt.Sprint("f", i), 0))
	}
	tests := []struct {
		name, reason string
		data         []byte
		want         layout.Tree
	}{
		{"a way out", "no plain", archive(t, reg("../evil", 1)), layout.Tree{}},
		{"a way out of a directory", "no plain", archive(t, dir("a/"), reg("a/../../evil", 1)),
			layout.Tree{}},
		{"an absolute name", "no plain", archive(t, reg("/tmp/evil", 1)), layout.Tree{}},
		{"the tree itself", "no plain", archive(t, dir("./")), layout.Tree{}},
		{"a symbolic link", "neither a file",
			archive(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/etc"}),
			layout.Tree{}},
		{"a hard link", "neither a file", archive(t, reg("a", 1),
			tar.Header{Typeflag: tar.TypeLink, Name: "l", Linkname: "a"}), layout.Tree{}},
		{"a device", "neither a file", archive(t, tar.Header{Typeflag: tar.TypeBlock, Name: "sda",
			Devmajor: 8}), layout.Tree{}},
		{"a FIFO", "neither a file", archive(t, tar.Header{Typeflag: tar.TypeFifo, Name: "p"}),
			layout.Tree{}},
		{"a name of 300 bytes", "longer than 255", archive(t, reg(strings.Repeat("n", 300), 1)),
			layout.Tree{}},
		{"a control character", "control", archive(t, reg("a\nb", 1)), layout.Tree{}},
		{"the same name twice", "twice", archive(t, reg("a", 1), reg("a", 1)), layout.Tree{}},
		{"a file for a directory", "twice", archive(t, reg("a", 1), dir("a/")), layout.Tree{}},
		{"without its directory", "before its directory", archive(t, reg("a/b", 1)), layout.Tree{}},
		{"below a file", "before its directory", archive(t, reg("a", 1), reg("a/b", 1)),
			layout.Tree{}},
		{".git", "git's", archive(t, dir(".git/")), layout.Tree{}},
		{"distfiles", "none of a repository", archive(t, dir("distfiles/")), layout.Tree{}},
		{"deep", "more than 24", archive(t, deep...), layout.Tree{}},
		{"more names than signed", "more than the 10 entries", archive(t, many...),
			layout.Tree{Count: 10, Bytes: 1}},
		{"more bytes than signed", "more than the 5 bytes", archive(t, reg("a", 6)),
			layout.Tree{Count: 1, Bytes: 5}},
		{"a bomb", "bytes", archive(t, reg("a", maxFile+1)),
			layout.Tree{Count: 5, Bytes: layout.MaxTreeBytes}},
		{"a bomb behind the end", "more than", append(archive(t), bomb(t)...),
			layout.Tree{Count: 5, Bytes: 5}},
		{"other contents", "not the tree", archive(t, reg("a", 1)),
			layout.Tree{Count: 1, Bytes: 1, Digest: "00"}},
		{"fewer", "not the tree", archive(t, reg("a", 1)), layout.Tree{Count: 2, Bytes: 1}},
		{"cut", "cannot be unpacked", archive(t, reg("a", 100_000))[:40], layout.Tree{}},
		{"no archive", "cannot be unpacked", []byte("hello"), layout.Tree{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			at := t.TempDir()
			root, err := durable.OpenRoot(at, nil)
			must(t, err)
			defer root.Close()
			if tt.want.Count == 0 {
				tt.want = layout.Tree{Count: 1000, Bytes: 1 << 20}
			}
			err = unpack(t.Context(), bytes.NewReader(tt.data), root, "new", &tt.want,
				Access{UID: -1, GID: -1, Dir: 0o755}, nil)
			var bad *ArchiveError
			if !errors.As(err, &bad) || !strings.Contains(bad.Reason, tt.reason) {
				t.Fatalf("got %v, want %q", err, tt.reason)
			}
			if names, _ := os.ReadDir(at); len(names) != 1 {
				t.Errorf("beside it: %v", names)
			}
		})
	}
	// Names that differ in case only are two.
	at := t.TempDir()
	root, err := durable.OpenRoot(at, nil)
	must(t, err)
	tree := layout.Tree{Count: 2, Bytes: 2}
	_ = unpack(t.Context(), bytes.NewReader(archive(t, reg("a", 1), reg("A", 1))), root, "new",
		&tree, Access{UID: -1, GID: -1, Dir: 0o755}, nil)
	if names, _ := os.ReadDir(filepath.Join(at, "new")); len(names) != 2 {
		t.Errorf("%v", names)
	}
}

// bomb is some MiB of nothing in a few bytes.
func bomb(t testing.TB) []byte {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(z, io.LimitReader(zeros{}, 4<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// An archive that is damaged costs nothing but itself: import tells the archive's fault, and what
// was unpacked is gone.
func TestDamagedArchive(t *testing.T) {
	c := newClient(t, gentoo(1))
	offer := offerOf(t, "gentoo", 20, gentoo(2))
	offer.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive(t, reg("a", 1)))), nil
	}
	_, errs := c.bring(t, nil, Options{Adopt: []string{"gentoo"}}, offer)
	var bad *ArchiveError
	if !errors.As(errs[0], &bad) {
		t.Fatal(errs[0])
	}
	sameTree(t, c.repo(), withoutDirs(gentoo(1)))
	if got := c.names(t); len(got) != 1 {
		t.Errorf("left behind: %q", got)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, dir("a/"), reg("a/b", 3)))
	f.Add(archive(f, reg("../x", 3)))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Most of what is changed in a compressed file never becomes a tar archive: the text is
		// fuzzed.
		var b bytes.Buffer
		z, err := zstd.NewWriter(&b)
		must(t, err)
		_, _ = z.Write(data)
		must(t, z.Close())
		for _, data := range [][]byte{data, b.Bytes()} {
			at := t.TempDir()
			root, err := durable.OpenRoot(at, nil)
			must(t, err)
			_ = unpack(t.Context(), bytes.NewReader(data), root, "new",
				&layout.Tree{Count: 20, Bytes: 1000}, Access{UID: -1, GID: -1, Dir: 0o755}, nil)
			root.Close()
			if names, _ := os.ReadDir(at); len(names) > 1 {
				t.Fatalf("%v", names)
			}
		}
	})
}

func FuzzNotes(f *testing.F) {
	f.Add([]byte(`{"format":1,"here":[{"name":"gentoo","location":"/var/db/repos/gentoo","kept":{"dir":".gentoo.pkgsneak-undo"}}],"packed":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := &Notes{dir: t.TempDir(), here: map[string]*Note{}, packed: map[string]Packed{}}
		if n.parse(data) != nil {
			return
		}
		must(t, n.save())
		again, err := ReadNotes(n.dir, nil)
		must(t, err)
		if len(again.All()) != len(n.All()) {
			t.Fatal("a note was lost")
		}
	})
}
