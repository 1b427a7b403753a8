package drivewriter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/volume"
)

// A plan keeps its bounds on every drive, and its distances are such that a
// false size that is a whole number of them is found.
func TestPlanProbe(t *testing.T) {
	t.Parallel()
	const mib, gib = 1 << 20, 1 << 30
	for name, row := range map[string]struct {
		how   spreading
		space volume.Space
		want  probePlan
	}{
		"64 MiB vfat, small clusters": {keepSize, volume.Space{Free: 62 * mib, Cluster: 512},
			probePlan{keepSize, 512, 53, 4096, mib, mib}},
		"32 GiB vfat": {keepSize, volume.Space{Free: 32 * gib, Cluster: 16 << 10},
			probePlan{keepSize, 16 << 10, 63, 16 << 10, 256 * mib, 16 * mib}},
		"many small clusters": {keepSize, volume.Space{Free: 32 * gib, Cluster: 4 << 10},
			probePlan{keepSize, 4 << 10, 63, 4 << 10, 64 * mib, 16 * mib}},
		"512 GiB exfat": {extend, volume.Space{Free: 512 * gib, Cluster: 128 << 10},
			probePlan{extend, 128 << 10, 63, 128 << 10, 2 * gib, 16 * mib}},
		"large clusters": {extend, volume.Space{Free: 512 * gib, Cluster: 32 * mib},
			probePlan{plain, 32 * mib, 0, 32 * mib, 0, 32 * mib}},
		"4 TiB ext4": {sparse, volume.Space{Free: 4096 * gib, Cluster: 4096},
			probePlan{sparse, 4096, 63, 4096, 4 * gib, 16 * mib}},
		"nothing can be reserved": {plain, volume.Space{Free: 60 * mib, Cluster: 32 << 10},
			probePlan{plain, 32 << 10, 0, 32 << 10, 0, 32 * mib}},
		"full": {keepSize, volume.Space{Free: 100 << 10, Cluster: 512},
			probePlan{plain, 512, 0, 4096, 0, 84 << 10}},
		"nothing free": {
			sparse, volume.Space{Cluster: 4096}, probePlan{plain, 4096, 0, 4096, 0, 0}},
	} {
		if got := planProbe(row.how, row.space); got != row.want {
			t.Errorf("%s: %+v, want %+v", name, got, row.want)
		}
	}
	for free := int64(0); free < 1<<43; free = free*5/4 + 4096 {
		for cluster := int64(512); cluster <= 4*mib; cluster *= 2 {
			for _, how := range []spreading{plain, sparse, keepSize, extend} {
				p := planProbe(how, volume.Space{Free: free, Cluster: cluster})
				if span := p.blocks*p.gap + p.run; span > free/8*7 ||
					p.blocks*p.block > probeWritten || p.blocks > probeBlocks ||
					p.run > probePlain || p.run%drive.Alignment != 0 || p.gap&(p.gap-1) != 0 ||
					p.blocks > 0 && p.gap < p.block ||
					how == keepSize && span > probeUnits*cluster {
					t.Fatalf("%d free in clusters of %d, way %d: %+v", free, cluster, how, p)
				}
			}
		}
	}
}

func TestSpreading(t *testing.T) {
	t.Parallel()
	for kind, want := range map[volume.Type][2]spreading{
		volume.VFAT: {keepSize, keepSize}, volume.ExFAT: {plain, extend}, volume.Ext4: {
			sparse, sparse}, volume.XFS: {sparse, sparse}, volume.Btrfs: {sparse, sparse},
		volume.Unknown: {plain, plain},
	} {
		if old, now := spreadingOf(kind, false), spreadingOf(kind, true); old != want[0] ||
			now != want[1] {
			t.Errorf("%v: %d before Linux 6.8, %d since", kind, old, now)
		}
	}
	if !kernelSince(2, 6) || kernelSince(1000, 0) {
		t.Error("the kernel's release was not understood")
	}
}

