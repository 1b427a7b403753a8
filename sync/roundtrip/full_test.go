package roundtrip

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/forget"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/volume"
)

// smallDisk mounts a tmpfs of that many bytes.
func smallDisk(t *testing.T, dir, size string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("pkgsneak-test", dir, "tmpfs", 0, "size="+size+",mode=755"); err != nil {
		t.Skipf("SKIPPED: a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func random(t *testing.T, name string, size int) {
	t.Helper()
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(size), byte(len(name))})
	r.Read(b)
	write(t, name, string(b))
}

// On a disk that the import fills to two thirds, an import that was interrupted goes on: what is
// staged counts as there, what nobody wants any more makes room first, and what cannot fit leaves
// nothing behind.
func TestImportOnAFullDisk(t *testing.T) {
	host, client := newMachine(t, "bighost", epoch), newMachine(t, "client", epoch)
	disk := filepath.Join(t.TempDir(), "disk")
	smallDisk(t, disk, "4m")
	client.DISTDIR = filepath.Join(disk, "distfiles")
	const size = 900 << 10
	for _, name := range []string{"a.tgz", "bb.tgz", "ccc.tgz"} {
		random(t, filepath.Join(host.DISTDIR, name), size)
	}
	drive := t.TempDir()
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	trustEach(t, client, host)
	o := importer.ImportOptions{Drive: drive, NoPackages: true, Workers: 1}

	// Ended when everything is staged, before the first name.
	client.Hook = func(c durable.Change) error {
		if c.Op == durable.OpRename && c.To == "a.tgz" {
			return unix.EIO
		}
		return nil
	}
	staging := filepath.Join(client.DISTDIR, durable.StagingDir)
	if _, err := importer.Import(context.Background(), client, o, nil); !errors.Is(err, unix.EIO) {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(staging); err != nil || len(left) != 3 {
		t.Fatalf("staged: %v, %v", left, err)
	}
	client.Hook = nil
	// Another generation: one of the three is another file now.
	random(t, filepath.Join(host.DISTDIR, "bb.tgz"), size+1)
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	if r, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: drive,
		NoPackages: true, Pretend: true}, nil); err != nil || len(r.Origins[0].Plan.Copy) != 3 {
		t.Errorf("pretended: %v", err)
	}
	mustImport(t, client, o)
	if _, err := os.Lstat(staging); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("staging is left: %v", err)
	}
	want := files(t, host.DISTDIR)
	got := files(t, client.DISTDIR)
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s is not there", name)
		}
	}

	// A file that does not fit is reported before it is copied, and what an earlier run had staged
	// of it goes.
	random(t, filepath.Join(host.DISTDIR, "dddd.tgz"), 2*size)
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	write(t, filepath.Join(staging, "0123456789abcdef0123456789abcdef"), "nobody's")
	_, err := importer.Import(t.Context(), client, o, nil)
	var space *volume.SpaceError
	if !errors.As(err, &space) || space.Need < 2*size || space.Free >= space.Need {
		t.Errorf("too much: %v", err)
	}
	if _, err := os.Lstat(staging); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("staging is left: %v", err)
	}
}

// A file system may have room and no inodes. The way out is another one than that of a full drive:
// any files that are removed there help.
func TestDriveWithoutInodes(t *testing.T) {
	host, at := newMachine(t, "host", epoch), filepath.Join(t.TempDir(), "drive")
	smallDisk(t, at, "16m,nr_inodes=72")
	for i := range 30 {
		name := string(rune('A' + i))
		if i < 20 {
			write(t, filepath.Join(host.DISTDIR, name), name)
		}
		write(t, filepath.Join(at, "foreign", name), name)
	}
	_, err := exporter.Export(t.Context(), host, exporter.ExportOptions{Drive: at}, nil)
	var space *drive.SpaceError
	if !errors.As(err, &space) || !space.NoInodes || space.Free == 0 {
		t.Fatalf("without inodes: %v", err)
	}
	if hints := strings.Join(fault.Hints(err, at), "; "); !strings.Contains(hints, "df -i "+at) {
		t.Errorf("the hints are %q", hints)
	}
	if err := os.RemoveAll(filepath.Join(at, "foreign")); err != nil {
		t.Fatal(err)
	}
	mustExport(t, host, exporter.ExportOptions{Drive: at})
}

