package drivewriter

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/progress"
)

// spoilAt changes a file on the medium when a change of the drive is made
// for the n-th time.
func spoilAt(op, name string, n int, spoil func()) func(*Writer) {
	return func(w *Writer) {
		w.hook = func(did, on string) error {
			if did == op && on == name {
				if n--; n == 0 {
					spoil()
				}
			}
			return nil
		}
	}
}

// A medium that does not hold what was written stops the commit, and the
// message names file, place and likely cause.
func TestReadBack(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("0123456789abcdef", 50_000)
	for name, row := range map[string]struct {
		file   string
		spoil  func(file string) error
		offset int64
		want   string
		old    bool
	}{
		"one bit of a new file": {"packages/app-misc/large-1.tbz2", func(f string) error {
			return change(f, func(b []byte) { b[300_000] ^= 4 })
		}, 300_000 / blockSize * blockSize, "the drive is failing", false},
		"a new file lost its end": {"packages/app-misc/large-1.tbz2", func(f string) error {
			return os.Truncate(f, 1000)
		}, 1000, "1000 bytes instead of 800000", false},
		"a new file of zeros": {"packages/app-misc/large-1.tbz2", func(f string) error {
			return change(f, func(b []byte) { clear(b) })
		}, 0, "the drive is failing", false},
		"an old file overwritten": {"packages/app-misc/foo-1.tbz2", func(f string) error {
			return change(f, func(b []byte) { copy(b, "wrapped") })
		}, -1, "later files destroyed earlier ones", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mount, h := tempDir(t), small()
			mustExport(t, h, mount)
			before := maps.Clone(h.files)
			h.pkg("app-misc/large-1.tbz2", large)
			file := filepath.Join(mount, layout.TreeDir, "buildhost", row.file)
			// No directory is new, so the first syncfs is the one before the read-back.
			h.tweak = spoilAt("syncfs", "buildhost", 1, func() {
				if err := row.spoil(file); err != nil {
					t.Error(err)
				}
			})
			err := h.export(t.Context(), mount)
			var wrong *drive.ReadBackError
			if !errors.As(err, &wrong) {
				t.Fatalf("export: %v", err)
			}
			if wrong.Path != row.file || wrong.Offset != row.offset || wrong.Old != row.old ||
				!strings.Contains(err.Error(), row.want) {
				t.Errorf("%v (%+v), want offset %d and %q", err, wrong, row.offset, row.want)
			}
			if !row.old {
				h.files = before
				got, err := readItems(load(t, h, mount))
				if err != nil || !maps.Equal(got, before) {
					t.Errorf("the old generation is not whole: %v", err)
				}
			}
		})
	}
}

func change(file string, edit func([]byte)) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	edit(data)
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	return errors.Join(err, f.Close())
}

// Without read-back nothing is compared, and nothing is reported as compared.
func TestNoReadBack(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	compared := false
	h.tweak = func(w *Writer) {
		w.o.NoReadBack = true
		w.tellTo(func(phase progress.Phase, _ string, _ int64) {
			compared = compared ||
				phase == progress.PhaseReadBack
		})
	}
	mustExport(t, h, mount)
	mustExport(t, h, mount)
	checkHolds(t, h, mount)
	if compared {
		t.Error("there was a comparison")
	}
}

// A file that had rotted before the session is no sign of a false drive: it is
// found in the sample and written again.
func TestRottenBefore(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	if err := change(filepath.Join(mount, layout.TreeDir, "buildhost/packages/app-misc/foo-1.tbz2"),
		func(b []byte) { b[0] ^= 1 }); err != nil {
		t.Fatal(err)
	}
	mustExport(t, h, mount)
	checkHolds(t, h, mount)
}

// Progress counts each byte once, and the small files when they went out.
func TestProgress(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), newHost(keys()[0], "buildhost")
	h.pkg("a-b/large-1.tbz2", strings.Repeat("0123456789abcdef", 3<<20/2)) // 24 MiB
	for i := range 300 {
		h.dist(fmt.Sprintf("d%d", i), strings.Repeat("x", i))
	}
	got := make(map[string]int64)
	var steps []int64
	h.tweak = func(w *Writer) {
		w.tellTo(func(phase progress.Phase, name string, n int64) {
			if phase == progress.PhaseCopy {
				got[name] += n
				if strings.HasPrefix(name, layout.PackagesDir) {
					steps = append(steps, n)
				}
			}
		})
	}
	mustExport(t, h, mount)
	g := checkHolds(t, h, mount)
	for _, it := range g.All() {
		if got[it.Stored[0].Path] != it.Size {
			t.Errorf("%s: %d bytes of %d were counted", it.Path, got[it.Stored[0].Path], it.Size)
		}
	}
	if len(steps) < 3 || slices.Max(steps) > 16<<20 {
		t.Errorf("24 MiB in steps of %v", steps)
	}
}

func TestMarks(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("abcdefgh"), 30_000)
	var whole, pieces blockSums
	whole.Write(data)
	for rest := data; len(rest) > 0; rest = rest[min(777, len(rest)):] {
		pieces.Write(rest[:min(777, len(rest))])
	}
	a, b := whole.end(), pieces.end()
	if !slices.Equal(a, b) || len(a) != 4 {
		t.Fatalf("%v %v", a, b)
	}
	b[2] ^= 1
	if at := firstWrong(a, b); at != 2*blockSize {
		t.Errorf("first wrong byte at %d", at)
	}
}
