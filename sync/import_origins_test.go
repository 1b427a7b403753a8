package sync

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
)

// twoOrigins are two hosts that exported to one drive, and a client that trusts both.
func twoOrigins(t *testing.T) (a, b, client Machine, mount string) {
	t.Helper()
	a, b, client, mount = machine(t, "a", epoch), machine(t, "b", epoch), machine(t, "client", epoch), t.TempDir()
	pack(t, a.PKGDIR, "xpak-classic")
	pack(t, b.PKGDIR, "gpkg-multi")
	for _, host := range []Machine{a, b} {
		mustExport(t, host, ExportOptions{Drive: mount})
		trustEach(t, client, host)
	}
	return a, b, client, mount
}

// changeByte changes the last byte of the one file that a pattern below a drive's tree matches.
func changeByte(t *testing.T, mount, pattern string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(mount, "pkgsneak", pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	write(t, found[0], string(data))
}

func TestOneOriginThatIsRefusedStopsNoOther(t *testing.T) {
	for _, tc := range []struct {
		name string
		harm func(t *testing.T, a, client Machine, mount string)
		is   func(error) bool
	}{
		{"damaged record", func(t *testing.T, _, _ Machine, mount string) { changeByte(t, mount, "a/generation/*.json") }, isA[*drive.DamagedError]},
		{"damaged catalogue", func(t *testing.T, _, _ Machine, mount string) { changeByte(t, mount, "a/generation/*.Packages.zst") }, isA[*drive.DamagedError]},
		{"missing catalogue", func(t *testing.T, _, _ Machine, mount string) {
			found, err := filepath.Glob(filepath.Join(mount, "pkgsneak/a/generation/*.Packages.zst"))
			if err != nil || len(found) != 1 {
				t.Fatal(found, err)
			}
			remove(t, found[0])
		}, isA[*drive.DamagedError]},
		{"forged list", func(t *testing.T, _, _ Machine, mount string) {
			for _, name := range []string{"Manifest", "Manifest.next"} {
				file := filepath.Join(mount, "pkgsneak/a", name)
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				write(t, file, string(bytes.Replace(data, []byte("DATA packages/app"), []byte("DATA packages/bpp"), 1)))
			}
		}, isA[*manifest.SignatureError]},
		{"older generation", func(t *testing.T, a, client Machine, mount string) {
			newer := t.TempDir()
			if err := os.CopyFS(newer, os.DirFS(mount)); err != nil {
				t.Fatal(err)
			}
			rebuild(t, filepath.Join(a.PKGDIR, "app-misc/labhello-1.0-r2.tbz2"))
			mustExport(t, a, ExportOptions{Drive: newer})
			mustImport(t, client, ImportOptions{Drive: newer, Origin: "a"})
		}, isA[*OlderError]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b, client, mount := twoOrigins(t)
			tc.harm(t, a, client, mount)
			r := mustImport(t, client, ImportOptions{Drive: mount})
			if len(r.Refused) != 1 || r.Refused[0].Origin != "a" || !tc.is(r.Refused[0].Err) {
				t.Fatalf("refused: %+v", r.Refused)
			}
			if len(r.Origins) != 1 || r.Origins[0].Plan.Origin != "b" || len(r.Origins[0].LeftOut) > 0 {
				t.Fatalf("imported: %+v", r.Origins)
			}
			here := files(t, client.PKGDIR)
			for name, data := range files(t, b.PKGDIR) {
				if name != "Packages" && here[name] != data {
					t.Errorf("%q of the other origin is not here", name)
				}
			}
			if _, err := Import(t.Context(), client, ImportOptions{Drive: mount, Origin: "a"}, nil); err == nil || !tc.is(err) {
				t.Errorf("alone: %v", err)
			}
		})
	}
}