// smallPlans are probes of some megabytes, each in another way.
var smallPlans = map[string]probePlan{
	"sparse":  {sparse, 4096, 10, 4096, 256 << 10, 256 << 10},
	"turns":   {keepSize, 4096, 10, 8192, 256 << 10, 256 << 10},
	"growing": {extend, 4096, 10, 4096, 256 << 10, 3 << 20},
	"plain":   {plain, 4096, 0, 4096, 0, 3<<20 + 4096},
}

// probing is a session on a drive that was never used, up to the probe.
func probing(t *testing.T) (w *Writer, dir string) {
	t.Helper()
	mount := tempDir(t)
	d, err := drive.Create(mount)
	if err != nil {
		t.Fatal(err)
	}
	w, err = Begin(t.Context(), d, BeginOptions{Dir: "buildhost", Name: "buildhost",
		Key: keys()[0], Now: epoch})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close()
		d.Close()
	})
	if err := w.Prepare(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return w, filepath.Join(mount, layout.TreeDir, "buildhost")
}

// leftovers are the files of the probe that are still there.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, layout.ProbeFile+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestProbe(t *testing.T) {
	t.Parallel()
	for way, plan := range smallPlans {
		for name, row := range map[string]struct {
			spoil func(probe []byte)
			found bool
		}{
			"true drive":              {func([]byte) {}, false},
			"drops behind its end":    {func(b []byte) { clear(b[len(b)-64<<10:]) }, true},
			"keeps nothing":           {func(b []byte) { clear(b) }, true},
			"wraps":                   {func(b []byte) { copy(b[len(b)-4096:], b[:4096]) }, true},
			"wraps the other way":     {func(b []byte) { copy(b[:4096], b[len(b)-4096:]) }, true},
			"one bit of the first":    {func(b []byte) { b[7] ^= 1 }, true},
			"one bit of the last run": {func(b []byte) { b[len(b)-1] ^= 128 }, true},
		} {
			t.Run(way+"/"+name, func(t *testing.T) {
				t.Parallel()
				w, dir := probing(t)
				w.hook = func(op, _ string) error {
					if op != "reading back" {
						return nil
					}
					return change(filepath.Join(dir, layout.ProbeFile), row.spoil)
				}
				err := runProbe(t.Context(), w.session, plan)
				var wrong *drive.ReadBackError
				if errors.As(err, &wrong) != row.found || !row.found && err != nil {
					t.Errorf("found: %v", err)
				}
				if row.found && (!wrong.Probe || wrong.Offset < 0 ||
					!strings.Contains(err.Error(), "claims more than it has")) {
					t.Errorf("%+v: %v", wrong, err)
				}
				if left := leftovers(t, dir); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
				if again := w.Prepare(t.Context(), nil); row.found != (again != nil) {
					t.Errorf("the session goes on with %v", again)
				}
			})
		}
	}
}

// Trouble in the middle of a probe: what is only a lack of space or of a
// function is no fault of the drive; an error of the drive ends the session,
// and the next one removes what is there.
func TestProbeInTrouble(t *testing.T) {
	t.Parallel()
	for way, plan := range smallPlans {
		for op, errnos := range map[string][]syscall.Errno{
			"reserve": {syscall.ENOSPC, syscall.EOPNOTSUPP, syscall.EFBIG, syscall.EIO,
				syscall.EROFS},
			"write":  {syscall.ENOSPC, syscall.EIO, syscall.ENODEV},
			"create": {syscall.EIO},
			"fsync":  {syscall.EIO},
			"unlink": {syscall.EIO},
		} {
			for _, errno := range errnos {
				t.Run(way+"/"+op+"/"+errno.Error(), func(t *testing.T) {
					t.Parallel()
					w, dir := probing(t)
					left := 3
					w.hook = func(did, _ string) error {
						if did == op {
							if left--; left < 0 || op != "reserve" && op != "write" {
								return errno
							}
						}
						return nil
					}
					err := runProbe(t.Context(), w.session, plan)
					reached := left < 0 || op != "reserve" && op != "write"
					var gone *drive.GoneError
					var readOnly *drive.ReadOnlyError
					if drives := drive.Failing(errno) ||
						errno == syscall.EROFS; !reached || !drives {
						if err != nil || len(leftovers(t, dir)) > 0 {
							t.Fatalf("%v, left behind: %v", err, leftovers(t, dir))
						}
						return
					}
					if !errors.As(err, &gone) && !errors.As(err, &readOnly) ||
						!errors.Is(err, errno) {
						t.Fatalf("%v", err)
					}
					w.Close()
					next, err := Begin(t.Context(), w.d, w.o)
					if err != nil {
						t.Fatal(err)
					}
					defer next.Close()
					if left := leftovers(t, dir); len(left) > 0 {
						t.Errorf("left behind: %v", left)
					}
				})
			}
		}
	}
}

