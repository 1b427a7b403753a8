package drivewriter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
)

var clientKey = func() *manifest.PrivateKey {
	key, err := manifest.GenerateKey(manifest.ClientUserID("attic"), epoch)
	if err != nil {
		panic(err)
	}
	return key
}()

// ask writes request number n, of so many bytes.
func ask(mount string, n, size int, hook durable.Hook) (ClientStanding, error) {
	return askUntil(context.Background(), mount, n, size, hook)
}

// askUntil is ask until it is cancelled.
func askUntil(ctx context.Context, mount string, n, size int,
	hook durable.Hook) (ClientStanding, error) {
	d, err := drive.Create(mount)
	if err != nil {
		return ClientStanding{}, err
	}
	defer d.Close()
	return WriteClient(ctx, d, ClientOptions{Name: "attic", Key: clientKey,
		Serial: epoch.Unix() + int64(n), Record: askRecord(n, size), List: askList(n,
			size), Now: epoch, Hook: hook})
}

func askRecord(n, size int) []byte {
	return []byte(fmt.Sprintf(`{"n":%d,"text":"%s"}`, n, strings.Repeat("r", size)))
}

func askList(n, size int) []byte {
	return []byte(fmt.Sprintf("%d%s", n, strings.Repeat("l", size)))
}

// asked returns the number of the request that lies on the drive, 0 if there is none; its files are
// those that were written.
func asked(t *testing.T, mount string) int {
	t.Helper()
	d, err := drive.Open(mount)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	highest := 0
	for _, name := range clientsThere(t, mount) {
		best, _, err := d.ClientCopies(name, manifest.Ring{clientKey.Public()}, epoch)
		if err != nil {
			continue
		}
		n := int(best.State.Serial - epoch.Unix())
		for _, f := range best.Signed.Files {
			data, err := d.ReadClientFile(name, f, 1<<20)
			if err != nil {
				t.Fatalf("request %d: %v", n, err)
			}
			if strings.HasSuffix(f.Path, ".json") &&
				!bytes.HasPrefix(data, []byte(fmt.Sprintf(`{"n":%d,`, n))) {
				t.Fatalf("request %d has %.20q", n, data)
			}
		}
		highest = max(highest, n)
	}
	return highest
}

