package drivewriter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/durable/durabletest"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
)

// step is one change of the drive, as the hook sees it.
type step struct{ op, name string }

// record makes a host's exports note what they do.
func record(h *host) *[]step {
	var steps []step
	h.tweak = func(w *Writer) {
		steps = nil
		w.hook = func(op, name string) error {
			steps = append(steps, step{op, name})
			return nil
		}
	}
	return &steps
}

func first(steps []step, match func(step) bool) int { return slices.IndexFunc(steps, match) }

func last(steps []step, match func(step) bool) int {
	for i := len(steps) - 1; i >= 0; i-- {
		if match(steps[i]) {
			return i
		}
	}
	return -1
}

func isPayload(name string) bool {
	kind, _, ok := layout.KindOf(name)
	return ok && kind != ""
}

func does(op string) func(step) bool { return func(s step) bool { return s.op == op } }

func on(op, name string) func(step) bool { return func(s step) bool { return s == step{op, name} } }

func payloadStep(op string) func(step) bool {
	return func(s step) bool { return s.op == op && isPayload(s.name) }
}

// inOrder fails unless all the steps come one after the other.
func inOrder(t *testing.T, steps []step, names []string, at ...int) {
	t.Helper()
	for i := range at {
		if at[i] < 0 || i > 0 && at[i] <= at[i-1] {
			t.Errorf("%s at %d does not come after the one before: %v\n%v", names[i],
				at[i], at, steps)
			return
		}
	}
}

func TestOrderOfTheFirstExport(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	steps := record(h)
	mustExport(t, h, mount)
	inOrder(t, *steps, []string{"slots", "room of Packages", "last mkdir", "flush of directories",
		"payload", "last payload", "record", "syncfs", "flush", "commit", "manifest", "packages"},
		first(*steps, on("extend", layout.NextManifestFile)), first(*steps,
			on("extend", layout.PackagesFile)), last(*steps, does("mkdir")),
		last((*steps)[:first(*steps, payloadStep("create"))], on("fsync", layout.NextManifestFile)),
		first(*steps, payloadStep("create")), last(*steps, payloadStep("write")), first(*steps,
			on("write", layout.RecordFile(h.clock))),
		last((*steps)[:first(*steps, does("overwrite"))], does("syncfs")),
		last((*steps)[:first(*steps, does("overwrite"))], on("fsync", layout.NextManifestFile)),
		first(*steps, on("overwrite", layout.NextManifestFile)), first(*steps,
			on("overwrite", layout.ManifestFile)),
		first(*steps, on("overwrite", layout.PackagesFile)))
}

func TestOrderOfANextExport(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	steps := record(h)
	mustExport(t, h, mount)
	h.drop(payload.Distfile, "foo-1.tar.gz")
	h.pkg("new-cat/foo-1.tbz2", "new")
	h.pkg("app-misc/foo-1.tbz2", "rebuilt")
	writeFile(t, filepath.Join(mount, layout.TreeDir,
		"buildhost/packages/app-misc/leftover-1.tbz2"), "left by a pulled run")
	mustExport(t, h, mount)
	checkHolds(t, h, mount)
	old := "distfiles/" + layout.Bucket("foo-1.tar.gz") + "/foo-1.tar.gz"
	inOrder(t, *steps, []string{"leftover", "its directory", "mkdir", "payload", "flush", "commit",
		"manifest", "packages", "unlink", "its directory"},
		first(*steps, on("unlink", "packages/app-misc/leftover-1.tbz2")), first(*steps,
			on("fsync", "packages/app-misc")),
		first(*steps, does("mkdir")), first(*steps, payloadStep("create")),
		last((*steps)[:first(*steps, does("overwrite"))], on("fsync", layout.NextManifestFile)),
		first(*steps, on("overwrite", layout.NextManifestFile)), first(*steps,
			on("overwrite", layout.ManifestFile)),
		first(*steps, on("overwrite", layout.PackagesFile)),
		first(*steps, on("unlink", old)), last(*steps, on("fsync", path.Dir(old))))
	for i, s := range *steps {
		if s.op == "create" && slices.Contains([]string{"packages/app-misc/foo-1.tbz2",
			old}, s.name) {
			t.Errorf("step %d writes %q, which the committed generation lists", i, s.name)
		}
	}
	// Every name that was lost is made durable before the session ends.
	for i, s := range *steps {
		if s.op == "unlink" && first((*steps)[i:], on("fsync", path.Dir(s.name))) < 0 {
			t.Errorf("no fsync of the directory after unlinking %q", s.name)
		}
	}
}

