package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestStaging(t *testing.T) {
	boom := errors.New("boom")
	sum := [64]byte{0xab, 15: 0xcd, 16: 0xff}
	const hexName = "ab0000000000000000000000000000cd"
	tests := []struct {
		name    string
		before  func(*testing.T, *os.Root)
		size    int64
		fill    func(io.Writer) error
		wantErr bool
		want    []string // left in the directory
	}{
		{"complete", nil, 3, text("abc"), false, []string{hexName}},
		{"empty", nil, 0, text(""), false, []string{hexName}},
		{"longer-than-the-buffer", nil, 3 * bufferSize, text(strings.Repeat("x", 3*bufferSize)),
			false, []string{hexName}},
		{"too-short", nil, 4, text("abc"), true, nil},
		{"too-long", nil, 2, text("abc"), true, nil},
		{"much-too-long", nil, 2, text(strings.Repeat("x", 3*bufferSize)), true, nil},
		{"fill-fails", nil, 3, func(w io.Writer) error {
			io.WriteString(w, "abc")
			return boom
		}, true, nil},
		{"over-a-torn-one", func(t *testing.T, r *os.Root) {
			put(t, r, "stage/"+hexName+".part", "torn and long")
		}, 3, text("abc"), false,
			[]string{hexName}},
		{"over-a-complete-one", func(t *testing.T, r *os.Root) {
			put(t, r, "stage/"+hexName, "something else")
		}, 3, text("abc"), false,
			[]string{hexName}},
		{"a-complete-one-survives-failure", func(t *testing.T, r *os.Root) {
			put(t, r, "stage/"+hexName, "abc")
		}, 4, text("abc"), true, []string{hexName}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := openRoot(t)
			if tt.before != nil {
				tt.before(t, root)
			}
			s := newStaging(Wrap(root, nil), "stage")
			err := s.Write(sum, tt.size, tt.fill)
			if (err != nil) != tt.wantErr {
				t.Fatalf("error %v", err)
			}
			if got := names(t, root, "stage"); !slices.Equal(got, tt.want) {
				t.Errorf("directory holds %q, want %q", got, tt.want)
			}
			f, err := s.Open(sum)
			if errors.Is(err, fs.ErrNotExist) != (tt.want == nil) {
				t.Fatalf("open: %v", err)
			}
			if err == nil {
				if b, err := io.ReadAll(f); err != nil || !tt.wantErr && int64(len(b)) != tt.size {
					t.Errorf("%d bytes, %v", len(b), err)
				}
				f.Close()
			}
			if err := s.Clear(); err != nil {
				t.Error(err)
			}
			if left := names(t, root, "."); len(left) != 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

func TestStagingIsPrivate(t *testing.T) {
	root := openRoot(t)
	s := newStaging(Wrap(root, nil), "stage")
	if err := s.Write([64]byte{}, 1, text("a")); err != nil {
		t.Fatal(err)
	}
	if fi, err := root.Lstat("stage"); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
}

func TestStagingGoesThroughNoLink(t *testing.T) {
	elsewhere := t.TempDir()
	for name, setup := range map[string]func(*os.Root) error{
		"link-out": func(r *os.Root) error {
			return os.Symlink(elsewhere, filepath.Join(r.Name(), "stage"))
		},
		"link-inside": func(r *os.Root) error {
			return errors.Join(r.Mkdir("other", 0o755), r.Symlink("other", "stage"))
		},
		"file": func(r *os.Root) error { return r.WriteFile("stage", nil, 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			root := openRoot(t)
			if err := setup(root); err != nil {
				t.Fatal(err)
			}
			if err := newStaging(Wrap(root, nil), "stage").Write([64]byte{}, 1,
				text("a")); err == nil {
				t.Error("staged")
			}
		})
	}
	if left, _ := os.ReadDir(elsewhere); len(left) != 0 {
		t.Errorf("outside: %v", left)
	}
}