// The kernel may report only while it is copied that the disk is full: somebody else fills it.
// Nothing stays that cannot be seen.
func TestDiskThatBecomesFull(t *testing.T) {
	k := newKilled(t)
	for _, errno := range []unix.Errno{unix.ENOSPC, unix.EDQUOT} {
		m := k.at(t, func(c durable.Change) error {
			if c.Op == durable.OpWrite && bytes.HasPrefix([]byte(c.Name),
				[]byte(durable.StagingDir)) {
				return errno
			}
			return nil
		})
		if _, err := importer.Import(t.Context(), m, importer.ImportOptions{Drive: k.second,
			Prune: true}, nil); !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
		for _, dir := range []string{m.PKGDIR, m.DISTDIR} {
			if _, err := os.Lstat(filepath.Join(dir, durable.StagingDir)); !errors.Is(err,
				os.ErrNotExist) {
				t.Errorf("%v: staging is left: %v", errno, err)
			}
		}
	}
}

// A host that lost its key finds its drive full of what it exported before: it is told what that
// is, that forgetting it makes room, and then the export fits.
func TestFullOfANamesake(t *testing.T) {
	host := newMachine(t, "bighost", epoch)
	mount := filepath.Join(t.TempDir(), "stick")
	smallDisk(t, mount, "12m")
	random(t, filepath.Join(host.DISTDIR, "a.tgz"), 3<<20)
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	lost := host.StateDir
	host.StateDir = t.TempDir()
	o := exporter.ExportOptions{Drive: mount}
	for _, pretend := range []bool{true, false} {
		o.Pretend = pretend
		_, err := exporter.Export(t.Context(), host, o, nil)
		var room *exporter.CrowdedError
		var space *volume.SpaceError
		if !errors.As(err, &room) || !errors.As(err, &space) || fault.Of(err) != fault.Space {
			t.Fatalf("pretend %v: %v", pretend, err)
		}
		if n := room.Namesakes; len(n) != 1 || n[0].Dir != "bighost" || n[0].Own ||
			!n[0].Signed.Equal(epoch) || room.Reclaimable() < 3<<20 || room.Reclaimable() > 9<<20 {
			t.Errorf("pretend %v: %+v", pretend, room.Namesakes)
		}
		if hints := fault.Hints(err, "/mnt/usb"); len(hints) < 2 ||
			!strings.HasPrefix(hints[0], "pkgsneak forget bighost /mnt/usb frees ") {
			t.Errorf("pretend %v: %q", pretend, hints)
		}
	}
	r, err := forget.Forget(t.Context(), host, forget.Options{Drive: mount, Origin: "bighost"}, nil)
	if err != nil || r.Own || len(r.Others) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if r := mustExport(t, host, o); len(r.Plan.Namesakes) > 0 || len(r.Copied) != 1 ||
		r.Plan.Origin != "bighost" {
		t.Errorf("%+v", r.Plan)
	}

	// A machine that is alive has its own directory, and nobody is told to forget it.
	random(t, filepath.Join(host.DISTDIR, "a.tgz"), 1000)
	mustExport(t, host, o)
	twin := host
	twin.StateDir, twin.Now = lost, func() time.Time { return epoch.Add(time.Hour) }
	mustExport(t, twin, o)
	host.Now = func() time.Time { return epoch.Add(2 * time.Hour) }
	if r := mustExport(t, host, o); len(r.Plan.Namesakes) != 0 {
		t.Errorf("alive: %+v", r.Plan.Namesakes)
	}
}
