package roundtrip

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/reindex"
)

// A category may be a file system of its own: what goes there arrives, at once and for good.
func TestCategoryOnAnotherFileSystem(t *testing.T) {
	host, client := newMachine(t, "bighost", epoch), newMachine(t, "client", epoch)
	pack(t, host.PKGDIR, "gpkg-multi")
	smallDisk(t, filepath.Join(client.PKGDIR, "app-misc"), "8m")
	drive := t.TempDir()
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	trustEach(t, client, host)
	for range 2 {
		mustImport(t, client, importer.ImportOptions{Drive: drive})
	}
	want := files(t, filepath.Join(host.PKGDIR, "app-misc"))
	got := files(t, filepath.Join(client.PKGDIR, "app-misc"))
	if len(want) == 0 || len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s is not there", name)
		}
	}
	if r, err := reindex.Check(t.Context(), client, reindex.IndexOptions{}, nil); err != nil ||
		!r.OK() {
		t.Errorf("index: %+v, %v", r, err)
	}
}

// Modes are Portage's whatever the umask: it sets 022 for itself.
func TestModesDoNotFollowTheUmask(t *testing.T) {
	host := newMachine(t, "bighost", epoch)
	pack(t, host.PKGDIR, "gpkg-multi")
	write(t, filepath.Join(host.DISTDIR, "a.tgz"), "a")
	drive := t.TempDir()
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	for _, mask := range []int{0o077, 0o000} {
		client := newMachine(t, "client", epoch)
		trustEach(t, client, host)
		for _, dir := range []string{client.PKGDIR, client.DISTDIR} {
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
		}
		old := unix.Umask(mask)
		_, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: drive}, nil)
		unix.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		checkModes(t, client.PKGDIR, 0o755, 0o644)
		checkModes(t, client.DISTDIR, 0o755, 0o664)
	}
}

func checkModes(t *testing.T, dir string, dirMode, fileMode os.FileMode) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		want := dirMode
		if !e.IsDir() {
			files++
			want = fileMode
			// PKGDIR's group reads it, as it reads PKGDIR
			if strings.HasPrefix(e.Name(), "Packages") {
				want = 0o644
			}
		}
		if fi.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", p, fi.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%d files, %v", files, err)
	}
}

// In a user namespace the group of PKGDIR may not be mapped, and some file systems have no owners:
// chown fails with other errors than EPERM. The packages arrive all the same.
func TestOwnersThatCannotBeChanged(t *testing.T) {
	k := newKilled(t)
	for _, errno := range []unix.Errno{unix.EPERM, unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP} {
		m := k.at(t, func(c durable.Change) error {
			if c.Op == durable.OpChown || c.Op == durable.OpChmod &&
				!strings.HasSuffix(c.Root, "state") {
				return errno
			}
			return nil
		})
		if os.Getuid() == 0 { // so that something has to be changed
			for _, dir := range []string{m.PKGDIR, m.DISTDIR} {
				if err := os.Chown(dir, -1, 250); err != nil {
					t.Fatal(err)
				}
			}
		}
		mustImport(t, m, importer.ImportOptions{Drive: k.second, Prune: true})
		mustImport(t, m, importer.ImportOptions{Drive: k.third, Prune: true})
		k.check(t, m)
	}
}

// A PKGDIR that is a link to a disk which is not mounted is named as such; nothing is made in its
// place.
func TestDanglingDirectories(t *testing.T) {
	k := newKilled(t)
	for _, kind := range []string{"PKGDIR", "DISTDIR"} {
		m := k.at(t, nil)
		dir := m.PKGDIR
		if kind == "DISTDIR" {
			dir = m.DISTDIR
		}
		gone := filepath.Join(t.TempDir(), "disk", "packages")
		if err := errors.Join(os.RemoveAll(dir), os.Symlink(gone, dir)); err != nil {
			t.Fatal(err)
		}
		o := mustImport(t, m, importer.ImportOptions{Drive: k.second}).Origins[0]
		if len(o.LeftOut) == 0 || !strings.Contains(o.LeftOut[0].Reason, gone) {
			t.Errorf("%s: %+v", kind, o.LeftOut)
		}
		_, err := importer.Import(t.Context(), m, importer.ImportOptions{Drive: k.second,
			NoPackages: kind == "DISTDIR", NoDistfiles: kind == "PKGDIR"}, nil)
		if !IsA[*durable.DanglingError](err) || !strings.Contains(err.Error(), gone) {
			t.Errorf("%s alone: %v", kind, err)
		}
		if _, err := os.Lstat(gone); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