// A run that was pulled between the manifest copies is recovered before anything else.
func TestMend(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(old []byte) []byte{
		"manifest is older": func(old []byte) []byte { return old },
		"manifest is torn": func(old []byte) []byte {
			return append(slices.Clone(old[:300]), make([]byte, len(old)-300)...)
		},
		"manifest is blank":  func(old []byte) []byte { return newlines },
		"manifest is absent": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mount, h := tempDir(t), small()
			steps := record(h)
			mustExport(t, h, mount)
			slot := filepath.Join(mount, layout.TreeDir, "buildhost", layout.ManifestFile)
			old, err := os.ReadFile(slot)
			if err != nil {
				t.Fatal(err)
			}
			h.pkg("app-misc/foo-1.tbz2", "rebuilt")
			mustExport(t, h, mount)
			if spoil == nil {
				os.Remove(slot)
			} else if err := os.WriteFile(slot, spoil(old), 0o644); err != nil {
				t.Fatal(err)
			}
			if g := load(t, h, mount); g.File != layout.NextManifestFile || g.Serial() != h.clock {
				t.Fatalf("read generation %d from %s", g.Serial(), g.File)
			}
			h.pkg("app-misc/foo-1.tbz2", "once more")
			mustExport(t, h, mount)
			checkHolds(t, h, mount)
			if at := first(*steps, on("overwrite", layout.ManifestFile)); at < 0 ||
				at > first(*steps, on("overwrite", layout.NextManifestFile)) ||
				slices.ContainsFunc((*steps)[:at], func(s step) bool {
					return s.op == "unlink" ||
						s.op == "create"
				}) {
				t.Errorf("not mended first: %v", (*steps)[:5])
			}
		})
	}
}

var errCut = errors.New("cut off here")

// cutter lets a number of changes through and then none. The one at which it
// cuts is done in part.
type cutter struct {
	t     *testing.T
	dir   string // of the origin
	left  int
	steps int
	at    step
}

func (c *cutter) hook(op, name string) error {
	c.steps++
	if c.left--; c.left > 0 {
		return nil
	}
	if c.left == 0 {
		c.at = step{op, name}
		c.tear(op, filepath.Join(c.dir, name))
	}
	return &drive.GoneError{Op: op, Path: name, Vanished: true, Err: errCut}
}

// tear does half of a change.
func (c *cutter) tear(op, file string) {
	switch op {
	case "overwrite":
		info, err := os.Stat(file)
		if err != nil {
			return
		}
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			c.t.Fatal(err)
		}
		defer f.Close()
		// A sector of what would have been written, one of nothing.
		f.WriteAt([]byte(strings.Repeat("torn ", 102)+"\n"), min(512, info.Size()-1))
		f.WriteAt(make([]byte, 512), 1024)
	case "create", "extend":
		f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
		if err == nil {
			f.Close()
		}
	case "mkdir":
		os.Mkdir(file, 0o755)
	}
}

// Wherever an export is cut off, the drive holds the old or the new
// generation, whole; and the next export goes through and leaves no trace.
func TestCutOffAnywhere(t *testing.T) {
	t.Parallel()
	after := func(clock int64) *host {
		h := small()
		h.part, h.clock, h.batch = 8, clock, 2
		h.pkg("app-misc/foo-1.tbz2", "rebuilt")
		h.pkg("new-cat/new/new-1-1.xpak", "new, in more than one part")
		h.drop(payload.Package, "app-misc/bar/bar-2-1.gpkg.tar")
		return h
	}
	for start, prepare := range map[string]func(t *testing.T, old *host, mount string){
		"first export": func(_ *testing.T, old *host, _ string) {
			clear(old.files)
		},
		"next export":                    mustExport,
		"after a pull between the slots": leaveBetweenSlots,
	} {
		t.Run(start, func(t *testing.T) {
			t.Parallel()
			base, old := tempDir(t), small()
			old.part = 8
			prepare(t, old, base)
			for left := 1; ; left++ {
				mount, h := tempDir(t), after(old.clock)
				if err := os.CopyFS(mount, os.DirFS(base)); err != nil {
					t.Fatal(err)
				}
				c := &cutter{t: t, dir: filepath.Join(mount, layout.TreeDir,
					"buildhost"), left: left}
				h.tweak = func(w *Writer) { w.hook = c.hook }
				err := h.export(t.Context(), mount)
				if err == nil {
					t.Logf("cut at each of %d changes", left-1)
					return
				}
				if !errors.Is(err, errCut) {
					t.Fatalf("cut at %d: %v", left, err)
				}
				checkOldOrNew(t, fmt.Sprintf("cut at %d %v", left, c.at), mount, h, old.files)
				h.tweak = nil
				mustExport(t, h, mount)
				checkHolds(t, h, mount)
				os.RemoveAll(mount)
			}
		})
	}
}