// inodes are those of the files of a client, with their sizes.
func inodes(t *testing.T, mount string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	dir := filepath.Join(mount, layout.TreeDir, layout.ClientsDir, "attic")
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			all[strings.TrimPrefix(p, dir)] = fmt.Sprint(info.Sys().(*syscall.Stat_t).Ino,
				info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRequestsAreWrittenInPlace(t *testing.T) {
	mount := t.TempDir()
	var before map[string]string
	for n := 1; n <= 5; n++ {
		at, err := ask(mount, n, 1000*n, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := asked(t, mount); got != n || at.Dir != "attic" {
			t.Fatalf("request %d of %+v after %d", got, at, n)
		}
		after := inodes(t, mount)
		if before != nil && fmt.Sprint(before) != fmt.Sprint(after) {
			t.Fatalf("request %d changed the files\n%v\n%v", n, before, after)
		}
		before = after
	}
	if _, err := ask(mount, 5, 10, nil); err == nil {
		t.Error("the same serial was written twice")
	}
	if _, err := ask(mount, 6, 50_000, nil); err != nil { // outgrown
		t.Fatal(err)
	}
	if got := asked(t, mount); got != 6 || len(inodes(t, mount)) != 7 {
		t.Fatalf("request %d, %v", got, inodes(t, mount))
	}
	for n := 7; n <= 9; n++ {
		if _, err := ask(mount, n, 50_000, nil); err != nil {
			t.Fatal(err)
		}
		if got := asked(t, mount); got != n || len(inodes(t, mount)) != 7 {
			t.Fatalf("request %d, %v", got, inodes(t, mount))
		}
	}
}

// killedAt ends what it watches before operation n.
func killedAt(n int) durable.Hook {
	ops := 0
	return func(durable.Change) error {
		if ops++; ops >= n {
			return syscall.EIO
		}
		return nil
	}
}

// clientsThere are the directories of clients on a drive.
func clientsThere(t *testing.T, mount string) []string {
	t.Helper()
	d, err := drive.Open(mount)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	names, _, err := d.ClientNames()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// On FAT the clusters of what a pulled first request left may be free: it goes before an export or
// anybody's request makes anything, and only if nobody can read a request there.
func TestPulledRequestsGoFirst(t *testing.T) {
	own := layout.Qualified("attic", clientKey.Public().Fingerprint())
	plant := func(t *testing.T, mount, dir string, files map[string]string) {
		t.Helper()
		for name, text := range files {
			name = filepath.Join(mount, layout.TreeDir, layout.ClientsDir, dir, name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	const message = "-----BEGIN PGP SIGNED MESSAGE-----\nof nobody\n-----END PGP SIGNATURE-----\n"
	pulled := map[string]string{"Manifest": "\n\n\n", "Manifest.next": "\xe5stale\n",
		"key.asc": "half a k", "generation/1.json": "\n", "generation/2.Packages.zst": "",
		layout.Placeholder("generation", 3): ""}
	for _, test := range []struct {
		name  string
		dir   string
		files map[string]string
		stays bool
	}{
		{"pulled", "cellar", pulled, false},
		{"torn in its first commit", "cellar", map[string]string{"Manifest": message[:60]}, false},
		{"whole and not valid", "cellar", map[string]string{"Manifest": message}, true},
		{"somebody's file", "cellar", map[string]string{"Manifest": "", "mine.txt": "x"}, true},
		{"somebody's directory", "cellar", map[string]string{"generation/mine/x": "x"}, true},
		{"own and lost", own, map[string]string{"Manifest": message}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, by := range []string{"request", "export"} {
				mount := t.TempDir()
				plant(t, mount, test.dir, test.files)
				stays := test.stays
				if by == "export" && test.dir == own { // it is nobody's own there
					stays = true
				} else if test.dir == own {
					plant(t, mount, "attic", map[string]string{"mine.txt": "x"})
				}
				watch := func(op, name string) error {
					_, err := os.Lstat(filepath.Join(mount, layout.TreeDir, layout.ClientsDir,
						test.dir))
					if (op == "mkdir" || op == "create") && err == nil && !stays {
						return fmt.Errorf("%s %s before the leftovers went", op, name)
					}
					return nil
				}
				if by == "request" {
					_, err := ask(mount, 1, 100, func(c durable.Change) error {
						if test.dir == own { // it is made again
							return nil
						}
						return watch(string(c.Op), c.Name)
					})
					if err != nil || asked(t, mount) != 1 {
						t.Errorf("request: %v, %d", err, asked(t, mount))
					}
				} else {
					h := newHost(keys()[0], "host")
					h.tweak = func(w *Writer) { w.hook = watch }
					h.pkg("app-misc/a-1.tbz2", "package")
					if err := h.export(context.Background(), mount); err != nil {
						t.Errorf("export: %v", err)
					}
				}
				there := slices.Contains(clientsThere(t, mount), test.dir)
				if there != (stays || test.dir == own) {
					t.Errorf("%s: the directory is there: %v", by, there)
				}
			}
		})
	}
}

// Where files have owners, what another user's request left is passed over; the client's own place
// has to be free.
func TestPulledRequestsOfOthersStay(t *testing.T) {
	for dir, want := range map[string]error{"cellar": nil, "attic": syscall.EACCES} {
		mount := t.TempDir()
		left := filepath.Join(mount, layout.TreeDir, layout.ClientsDir, dir)
		if err := os.MkdirAll(left, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(left, layout.ManifestFile), []byte("\n"),
			0o644); err != nil {
			t.Fatal(err)
		}
		denied := func(op, name string) error {
			if op == "unlink" && strings.Contains(name, "clients/"+dir) {
				return syscall.EACCES
			}
			return nil
		}
		_, err := ask(mount, 1, 100, func(c durable.Change) error {
			return denied(string(c.Op), c.Name)
		})
		if !errors.Is(err, want) {
			t.Errorf("request beside %s: %v, want %v", dir, err, want)
		}
		h := newHost(keys()[0], "host")
		h.tweak = func(w *Writer) { w.hook = denied }
		h.pkg("app-misc/a-1.tbz2", "package")
		if err := h.export(context.Background(), mount); err != nil {
			t.Errorf("export beside %s: %v", dir, err)
		}
		if !slices.Contains(clientsThere(t, mount), dir) {
			t.Errorf("%s is gone", dir)
		}
	}
}

// A request that ends before any of its changes leaves the one before, and the next goes through.
func TestRequestsKilled(t *testing.T) {
	stages := []struct {
		name         string
		before, size int // requests before, bytes of the one that is killed
	}{{"first", 0, 1000}, {"second", 1, 1000}, {"third", 2, 1000}, {"outgrown", 2, 40_000}}
	for _, stage := range stages {
		t.Run(stage.name, func(t *testing.T) {
			for at := 1; ; at++ {
				mount := t.TempDir()
				for n := 1; n <= stage.before; n++ {
					if _, err := ask(mount, n, 500, nil); err != nil {
						t.Fatal(err)
					}
				}
				n := stage.before + 1
				_, err := ask(mount, n, stage.size, killedAt(at))
				if err == nil {
					if at < 5 {
						t.Fatalf("only %d operations", at)
					}
					return
				}
				if got := asked(t, mount); got != stage.before && got != n {
					t.Fatalf("killed before operation %d: request %d is there", at, got)
				}
				if at%4 == 1 { // the order does not depend on it
					h := newHost(keys()[0], "host")
					h.pkg("app-misc/a-1.tbz2", "package")
					if err := h.export(context.Background(), mount); err != nil {
						t.Fatalf("killed before operation %d: export: %v", at, err)
					}
				}
				if got := asked(t, mount); got != stage.before && got != n {
					t.Fatalf("killed before operation %d, then an export: request %d is there", at,
						got)
				}
				if at%3 == 0 {
					ask(mount, n+1, stage.size, killedAt(at/2)) // pulled twice
				}
				standing, err := ask(mount, n+2, stage.size, nil)
				if err != nil {
					t.Fatalf("killed before operation %d: the next: %v", at, err)
				}
				if got := asked(t, mount); got != n+2 || standing.Dir != "attic" {
					t.Fatalf("killed before operation %d: request %d is there after the next, in %q",
						at, got, standing.Dir)
				}
				if got := clientsThere(t, mount); len(got) != 1 {
					t.Fatalf("killed before operation %d: %q are there after the next", at, got)
				}
			}
		})
	}
}

// listedFiles are those that the valid lists of a client name.
func listedFiles(d *drive.Drive, name string) (files []string) {
	best, other := pastClient(d, name, clientKey.Public())
	for _, n := range listedPairs(best, other) {
		record, list := layout.RequestFiles(n)
		files = append(files, record, list)
	}
	return files
}

// Whatever a request that was killed has left of pairs goes with the next one of that client, after
// its commit and whether it allocates or not: other clients can ask on the drive then.
func TestNextRequestRemovesWhatAKilledOneLeft(t *testing.T) {
	cellar, err := manifest.GenerateKey(manifest.ClientUserID("cellar"), epoch)
	if err != nil {
		t.Fatal(err)
	}
	for _, before := range []int{1, 2, 3} {
		for _, next := range []int{500, 40_000} {
			for at := 1; ; at++ {
				mount := t.TempDir()
				for n := 1; n <= before; n++ {
					if _, err := ask(mount, n, 500, nil); err != nil {
						t.Fatal(err)
					}
				}
				_, err := ask(mount, before+1, 40_000, killedAt(at))
				if err == nil {
					if at < 8 {
						t.Fatalf("only %d operations", at)
					}
					break
				}
				where := fmt.Sprintf("%d before, killed before operation %d, then %d bytes", before, at,
					next)
				d, err := drive.Open(mount)
				if err != nil {
					t.Fatal(err)
				}
				created := false
				_, err = ask(mount, before+2, next, func(c durable.Change) error {
					switch {
					case c.Op == "unlink" && slices.Contains(listedFiles(d, "attic"), c.Name):
						t.Errorf("%s: %s goes, which is listed", where, c.Name)
					case c.Op == "create" && !created:
						created = true
						if left, err := clientGarbage(d, "attic"); err != nil || len(left) > 0 {
							t.Errorf("%s: %s is made beside %q, %v", where, c.Name, left, err)
						}
					}
					return nil
				})
				if got := asked(t, mount); err != nil || got != before+2 {
					t.Fatalf("%s: %v, request %d", where, err, got)
				}
				if _, err := WriteClient(t.Context(), d, ClientOptions{Name: "cellar", Key: cellar,
					Serial: epoch.Unix(), Record: askRecord(0, 1), List: askList(0, 1), Now: epoch,
				}); err != nil {
					t.Errorf("%s: another client: %v", where, err)
				}
				d.Close()
			}
		}
	}
}

// Beside what an export left unfinished nothing is allocated; what is there already is overwritten.
func TestRequestBesideLeftovers(t *testing.T) {
	export := func(t *testing.T) (mount, leftover string, h *host) {
		mount = t.TempDir()
		h = newHost(keys()[0], "host")
		h.pkg("app-misc/a-1.tbz2", "package")
		if err := h.export(context.Background(), mount); err != nil {
			t.Fatal(err)
		}
		return mount, filepath.Join(mount, layout.TreeDir, "host", "packages", "app-misc",
			"b-1.tbz2"), h
	}
	plant := func(t *testing.T, file string) {
		if err := os.WriteFile(file, []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("first", func(t *testing.T) {
		mount, leftover, h := export(t)
		plant(t, leftover)
		before := contents(t, mount, "")
		_, err := ask(mount, 1, 100, nil)
		var unfinished *UnfinishedError
		if !errors.As(err, &unfinished) || len(unfinished.Hints("DRIVE")) == 0 {
			t.Fatalf("%v", err)
		}
		if after := contents(t, mount, ""); fmt.Sprint(before) != fmt.Sprint(after) {
			t.Error("the drive changed")
		}
		h.pkg("app-misc/c-1.tbz2", "another")
		if err := h.export(context.Background(), mount); err != nil {
			t.Fatal(err)
		}
		if _, err := ask(mount, 1, 100, nil); err != nil {
			t.Error(err)
		}
	})
	t.Run("in place", func(t *testing.T) {
		mount, leftover, _ := export(t)
		if _, err := ask(mount, 1, 100, nil); err != nil {
			t.Fatal(err)
		}
		plant(t, leftover)
		if _, err := ask(mount, 2, 200, nil); err != nil || asked(t, mount) != 2 {
			t.Errorf("%v, %d", err, asked(t, mount))
		}
		var unfinished *UnfinishedError
		if _, err := ask(mount, 3, 100_000, nil); !errors.As(err, &unfinished) ||
			asked(t, mount) != 2 {
			t.Errorf("outgrown: %v", err)
		}
	})
	t.Run("no list that can be read", func(t *testing.T) {
		mount, _, _ := export(t)
		for _, name := range []string{layout.ManifestFile, layout.NextManifestFile} {
			if err := os.WriteFile(filepath.Join(mount, layout.TreeDir, "host", name),
				[]byte("torn"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var unfinished *UnfinishedError
		if _, err := ask(mount, 1, 100, nil); !errors.As(err, &unfinished) {
			t.Errorf("%v", err)
		}
	})
	t.Run("another client's", func(t *testing.T) {
		mount := t.TempDir()
		if _, err := ask(mount, 1, 100, nil); err != nil {
			t.Fatal(err)
		}
		garbage := filepath.Join(mount, layout.TreeDir, layout.ClientsDir, "attic",
			"generation", "7.json")
		plant(t, garbage)
		d, err := drive.Open(mount)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		var unfinished *UnfinishedError
		if err := checkFinished(context.Background(), d); !errors.As(err, &unfinished) ||
			!slices.Contains(unfinished.Hints("usb"),
				"or on the client that left it: pkgsneak request usb") {
			t.Errorf("%v", err)
		}
		h := newHost(keys()[0], "host")
		h.pkg("app-misc/a-1.tbz2", "package")
		if err := h.export(context.Background(), mount); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(garbage); !errors.Is(err, os.ErrNotExist) || asked(t, mount) != 1 {
			t.Errorf("after an export: %v, request %d", err, asked(t, mount))
		}
	})
}

// A host that has read a request blanks its list, and the client writes the next one all the same.
func TestBlankClientLists(t *testing.T) {
	mount := t.TempDir()
	for n := 1; n <= 2; n++ {
		if _, err := ask(mount, n, 300, nil); err != nil {
			t.Fatal(err)
		}
	}
	before := inodes(t, mount)
	d, err := drive.Open(mount)
	if err != nil {
		t.Fatal(err)
	}
	if err := BlankClientLists(d, "attic", nil); err != nil {
		t.Fatal(err)
	}
	d.Close()
	for n := 1; n <= 2; n++ {
		data, err := os.ReadFile(filepath.Join(mount, layout.TreeDir, layout.ClientsDir, "attic",
			"generation", fmt.Sprintf("%d.Packages.zst", n)))
		if err != nil || len(data) == 0 || strings.Trim(string(data), "\n") != "" {
			t.Errorf("list %d: %.20q, %v", n, data, err)
		}
	}
	if after := inodes(t, mount); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("%v\n%v", before, after)
	}
	if _, err := ask(mount, 3, 300, nil); err != nil || asked(t, mount) != 3 {
		t.Errorf("%v", err)
	}
}

// The directory of another key, or of somebody's file, is left alone.
func TestRequestBesideOthers(t *testing.T) {
	mount := t.TempDir()
	dir := filepath.Join(mount, layout.TreeDir, layout.ClientsDir)
	if err := os.MkdirAll(filepath.Join(dir, "attic"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "attic", "mine.txt"), []byte("x"),
		0o644); err != nil {
		t.Fatal(err)
	}
	at, err := ask(mount, 1, 100, nil)
	if err != nil || at.Dir != layout.Qualified("attic", clientKey.Public().Fingerprint()) {
		t.Fatalf("%+v, %v", at, err)
	}
	if again, err := ask(mount, 2, 100, nil); err != nil || again.Dir != at.Dir ||
		asked(t, mount) != 2 {
		t.Errorf("%+v, %v", again, err)
	}
}

// A first request that finds the drive full leaves nothing that the next one could trip over.
func TestFirstRequestOnAFullDrive(t *testing.T) {
	for stop := 0; ; stop++ {
		mount, n := t.TempDir(), 0
		if err := os.Mkdir(filepath.Join(mount, layout.TreeDir), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := ask(mount, 1, 100, func(c durable.Change) error {
			if n++; n == stop+1 && (c.Op == "write" || c.Op == "create" || c.Op == "mkdir") {
				return syscall.ENOSPC
			}
			return nil
		})
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if standing, err := ask(mount, 2, 100, nil); err != nil || standing.Dir != "attic" ||
			asked(t, mount) != 2 {
			t.Errorf("full at change %d: the next request: %+v, %v", stop, standing, err)
		}
		if err == nil && n <= stop {
			return
		}
	}
}

// A request that has outgrown its files and finds the drive full leaves the one before, and nothing
// that keeps another client from asking.
func TestOutgrownRequestOnAFullDrive(t *testing.T) {
	for stop := 0; ; stop++ {
		mount, n := t.TempDir(), 0
		if _, err := ask(mount, 1, 100, nil); err != nil {
			t.Fatal(err)
		}
		_, err := ask(mount, 2, 40_000, func(c durable.Change) error {
			if n++; n == stop+1 && (c.Op == "write" || c.Op == "create") {
				return syscall.ENOSPC
			}
			return nil
		})
		if err == nil && n <= stop {
			return
		}
		if err == nil {
			continue
		}
		d, openErr := drive.Open(mount)
		if openErr != nil {
			t.Fatal(openErr)
		}
		if left := checkFinished(context.Background(), d); !errors.Is(err, syscall.ENOSPC) ||
			left != nil || asked(t, mount) != 1 {
			t.Errorf("full at change %d: %v; %v, request %d", stop, err, left, asked(t, mount))
		}
		d.Close()
	}
}

// A request that is cancelled ends before it has allocated anything, or takes that back, or is
// written: it keeps no other client from asking.
func TestCancelledRequest(t *testing.T) {
	for _, before := range []int{0, 2} {
		for stop := 1; ; stop++ {
			mount, n := t.TempDir(), 0
			for n := 1; n <= before; n++ {
				if _, err := ask(mount, n, 100, nil); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			_, err := askUntil(ctx, mount, before+1, 40_000, func(durable.Change) error {
				if n++; n == stop {
					cancel()
				}
				return nil
			})
			cancel()
			got := asked(t, mount)
			if err != nil && (!errors.Is(err, context.Canceled) || got != before) ||
				err == nil && got != before+1 {
				t.Fatalf("%d before, cancelled at change %d: %v, request %d", before, stop, err, got)
			}
			if left := clientsThere(t, mount); before == 0 && err != nil && len(left) > 0 {
				t.Errorf("%d before, cancelled at change %d: %q stay", before, stop, left)
			}
			d, openErr := drive.Open(mount)
			if openErr != nil {
				t.Fatal(openErr)
			}
			if left := checkFinished(t.Context(), d); left != nil {
				t.Errorf("%d before, cancelled at change %d: %v", before, stop, left)
			}
			d.Close()
			if n < stop {
				break
			}
		}
	}
}

// One that fits its files is not written any more when it was cancelled before.
func TestCancelledRequestInPlace(t *testing.T) {
	mount := t.TempDir()
	for n := 1; n <= 2; n++ {
		if _, err := ask(mount, n, 100, nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := askUntil(ctx, mount, 3, 100, nil)
	if got := asked(t, mount); !errors.Is(err, context.Canceled) || got != 2 {
		t.Errorf("%v, request %d", err, got)
	}
}

// A person's directory or link that has the name of a pair's file is no leftover; one in the place
// of a list that has to be written is named before anything is allocated.
func TestPersonsThingsBesidePairs(t *testing.T) {
	mount := t.TempDir()
	if _, err := ask(mount, 1, 100, nil); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(mount, layout.TreeDir, layout.ClientsDir, "attic")
	persons := filepath.Join(dir, "generation", "3.json")
	if err := os.MkdirAll(filepath.Join(persons, "photos"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("1.json", filepath.Join(dir, "generation", "9.json")); err != nil {
		t.Fatal(err)
	}
	h := newHost(keys()[0], "host")
	h.pkg("app-misc/a-1.tbz2", "package")
	if err := h.export(context.Background(), mount); err != nil {
		t.Error(err)
	}
	if _, err := ask(mount, 2, 40_000, nil); err != nil || asked(t, mount) != 2 {
		t.Errorf("outgrown: %v, %d", err, asked(t, mount))
	}
	if _, err := os.Lstat(filepath.Join(persons, "photos")); err != nil {
		t.Error(err)
	}

	list := filepath.Join(dir, layout.ManifestFile) // that of the request before
	if err := errors.Join(os.Remove(list), os.Mkdir(list, 0o755)); err != nil {
		t.Fatal(err)
	}
	before := inodes(t, mount)
	_, err := ask(mount, 3, 90_000, nil)
	var inTheWay *drive.InTheWayError
	if !errors.As(err, &inTheWay) || inTheWay.Path != "clients/attic/Manifest" {
		t.Errorf("a directory in the place of the list: %v", err)
	}
	if after := inodes(t, mount); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("the drive changed\n%v\n%v", before, after)
	}
}

// Something of a person's in the place of a directory holds up no export and is named by a request;
// the directory of pairs is made again where somebody has deleted it.
func TestPersonsThingsInPlaceOfClientDirs(t *testing.T) {
	for _, made := range []func(name string) error{os.RemoveAll, func(name string) error {
		return errors.Join(os.RemoveAll(name), os.WriteFile(name, []byte("x"), 0o644))
	}, func(name string) error {
		return errors.Join(os.RemoveAll(name), syscall.Mkfifo(name, 0o644))
	}, func(name string) error {
		return errors.Join(os.RemoveAll(name), os.Symlink("/", name))
	}} {
		for _, dir := range []string{"clients", "clients/attic", "clients/attic/generation"} {
			mount := t.TempDir()
			if _, err := ask(mount, 1, 100, nil); err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(mount, layout.TreeDir, dir)
			if err := made(name); err != nil {
				t.Fatal(err)
			}
			h := newHost(keys()[0], "host")
			h.pkg("app-misc/a-1.tbz2", "package")
			if err := h.export(context.Background(), mount); err != nil {
				t.Errorf("%s: export: %v", dir, err)
			}
			_, left := os.Lstat(name)
			var inTheWay *drive.InTheWayError
			switch _, err := ask(mount, 2, 100, nil); {
			case left != nil || dir == "clients/attic": // there is another name for that
				if err != nil || asked(t, mount) != 2 {
					t.Errorf("%s: %v, request %d", dir, err, asked(t, mount))
				}
			case !errors.As(err, &inTheWay) || inTheWay.Path != dir:
				t.Errorf("%s: %v", dir, err)
			}
		}
	}
}

// A list out of an archive has no room for the next one: it gets that once, and the requests after
// it are written in place.
func TestShortClientListGetsRoom(t *testing.T) {
	mount := t.TempDir()
	for n := 1; n <= 2; n++ {
		if _, err := ask(mount, n, 100, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{layout.ManifestFile, layout.NextManifestFile} {
		file := filepath.Join(mount, layout.TreeDir, layout.ClientsDir, "attic", name)
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file, append(bytes.TrimRight(text, "\n"), '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var before map[string]string
	for n := 3; n <= 8; n++ {
		if _, err := ask(mount, n, 100, nil); err != nil || asked(t, mount) != n {
			t.Fatalf("%v, request %d", err, asked(t, mount))
		}
		after := inodes(t, mount)
		if n > 5 && fmt.Sprint(before) != fmt.Sprint(after) {
			t.Errorf("request %d was not written in place\n%v\n%v", n, before, after)
		}
		before = after
	}
}

// A directory of this client's in which no request can be read stays as it is, and is told, unless
// the request is written there. One that another key has signed is another client's, whatever key
// lies in it.
func TestDamagedRequestIsTold(t *testing.T) {
	own := layout.Qualified("attic", clientKey.Public().Fingerprint())
	spoil := func(t *testing.T, dir string) {
		for _, name := range []string{layout.ManifestFile, layout.NextManifestFile} {
			err := change(filepath.Join(dir, name), func(text []byte) {
				if i := bytes.Index(text, []byte("DATA ")); i >= 0 {
					text[i+10] ^= 1
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	twin := func(t *testing.T, clients string) {
		err := os.CopyFS(filepath.Join(clients, own), os.DirFS(filepath.Join(clients, "attic")))
		if err != nil {
			t.Fatal(err)
		}
	}
	others := func(t *testing.T, clients string) {
		other, err := manifest.GenerateKey(manifest.ClientUserID("attic"), epoch)
		if err == nil {
			err = os.RemoveAll(filepath.Join(clients, "attic"))
		}
		if err != nil {
			t.Fatal(err)
		}
		d, err := drive.Open(filepath.Dir(filepath.Dir(clients)))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err := WriteClient(t.Context(), d, ClientOptions{Name: "attic", Key: other,
			Serial: epoch.Unix(), Record: askRecord(0, 1), List: askList(0, 1), Now: epoch,
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name          string
		make          func(t *testing.T, clients string)
		written, told string
	}{
		{"damaged", func(t *testing.T, clients string) {
			spoil(t, filepath.Join(clients, "attic"))
		}, own, "attic"},
		{"damaged, and its key is gone", func(t *testing.T, clients string) {
			spoil(t, filepath.Join(clients, "attic"))
			if err := os.Remove(filepath.Join(clients, "attic", layout.ClientKeyFile)); err != nil {
				t.Fatal(err)
			}
		}, own, "attic"},
		{"damaged beside a good one", func(t *testing.T, clients string) {
			twin(t, clients)
			spoil(t, filepath.Join(clients, "attic"))
		}, own, "attic"},
		{"good beside a damaged one", func(t *testing.T, clients string) {
			twin(t, clients)
			spoil(t, filepath.Join(clients, own))
		}, "attic", own},
		{"damaged one where there is a free name", func(t *testing.T, clients string) {
			twin(t, clients)
			spoil(t, filepath.Join(clients, own))
			if err := os.RemoveAll(filepath.Join(clients, "attic")); err != nil {
				t.Fatal(err)
			}
		}, "attic", own},
		{"both damaged", func(t *testing.T, clients string) {
			twin(t, clients)
			spoil(t, filepath.Join(clients, "attic"))
			spoil(t, filepath.Join(clients, own))
		}, own, "attic"},
		{"pulled", func(t *testing.T, clients string) {
			for _, name := range []string{layout.ManifestFile, layout.NextManifestFile} {
				if err := os.WriteFile(filepath.Join(clients, "attic", name), []byte("\n"),
					0o644); err != nil {
					t.Fatal(err)
				}
			}
		}, "attic", ""},
		{"pulled, beside a person's file", func(t *testing.T, clients string) {
			for _, name := range []string{layout.ManifestFile, layout.NextManifestFile, "photo"} {
				if err := os.WriteFile(filepath.Join(clients, "attic", name), []byte("\n"),
					0o644); err != nil {
					t.Fatal(err)
				}
			}
		}, own, ""},
		{"signed by another key", func(t *testing.T, clients string) {
			others(t, clients)
			if err := os.WriteFile(filepath.Join(clients, "attic", layout.ClientKeyFile),
				clientKey.Public().Armor(), 0o644); err != nil {
				t.Fatal(err)
			}
		}, own, ""},
		{"damaged, and made anew beside another client's", func(t *testing.T, clients string) {
			twin(t, clients)
			spoil(t, filepath.Join(clients, own))
			others(t, clients)
		}, own, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			mount := t.TempDir()
			if _, err := ask(mount, 1, 100, nil); err != nil {
				t.Fatal(err)
			}
			clients := filepath.Join(mount, layout.TreeDir, layout.ClientsDir)
			row.make(t, clients)
			var before map[string]string
			if row.told != "" {
				before = contents(t, filepath.Join(clients, row.told), "")
			}
			at, err := ask(mount, 2, 100, nil)
			told := ""
			if at.Damaged != nil {
				told = at.Damaged.Dir
			}
			if err != nil || at.Dir != row.written || told != row.told || asked(t, mount) != 2 {
				t.Errorf("%v; written to %q, told of %q; request %d", err, at.Dir, told,
					asked(t, mount))
			}
			if row.told == "" {
				return
			}
			after := contents(t, filepath.Join(clients, row.told), "")
			if len(before) == 0 || fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("%s changed", row.told)
			}
		})
	}
}

// Without its key beside it no request is written, and nothing is allocated for one.
func TestClientKeyIsGone(t *testing.T) {
	for _, row := range []struct {
		name  string
		spoil func(file string) error
	}{
		{"gone", os.Remove},
		{"damaged", func(file string) error { return os.WriteFile(file, []byte("x"), 0o644) }},
		{"an origin's", func(file string) error {
			return os.WriteFile(file, keys()[0].Public().Armor(), 0o644)
		}},
	} {
		mount := t.TempDir()
		for n := 1; n <= 2; n++ {
			if _, err := ask(mount, n, 100, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := row.spoil(filepath.Join(mount, layout.TreeDir, layout.ClientsDir, "attic",
			layout.ClientKeyFile)); err != nil {
			t.Fatal(err)
		}
		before := contents(t, mount, "")
		for _, size := range []int{100, 40_000} {
			_, err := ask(mount, 3, size, nil)
			var key *ClientKeyError
			if !errors.As(err, &key) || key.Dir != "attic" {
				t.Errorf("%s: %v", row.name, err)
			}
		}
		if after := contents(t, mount, ""); fmt.Sprint(before) != fmt.Sprint(after) {
			t.Errorf("%s: the drive changed", row.name)
		}
	}
}

// A medium that does not hold what was written of a request is noticed before the request counts,
// and the one before stays.
func TestRequestIsReadBack(t *testing.T) {
	flip := func(file string) error { return change(file, func(b []byte) { b[10] ^= 1 }) }
	shorten := func(file string) error { return os.Truncate(file, 10) }
	extend := func(file string) error {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
		if err == nil {
			_, err = f.WriteString("more")
			err = errors.Join(err, f.Close())
		}
		return err
	}
	for name, row := range map[string]struct {
		file  string
		spoil func(file string) error
	}{
		"the record":              {"generation/2.json", flip},
		"the list":                {"generation/2.Packages.zst", flip},
		"the record has no end":   {"generation/2.json", shorten},
		"the list has more bytes": {"generation/2.Packages.zst", extend},
	} {
		t.Run(name, func(t *testing.T) {
			mount := t.TempDir()
			if _, err := ask(mount, 1, 1000, nil); err != nil {
				t.Fatal(err)
			}
			spoiled := false
			_, err := ask(mount, 2, 1000, func(c durable.Change) error {
				if c.Op != "fsync" || !strings.HasSuffix(c.Name, row.file) {
					return nil
				}
				spoiled = true // what was written lies in the cache, and goes on to the medium now
				return row.spoil(filepath.Join(mount, layout.TreeDir, layout.ClientsDir, "attic",
					row.file))
			})
			var wrong *drive.ReadBackError
			if !spoiled || !errors.As(err, &wrong) || wrong.Path != row.file {
				t.Errorf("spoiled: %v; %v (%+v)", spoiled, err, wrong)
			}
			if got := asked(t, mount); got != 1 {
				t.Errorf("request %d is there", got)
			}
		})
	}
}

// The copy of the signed list that does not count is made again where somebody has deleted it.
func TestDeletedClientListIsMadeAgain(t *testing.T) {
	mount := t.TempDir()
	if _, err := ask(mount, 1, 100, nil); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(mount, layout.TreeDir, layout.ClientsDir, "attic",
		layout.NextManifestFile)
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	for n := 2; n < 5; n++ {
		if _, err := ask(mount, n, 100, nil); err != nil {
			t.Fatal(err)
		}
		if got := asked(t, mount); got != n {
			t.Errorf("the request there is number %d", got)
		}
	}
	if got := clientsThere(t, mount); !slices.Equal(got, []string{"attic"}) {
		t.Errorf("clients %q", got)
	}
}

// Files that somebody made larger than a host reads are neither filled nor kept: no host could read
// a request that was written into them.
func TestOversizedFilesOfAClient(t *testing.T) {
	const large = manifest.MaxManifest + 1 // sparse
	for _, name := range []string{"generation/1.json", "generation/1.Packages.zst",
		layout.NextManifestFile, layout.ManifestFile} {
		mount := t.TempDir()
		for n := 1; n <= 2; n++ {
			if _, err := ask(mount, n, 100, nil); err != nil {
				t.Fatal(err)
			}
		}
		file := filepath.Join(mount, layout.TreeDir, layout.ClientsDir, "attic", name)
		if err := os.Truncate(file, large); err != nil {
			t.Fatal(err)
		}
		d, err := drive.Open(mount)
		if err == nil {
			err = errors.Join(BlankClientLists(d, "attic", nil), d.Close())
		}
		if err != nil {
			t.Errorf("%s: blanking: %v", name, err)
		}
		if data, _ := os.ReadFile(file); bytes.HasSuffix(data, []byte("\n")) {
			t.Errorf("%s was filled when the lists were blanked", name)
		}
		for n := 3; n <= 4; n++ {
			if _, err := ask(mount, n, 100, nil); err != nil || asked(t, mount) != n {
				t.Errorf("%s: %v, request %d", name, err, asked(t, mount))
			}
		}
		if info, err := os.Stat(file); err == nil && info.Size() == large {
			t.Errorf("%s stays", name)
		}
	}
}

// A link in the place of the directory of pairs is a person's: what it leads to is no leftover, and
// it holds up no export.
func TestLinkInPlaceOfPairs(t *testing.T) {
	for _, to := range []string{"persons", "../../host/generation", "/", "nowhere"} {
		mount := t.TempDir()
		h := newHost(keys()[0], "host")
		h.pkg("app-misc/a-1.tbz2", "package")
		if err := h.export(t.Context(), mount); err != nil {
			t.Fatal(err)
		}
		if _, err := ask(mount, 1, 100, nil); err != nil {
			t.Fatal(err)
		}
		tree := filepath.Join(mount, layout.TreeDir)
		dir := filepath.Join(tree, layout.ClientsDir, "attic")
		file := filepath.Join(dir, "persons", "7.json")
		if err := errors.Join(os.Rename(filepath.Join(dir, "generation"), filepath.Dir(file)),
			os.WriteFile(file, nil, 0o644),
			os.WriteFile(filepath.Join(tree, "host", "generation", "7.json"), nil, 0o644),
			os.Symlink(to, filepath.Join(dir, "generation"))); err != nil {
			t.Fatal(err)
		}
		h.pkg("app-misc/a-2.tbz2", "package")
		if err := h.export(t.Context(), mount); err != nil {
			t.Errorf("%s: %v", to, err)
		}
		if _, err := os.Stat(file); err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
}
