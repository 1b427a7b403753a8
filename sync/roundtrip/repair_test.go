package roundtrip

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/inspect"
	"pkgsneak/sync/layout"
)

// rot changes a byte in the middle of a file and keeps size and time.
func rot(t *testing.T, name string) {
	t.Helper()
	info, err := os.Stat(name)
	data, readErr := os.ReadFile(name)
	if err := errors.Join(err, readErr); err != nil {
		t.Fatal(err)
	}
	data[len(data)/3] ^= 0x20
	if err := os.WriteFile(name, data, 0); err != nil {
		t.Fatal(err)
	}
	touch(t, name, info.ModTime())
}

// driveFiles are the files of an origin on a drive that its list has, but for those that each
// generation has anew.
func driveFiles(t *testing.T, origin string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(origin, func(p string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(origin, p)
		top, _, _ := strings.Cut(rel, "/")
		if err == nil && e.Type().IsRegular() && top != "generation" &&
			!strings.HasPrefix(rel, "Manifest") {
			names = append(names, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// staticProgram makes the smallest file that an export takes for a program without an interpreter:
// an ELF header.
func staticProgram(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1,
		Ehsize: 64, Phentsize: 56, Shentsize: 64}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	if err := binary.Write(&b, binary.LittleEndian, h); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "program")
	write(t, name, b.String())
	return name
}

// Each file of a drive in turn has one wrong byte: a plain export does not see it (but for the
// files that it always looks at), --repair writes it again, and so does a plain export after verify
// has found it here.
func TestRepairOfEachFile(t *testing.T) {
	when := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	host := newMachine(t, "host", when)
	pack(t, host.PKGDIR, "mixed")
	write(t, filepath.Join(host.DISTDIR, "foo-1.tar"), strings.Repeat("foo", 10_000))
	host.Executable = staticProgram(t)
	mount := t.TempDir()
	mustExport(t, host, exporter.ExportOptions{Drive: mount, NoReadBack: true})
	if bins, _ := filepath.Glob(filepath.Join(mount, "pkgsneak/host/bin/*")); len(bins) != 1 {
		t.Fatalf("the drive has the programs %q", bins)
	}
	bad := func() int {
		t.Helper()
		r, err := inspect.Verify(t.Context(), host, inspect.VerifyOptions{Drive: mount}, nil)
		if err != nil || len(r.Origins) != 1 || r.Origins[0].Err != nil {
			t.Fatalf("verify: %v, %+v", err, r)
		}
		return len(r.Origins[0].Bad) + len(r.Origins[0].Stale)
	}
	for i, name := range driveFiles(t, filepath.Join(mount, "pkgsneak", "host")) {
		rot(t, name)
		o := exporter.ExportOptions{Drive: mount, NoReadBack: true, Repair: i%2 == 0}
		if !o.Repair && bad() != 1 {
			t.Fatalf("verify does not find the byte in %s", name)
		}
		r := mustExport(t, host, o)
		if n := bad(); n != 0 || len(r.LeftOut) > 0 || r.Unchanged {
			t.Errorf("%s (repair: %v): %d files are wrong after the export, %d were left out, unchanged: %v", name, o.Repair, n, len(r.LeftOut), r.Unchanged)
		}
		if r := mustExport(t, host, exporter.ExportOptions{Drive: mount, NoReadBack: true,
			Repair: true}); !r.Unchanged {
			t.Errorf("%s: the second repair wrote again: %+v", name, r.Copied)
		}
	}
}

// The files that lie beside the generations are written again, too, although nothing else has
// changed: the key on offer, damaged or gone, and layout.conf with as many bytes.
func TestKeyAndLayoutAreWrittenAgain(t *testing.T) {
	host, mount := newMachine(t, "host", epoch), t.TempDir()
	write(t, filepath.Join(host.DISTDIR, "a.tar"), "a")
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	keys, err := filepath.Glob(filepath.Join(mount, "pkgsneak/keys/*.asc"))
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	for name, spoil := range map[string]func(name string) error{
		keys[0]: os.Remove,
		keys[0] + " ": func(name string) error {
			return os.WriteFile(strings.TrimSuffix(name, " "),
				[]byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n"), 0o644)
		},
		filepath.Join(mount, "pkgsneak/host", layout.LayoutFile): func(name string) error {
			info, err := os.Stat(name)
			return errors.Join(err, os.WriteFile(name,
				bytes.Repeat([]byte("#"), int(info.Size())), 0o644))
		},
	} {
		file := strings.TrimSuffix(name, " ")
		want, err := os.ReadFile(file)
		if err := errors.Join(err, spoil(name)); err != nil {
			t.Fatal(err)
		}
		mustExport(t, host, exporter.ExportOptions{Drive: mount})
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if r := mustExport(t, host, exporter.ExportOptions{Drive: mount}); !r.Unchanged {
			t.Errorf("%s: written a second time", name)
		}
	}
}