// Wherever a drive becomes full, the export reports it and the drive holds the old
// or the new generation, whole; with free space again the next export goes through.
func TestFullAtEachStep(t *testing.T) {
	t.Parallel()
	allocates := []string{"create", "write", "extend", "mkdir"}
	base, old := tempDir(t), small()
	mustExport(t, old, base)
	// what is not allocated at once fails there
	for _, seenBy := range []string{"the call", "the sync"} {
		for left := 1; ; left++ {
			mount, h := tempDir(t), small()
			h.clock, h.batch = old.clock, 2
			h.pkg("app-misc/foo-1.tbz2", "rebuilt")
			h.pkg("new-cat/new/new-1-1.xpak", "new")
			h.drop(payload.Package, "app-misc/bar/bar-2-1.gpkg.tar")
			if err := os.CopyFS(mount, os.DirFS(base)); err != nil {
				t.Fatal(err)
			}
			n, full := 0, false
			h.tweak = func(w *Writer) {
				w.hook = func(op, _ string) error {
					if slices.Contains(allocates, op) {
						n++
						full = n >= left
					}
					if full && (seenBy == "the sync" && op == "syncfs" || seenBy == "the call" &&
						slices.Contains(allocates, op)) {
						return syscall.ENOSPC
					}
					return nil
				}
			}
			err := h.export(t.Context(), mount)
			if err == nil {
				t.Logf("full at each of %d allocations, seen by %s", left-1, seenBy)
				break
			}
			var space *drive.SpaceError
			if !errors.As(err, &space) {
				t.Fatalf("full at %d, seen by %s: %v", left, seenBy, err)
			}
			checkOldOrNew(t, fmt.Sprintf("full at %d, seen by %s", left, seenBy),
				mount, h, old.files)
			h.tweak = nil
			mustExport(t, h, mount)
			checkHolds(t, h, mount)
			os.RemoveAll(mount)
		}
	}
}

// leaveBetweenSlots makes an export that is cut off between the manifest copies.
func leaveBetweenSlots(t *testing.T, h *host, mount string) {
	t.Helper()
	kept := h.files[payload.Key{Kind: payload.Distfile, Path: "foo-1.tar.gz"}]
	h.dist("foo-1.tar.gz", "an older one")
	mustExport(t, h, mount)
	h.dist("foo-1.tar.gz", kept)
	committed := false
	h.tweak = func(w *Writer) {
		w.hook = func(op, name string) error {
			if committed && op == "overwrite" {
				return &drive.GoneError{Op: op, Path: name, Vanished: true, Err: errCut}
			}
			committed = committed || op == "overwrite" && name == layout.NextManifestFile
			return nil
		}
	}
	if err := h.export(t.Context(), mount); !errors.Is(err, errCut) {
		t.Fatalf("export: %v", err)
	}
	h.tweak = nil
}