// A canceled probe leaves nothing, and the session can go on.
func TestProbeCanceled(t *testing.T) {
	t.Parallel()
	for way, plan := range smallPlans {
		for _, op := range []string{"reserve", "write", "reading back"} {
			if plan.spreading == plain && op == "reserve" {
				continue
			}
			w, dir := probing(t)
			ctx, cancel := context.WithCancel(t.Context())
			w.hook = func(did, _ string) error {
				if did == op {
					cancel()
				}
				return nil
			}
			if err := runProbe(ctx, w.session, plan); !errors.Is(err, context.Canceled) {
				t.Errorf("%s, canceled in %s: %v", way, op, err)
			}
			cancel()
			if left := leftovers(t, dir); len(left) > 0 {
				t.Errorf("%s, canceled in %s: left behind: %v", way, op, left)
			}
			if err := w.Prepare(t.Context(), nil); err != nil {
				t.Errorf("%s, canceled in %s: the session goes on with %v", way, op, err)
			}
		}
	}
}

// Only a drive on which nobody has committed is probed, only a drive, and only
// with read-back.
func TestWhenToProbe(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	export := func(h *host, tweak func(*Writer)) bool {
		t.Helper()
		probed := 0
		h.tweak = func(w *Writer) {
			w.isDrive = func() bool { return true }
			w.hook = func(op, name string) error {
				if op == "create" && name == layout.ProbeFile {
					probed++
				}
				return nil
			}
			tweak(w)
		}
		mustExport(t, h, mount)
		checkHolds(t, h, mount)
		return probed > 0
	}
	same := func(*Writer) {}
	empty := func() { os.RemoveAll(filepath.Join(mount, layout.TreeDir)) }
	if export(h, func(w *Writer) { w.isDrive = func() bool { return onMount(w.d) } }) {
		t.Error("a directory was probed")
	}
	empty()
	if export(h, func(w *Writer) { w.o.NoReadBack = true }) {
		t.Error("probed without read-back")
	}
	empty()
	if !beginProbed(t, h, mount) || beginProbed(t, h, mount) {
		t.Error("a first export that ended too soon did not probe, or the next one did so again")
	}
	stranger := small()
	stranger.key = keys()[1]
	if !beginProbed(t, stranger, mount) || !beginProbed(t, h, mount) {
		t.Error("another key's note was believed")
	}
	note := filepath.Join(mount, layout.TreeDir, "buildhost", layout.ProbeFile)
	if err := os.WriteFile(note, []byte("the capacity of this drive was tested: 1 bytes\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	if !beginProbed(t, h, mount) {
		t.Error("a note of another drive was believed")
	}
	if export(h, same) {
		t.Error("the first export to commit did probe, after one that had")
	}
	if left := leftovers(t, filepath.Dir(filepath.Dir(note))); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	empty()
	if !export(h, same) {
		t.Error("the first export did not probe")
	}
	if export(h, same) {
		t.Error("the second export did probe")
	}
	other := small()
	other.key, other.name = keys()[1], "other"
	if export(other, same) {
		t.Error("a drive was probed on which another one had committed")
	}
	for _, slot := range []string{"buildhost/Manifest", "other/Manifest.next", "other/Manifest"} {
		if err := os.WriteFile(filepath.Join(mount, layout.TreeDir, slot), newlines,
			0o644); err != nil {
			t.Fatal(err)
		}
	}
	third := small()
	third.key, third.name = keys()[2], "third"
	if export(third, same) {
		t.Error("a drive was probed on which one slot was left")
	}
}

// beginProbed begins an export that ends before it commits anything, and reports whether it probed.
func beginProbed(t *testing.T, h *host, mount string) (probed bool) {
	t.Helper()
	d, err := drive.Create(mount)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var told, total int64
	w, err := Begin(t.Context(), d, BeginOptions{Dir: h.name, Name: h.name, Key: h.key, Now: epoch,
		Progress: func(phase progress.Phase, _ string, bytes int64) {
			switch {
			case phase == progress.PhaseProbe && !probed:
				probed, total = true, bytes
			case phase == progress.PhaseProbe:
				told += bytes
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.isDrive = func() bool { return true }
	if err := w.Prepare(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if told != total {
		t.Errorf("of %d bytes that were to be written and read %d were told", total, told)
	}
	return probed
}

// Real file systems: the probe is made, its space is given back, a spoiled
// block is found past the cache, and Begin removes what a killed run left.
func TestProbeOnFileSystems(t *testing.T) {
	for _, kind := range fileSystems {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			mount, h := mountImage(t, kind.name, kind.size, kind.make), small()
			steps := record(h)
			noted := h.tweak
			h.tweak = func(w *Writer) {
				noted(w)
				note := w.hook
				w.hook = func(op, name string) error {
					if op == "reading back" {
						return change(filepath.Join(mount, layout.TreeDir, "buildhost",
							layout.ProbeFile), func(b []byte) { b[len(b)-1] ^= 1 })
					}
					return note(op, name)
				}
			}
			var wrong *drive.ReadBackError
			if err := h.export(t.Context(), mount); !errors.As(err, &wrong) || !wrong.Probe {
				t.Fatalf("a spoiled block: %v", err)
			}
			h.tweak = noted
			mustExport(t, h, mount)
			at := func(match func(step) bool) int { return first(*steps, match) }
			names := []string{"probe", "write", "comparison", "unlink", "its directory", "payload"}
			inOrder(t, *steps, names, at(on("create", layout.ProbeFile)),
				at(on("write", layout.ProbeFile)), at(on("reading back", layout.ProbeFile)),
				at(on("unlink", layout.ProbeFile)), at(on("fsync", layout.GenerationDir)),
				at(payloadStep("create")))
			synced := (*steps)[at(on("create", layout.ProbeFile)):at(on("reading back",
				layout.ProbeFile))]
			if fat := kind.kind == volume.VFAT || kind.kind == volume.ExFAT &&
				kernelSince(6, 8); fat == slices.ContainsFunc(synced, does("syncfs")) {
				t.Errorf("on %s: %v", kind.name, synced)
			}
			spread := spreadingOf(kind.kind, kernelSince(6, 8)) != plain
			if reserved := slices.ContainsFunc(*steps, does("reserve")); reserved != spread {
				t.Errorf("space reserved: %t, want %t", reserved, spread)
			}
			g := checkHolds(t, h, mount)
			// btrfs gives the space of what was removed back with a later commit of its own.
			space, err := open(t, mount).Space()
			for tries := 0; tries < 50 && err == nil && space.Free < space.Total/4; tries++ {
				unix.Sync()
				space, err = open(t, mount).Space()
			}
			if err != nil || space.Free < space.Total/4 {
				t.Errorf("of %d bytes %d are free after a small export: %v", space.Total,
					space.Free, err)
			}
			g.Close()
		})
	}
}
