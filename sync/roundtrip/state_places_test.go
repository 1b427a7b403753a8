package roundtrip

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/machine"
)

// A person's directory has the place of a file of the state directory, each in turn: what is only a
// cache, or a copy of what can be found out again, stops nothing; all else is an error that names
// the file and has a way out; and nothing is lost, in the directory or in PKGDIR.
func TestDirectoryInThePlaceOfAStateFile(t *testing.T) {
	host, client, mount := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	write(t, filepath.Join(host.DISTDIR, "a.tar"), "a")
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	trustEach(t, client, host)
	mustImport(t, client, importer.ImportOptions{Drive: mount})
	host.Now = func() time.Time { return epoch.Add(time.Hour) }
	rebuild(t, filepath.Join(host.PKGDIR, turned))
	run := map[string]func(m machine.Machine, drive string) error{
		"host": func(m machine.Machine, drive string) error {
			_, err := exporter.Export(t.Context(), m,
				exporter.ExportOptions{Drive: drive, AnyDirectory: true}, nil)
			return err
		},
		"client": func(m machine.Machine, drive string) error {
			_, err := importer.Import(t.Context(), m, importer.ImportOptions{Drive: drive}, nil)
			return err
		},
	}
	newer := t.TempDir()
	copied(t, mount, newer)
	if err := run["host"](anew(t, host), newer); err != nil {
		t.Fatal(err)
	}
	for who, m := range map[string]machine.Machine{"host": host, "client": client} {
		for _, name := range slices.Sorted(maps.Keys(stateFiles(t, m))) {
			t.Run(who+"/"+name, func(t *testing.T) {
				t.Parallel()
				m, drive := anew(t, m), t.TempDir()
				copied(t, map[string]string{"host": mount, "client": newer}[who], drive)
				at := filepath.Join(m.StateDir, name)
				kept, err := os.ReadFile(at)
				if err == nil {
					err = os.Remove(at)
				}
				if err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(at, "diary"), "a person's")
				before := files(t, m.PKGDIR)
				if err = run[who](m, drive); err != nil {
					// the command line has the hint: move it away
					if !strings.Contains(err.Error(), filepath.Base(at)) ||
						!strings.Contains(err.Error(), m.StateDir) ||
						!errors.Is(err, durable.ErrIrregular) {
						t.Errorf("%v", err)
					}
					if after := files(t, m.PKGDIR); who == "client" && !maps.Equal(before, after) {
						t.Error("PKGDIR was changed, and the run failed")
					}
				}
				if data, _ := os.ReadFile(filepath.Join(at,
					"diary")); string(data) != "a person's" {
					t.Error("what the person had there is gone")
				}
				if err == nil {
					return
				}
				// as the hint asks
				if err := os.Rename(at, filepath.Join(t.TempDir(), "away")); err != nil {
					t.Fatal(err)
				}
				write(t, at, string(kept))
				if err := run[who](m, drive); err != nil {
					t.Errorf("with the file again: %v", err)
				}
			})
		}
	}
}

// stateFiles are the files of a state directory, but for its lock.
func stateFiles(t *testing.T, m machine.Machine) map[string]string {
	found := files(t, m.StateDir)
	maps.DeleteFunc(found, func(name, _ string) bool {
		return name == "lock" || strings.HasPrefix(filepath.Base(name), ".")
	})
	if len(found) < 5 {
		t.Fatalf("state: %q", slices.Sorted(maps.Keys(found)))
	}
	return found
}

// anew is a machine in a copy of its state directory, a client in one of all.
func anew(t *testing.T, m machine.Machine) machine.Machine {
	t.Helper()
	home := t.TempDir()
	dirs := map[string]*string{"state": &m.StateDir}
	if m.Hostname == "client" { // a host's names are bound to its PKGDIR
		dirs["packages"], dirs["distfiles"] = &m.PKGDIR, &m.DISTDIR
	}
	for at, dir := range dirs {
		to := filepath.Join(home, at)
		copied(t, *dir, to)
		*dir = to
	}
	return m
}

// copied copies a directory with the times of its files.
func copied(t *testing.T, from, to string) {
	t.Helper()
	err := copyTree(from, to)
	if err == nil {
		err = filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			fi, err := e.Info()
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(from, name)
			if err != nil {
				return err
			}
			return os.Chtimes(filepath.Join(to, rel), fi.ModTime(), fi.ModTime())
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}