// checkOldOrNew fails unless a client gets one of the generations that were
// ever whole: the old one, or one of the new that are on the way.
func checkOldOrNew(t *testing.T, where, mount string, h *host, old map[payload.Key]string) {
	t.Helper()
	d, err := drive.Open(mount)
	if errors.Is(err, drive.ErrNoTree) && len(old) == 0 {
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	defer d.Close()
	g, err := d.Load("buildhost", h.ring(), epoch)
	if err != nil {
		if len(old) == 0 && (errors.Is(err, drive.ErrNoTree) ||
			errors.Is(err, manifest.ErrUntrusted) || errors.Is(err, os.ErrNotExist)) {
			return
		}
		t.Fatalf("%s: %v", where, err)
	}
	defer g.Close()
	got, err := readItems(g)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	if maps.Equal(got, old) || maps.Equal(got, h.files) {
		return
	}
	// An intermediate commit: some of the new files, and nothing else.
	for key, data := range got {
		if h.files[key] != data {
			t.Fatalf("%s: the drive holds neither the old nor the new generation: %q",
				where, key.Path)
		}
	}
	if _, err := g.Catalogue(); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
}

// After an error of the drive nothing is tried again.
func TestNothingIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENODEV, syscall.ENXIO} {
		for _, op := range []string{"syncfs", "fsync", "write", "overwrite"} {
			mount, h := tempDir(t), small()
			failed, later := false, 0
			var put error
			h.tweak = func(w *Writer) {
				w.hook = func(did, name string) error {
					if failed {
						later++
					}
					if did != op {
						return nil
					}
					failed = true
					return errno
				}
			}
			h.closing = func(w *Writer) {
				_, put = w.Put(t.Context(), NewFile{Kind: payload.Package, Path: "a-b/c-1.tbz2",
					Size: 1}, func(io.Writer) error { return nil })
			}
			err := h.export(t.Context(), mount)
			var gone *drive.GoneError
			if !errors.As(err, &gone) || gone.Vanished || !errors.Is(err, errno) {
				t.Errorf("%s %v: %v", op, errno, err)
			}
			if later > 0 {
				t.Errorf("%s %v: %d changes after it", op, errno, later)
			}
			if !errors.As(put, &gone) {
				t.Errorf("%s %v: a further put: %v", op, errno, put)
			}
		}
	}
}

// A canceled export leaves the padding that it was writing, durable and of use to
// the next one.
func TestCanceledWhileMakingRoom(t *testing.T) {
	t.Parallel()
	for _, name := range []string{layout.ManifestFile, layout.NextManifestFile,
		layout.PackagesFile} {
		mount, h := tempDir(t), small()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var steps []step
		h.tweak = func(w *Writer) {
			w.hook = func(op, on string) error {
				if steps = append(steps, step{op, on}); op == "extend" && on == name {
					cancel()
				}
				return nil
			}
		}
		if err := h.export(ctx, mount); !errors.Is(err, context.Canceled) {
			t.Fatalf("canceled while %s is made: %v", name, err)
		}
		if at := first(steps, on("extend", name)); first(steps[at:], on("fsync", name)) < 0 ||
			first(steps[at:], does("extend")) != last(steps[at:], does("extend")) {
			t.Errorf("canceled while %s is made: %v", name, steps[at:])
		}
		h.tweak = nil
		mustExport(t, h, mount)
		checkHolds(t, h, mount)
	}
}

// spelled is the steps as text.
func spelled(steps []step) []string {
	var lines []string
	for _, s := range steps {
		lines = append(lines, s.op+" "+s.name)
	}
	return lines
}

