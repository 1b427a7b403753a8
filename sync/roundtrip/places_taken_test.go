package roundtrip

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"

	"golang.org/x/sys/unix"
)

// A person's directory has the place of a file of ours: what an export needs is refused before
// anything is changed, with the way out; what is a copy for people stops nothing; and nothing in it
// is lost.
func TestDirectoryInThePlaceOfAFile(t *testing.T) {
	for _, tt := range []struct {
		name    string // below the tree
		refused bool
	}{
		{"host/Manifest", true}, {"host/Manifest.next", true},
		{"host/" + layout.PackagesFile, true}, {"host/" + layout.LayoutFile, true},
		{"README.txt", false}, {"keys/KEY.asc", false}, {"keys", false},
		{"host/generation/RECORD", false},
		{"host/distfiles/" + layout.Bucket("a.tgz") + "/a.tgz", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			host, mount := newMachine(t, "host", epoch), t.TempDir()
			write(t, filepath.Join(host.DISTDIR, "a.tgz"), "a")
			first := mustExport(t, host, exporter.ExportOptions{Drive: mount})
			tree := filepath.Join(mount, layout.TreeDir)
			name := strings.Replace(tt.name, "KEY", first.Plan.Fingerprint, 1)
			name = filepath.Join(tree, strings.Replace(name, "generation/RECORD",
				layout.RecordFile(first.Serial), 1))
			if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
			if tt.name == "keys" {
				write(t, name, "a person's") // and the other way round
			} else {
				write(t, filepath.Join(name, "diary"), "a person's")
			}
			before := files(t, mount)
			write(t, filepath.Join(host.DISTDIR, "b.tgz"), "b")
			r, err := exporter.Export(t.Context(), host,
				exporter.ExportOptions{Drive: mount, AnyDirectory: true}, nil)
			if tt.refused {
				hints := fault.Hints(err, "/mnt/usb")
				if !IsA[*drive.InTheWayError](err) || len(hints) != 1 ||
					!strings.HasPrefix(hints[0], "move /mnt/usb/pkgsneak/"+tt.name+" away") {
					t.Fatalf("%v, hints %q", err, hints)
				}
				if after := files(t, mount); !maps.Equal(after, before) {
					t.Errorf("changed: %q, had %q", slices.Sorted(maps.Keys(after)),
						slices.Sorted(maps.Keys(before)))
				}
				removeAll(t, name)
				r, err = exporter.Export(t.Context(), host,
					exporter.ExportOptions{Drive: mount, AnyDirectory: true}, nil)
			} else if err == nil && !slices.ContainsFunc(r.Notices, func(s string) bool {
				return strings.Contains(s, filepath.Base(name))
			}) {
				t.Errorf("nobody was told: %q", r.Notices)
			}
			if err != nil || r.Serial == first.Serial {
				t.Fatalf("%v, %+v", err, r)
			}
			if after := files(t, mount); !tt.refused {
				for at, data := range before {
					if data == "a person's" && after[at] != data {
						t.Errorf("%s is gone", at)
					}
				}
			}
			checkDrive(t, host, mount)
		})
	}
}

// On a drive of 0 bytes free an export that only removes goes through, and frees it.
func TestRemovalOnAFullDrive(t *testing.T) {
	host := newMachine(t, "host", epoch)
	mount := filepath.Join(t.TempDir(), "stick")
	smallDisk(t, mount, "12m")
	write(t, filepath.Join(host.DISTDIR, "stays.tgz"), "stays")
	random(t, filepath.Join(host.DISTDIR, "leaves.tgz"), 64<<10)
	o := exporter.ExportOptions{Drive: mount}
	mustExport(t, host, o)
	f, err := os.Create(filepath.Join(mount, "films"))
	if err != nil {
		t.Fatal(err)
	}
	for piece := make([]byte, 1<<20); len(piece) > 0; {
		if _, err := f.Write(piece); err != nil {
			piece = piece[:len(piece)/2]
		}
	}
	f.Close()
	var st unix.Statfs_t
	if err := unix.Statfs(mount, &st); err != nil || st.Bavail != 0 {
		t.Fatalf("%d blocks are free, %v", st.Bavail, err)
	}
	remove(t, filepath.Join(host.DISTDIR, "leaves.tgz"))
	for _, pretend := range []bool{true, false} {
		o.Pretend = pretend
		r := mustExport(t, host, o)
		if len(r.Plan.Remove) != 1 || !pretend && len(r.Removed) != 1 {
			t.Errorf("%+v", r)
		}
	}
	if err := unix.Statfs(mount, &st); err != nil || st.Bavail == 0 {
		t.Errorf("%d blocks are free, %v", st.Bavail, err)
	}
	checkDrive(t, host, mount)
}