// The commit, step for step: nothing is between the flush and the copy, each manifest copy is
// synced by itself before the next thing is written, and each directory that lost a name in the
// end.
func TestCommitStepByStep(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	steps := record(h)
	mustExport(t, h, mount)
	before := h.clock
	h.drop(payload.Distfile, "foo-1.tar.gz")
	h.pkg("app-misc/foo-1.tbz2", "rebuilt")
	mustExport(t, h, mount)
	own := []string{layout.RecordFile(h.clock), layout.CatalogueFile(h.clock)}
	from := last(*steps, func(s step) bool {
		return s.op == "write" &&
			s.name != layout.ReadmeFile
	})
	if from < 0 || !slices.ContainsFunc(own, func(name string) bool {
		return (*steps)[from].name == name
	}) &&
		!strings.HasPrefix((*steps)[from].name, layout.GenerationDir) {
		t.Fatalf("the record is not the last file: %v", *steps)
	}
	got := spelled((*steps)[from+1:])
	want := []string{
		"syncfs buildhost", "fsync Manifest.next",
		"overwrite Manifest.next", "fsync Manifest.next",
		"overwrite Manifest", "fsync Manifest",
		"overwrite packages/Packages", "fsync packages/Packages", "syncfs buildhost",
		"fsync packages/Packages",
	}
	if len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
		t.Fatalf("steps:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var unlinked, synced []string
	for i, line := range got[len(want):] {
		op, name, _ := strings.Cut(line, " ")
		switch op {
		case "unlink":
			unlinked = append(unlinked, name)
			if len(synced) > 0 {
				t.Errorf("step %d unlinks after the directories were synced: %q", i, got)
			}
		case "fsync":
			synced = append(synced, name)
		case "rmdir":
		default:
			t.Errorf("step %d is %q", i, line)
		}
	}
	if !slices.Contains(unlinked, layout.RecordFile(before)) ||
		!slices.Contains(unlinked, "packages/app-misc/foo-1.tbz2") {
		t.Errorf("unlinked %q", unlinked)
	}
	for _, name := range unlinked {
		if !slices.Contains(synced, path.Dir(name)) {
			t.Errorf("the directory of %q was not synced", name)
		}
	}
}

// A manifest copy that is outgrown is padded as a change of its own: the file system first, then
// the file.
func TestGrowingStepByStep(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	var steps []step
	h.opened = func(w *Writer) {
		w.hook = func(op, name string) error {
			steps = append(steps, step{op, name})
			return nil
		}
		if err := w.pad(t.Context(), layout.NextManifestFile, 2*padUnit); err != nil {
			t.Error(err)
		}
		w.hook = nil
	}
	mustExport(t, h, mount)
	if got := spelled(steps); !slices.Equal(got,
		[]string{"extend Manifest.next", "syncfs buildhost", "fsync Manifest.next"}) {
		t.Errorf("steps: %q", got)
	}
}

// Every error that a sync reports ends the session, also one that elsewhere could be tried again: a
// full drive that reports it only then has lost what was written before.
func TestFailedSyncEndsTheSession(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"syncfs", "fsync"} {
		for nth := 1; ; nth++ {
			mount, h := tempDir(t), small()
			var after []step
			n, failed := 0, false
			h.tweak = func(w *Writer) {
				w.hook = func(did, name string) error {
					if failed {
						after = append(after, step{did, name})
					}
					if did == op {
						n++
					}
					if did != op || n != nth {
						return nil
					}
					failed = true
					return syscall.ENOSPC
				}
			}
			var put error
			inTime := false
			h.closing = func(w *Writer) {
				if inTime = failed; !failed {
					return
				}
				_, put = w.Put(t.Context(), NewFile{Kind: payload.Package, Path: "a-b/c-1.tbz2",
					Size: 1}, func(io.Writer) error { return nil })
			}
			err := h.export(t.Context(), mount)
			if !inTime && !failed {
				break
			}
			if !errors.Is(err, syscall.ENOSPC) || inTime && !errors.Is(put, syscall.ENOSPC) ||
				len(after) > 0 {
				t.Errorf("%s %d: %v; a further put: %v; changes after it: %v", op, nth,
					err, put, after)
			}
		}
	}
}

// Each step that makes something durable asks the kernel, and does not only tell a hook.
func TestSyncsReachTheKernel(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	h.closing = func(w *Writer) {
		steps := map[string]func() error{
			"the commit": func() error {
				return w.overwrite(layout.NextManifestFile, content([]byte("text")))
			},
			"a flush":       w.flush,
			"a file system": w.syncfs,
			"a file":        func() error { return w.fsync(layout.ManifestFile) },
			"a directory":   func() error { return w.syncDirs([]string{"generation"}) },
			"a tree":        func() error { return durable.SyncDir(w.root, ".") },
			"keys on offer": func() error { return w.offer(h.ring()) },
			"what is extended": func() error {
				return w.extend(t.Context(), layout.PackagesFile, 0, 1)
			},
		}
		err := durabletest.FailSyncs(func() {
			for name, step := range steps {
				if w.ended.err = nil; step() == nil {
					t.Errorf("%s: no error, and the kernel failed each fsync", name)
				}
			}
		})
		if w.ended.err = nil; err != nil {
			t.Skipf("SKIPPED: %v", err)
		}
	}
	mustExport(t, h, mount)
}
