package roundtrip

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/inspect"
	"pkgsneak/sync/machine"
)

// An origin that lost both copies of its manifest is named by whoever looks at the drive, and costs
// an import its 0 where it came from there before.
func TestAnOriginWithoutManifestsIsNamed(t *testing.T) {
	for _, tc := range []struct {
		name string
		harm func(t *testing.T, manifest string)
		says string
	}{
		{"both are gone", func(t *testing.T, manifest string) { remove(t, manifest) },
			"both copies of its manifest are gone"},
		{"both are blank", func(t *testing.T, manifest string) {
			if err := os.WriteFile(manifest, []byte("\n\n\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "its first export was not finished"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, _, client, mount := twoOrigins(t)
			for _, host := range []string{"a", "b"} {
				mustImport(t, client, importer.ImportOptions{Drive: mount, Origin: host})
			}
			for _, name := range []string{"Manifest", "Manifest.next"} {
				tc.harm(t, filepath.Join(mount, "pkgsneak/a", name))
			}
			r := mustImport(t, client, importer.ImportOptions{Drive: mount})
			if len(r.Refused) != 1 || r.Refused[0].Origin != "a" ||
				fault.Of(r.Refused[0].Err) != fault.LeftOut {
				t.Fatalf("where it was imported before: %+v", r.Refused)
			}
			if hints := fault.Hints(r.Refused[0].Err, "D"); len(hints) != 1 ||
				!strings.Contains(hints[0], "pkgsneak export D") {
				t.Errorf("hints: %q", hints)
			}
			_, err := importer.Import(t.Context(), client,
				importer.ImportOptions{Drive: mount, Origin: "a"}, nil)
			for _, err := range []error{r.Refused[0].Err, err} {
				if !strings.Contains(err.Error(), "imported here before") ||
					strings.Contains(err.Error(), "not finished") {
					t.Errorf("where it was imported before: %v", err)
				}
			}
			if fault.Of(err) != fault.NoTree || len(fault.Hints(err, "D")) != 1 {
				t.Errorf("alone: %v, %q", err, fault.Hints(err, "D"))
			}
			_, b, fresh, second := twoOrigins(t) // nothing was ever imported
			for _, name := range []string{"Manifest", "Manifest.next"} {
				tc.harm(t, filepath.Join(second, "pkgsneak/a", name))
			}
			r = mustImport(t, fresh, importer.ImportOptions{Drive: second})
			if len(r.Refused) > 0 || !strings.Contains(strings.Join(r.Notices, "\n"),
				`"a": `+tc.says) {
				t.Errorf("where it was never imported: %+v, %q", r.Refused, r.Notices)
			}
			if len(r.Origins) != 1 || r.Origins[0].Plan.Origin != b.Hostname {
				t.Errorf("imported %+v", r.Origins)
			}

			s, err := inspect.Status(t.Context(), client, inspect.StatusOptions{Drive: mount})
			if err != nil || len(s.Drive.Origins) != 2 ||
				!strings.Contains(s.Drive.Origins[0].Problem, tc.says) {
				t.Errorf("status: %+v, %v", s, err)
			}
			v, err := inspect.Verify(t.Context(), client, inspect.VerifyOptions{Drive: mount}, nil)
			if err != nil || len(v.Origins) != 2 ||
				!strings.Contains(v.Origins[0].Problem, tc.says) {
				t.Errorf("verify: %+v, %v", v, err)
			}
			mustExport(t, a, exporter.ExportOptions{Drive: mount})
			if r = mustImport(t, client,
				importer.ImportOptions{Drive: mount}); len(r.Refused) > 0 || len(r.Origins) != 2 {
				t.Errorf("after another export: %+v", r.Refused)
			}
		})
	}
}

// A host with a clock far ahead loses its key: of its two keys the one that was made later takes
// the place of the other, whatever is in the generations.
func TestTheLaterKeyTakesThePlace(t *testing.T) {
	old, now, client, mount := newMachine(t, "h", epoch), newMachine(t, "h",
		epoch.Add(time.Hour)), newMachine(t, "client", epoch.Add(2*time.Hour)), t.TempDir()
	pack(t, old.PKGDIR, "xpak-classic")
	write(t, filepath.Join(old.DISTDIR, "a.tar"), "old")
	write(t, filepath.Join(now.DISTDIR, "a.tar"), "rebuilt")
	mustExport(t, old, exporter.ExportOptions{Drive: t.TempDir()})
	old.Now = func() time.Time { return epoch.Add(200 * 24 * time.Hour) }
	for _, host := range []machine.Machine{old, now} {
		mustExport(t, host, exporter.ExportOptions{Drive: mount})
		trustEach(t, client, host)
	}
	_, oldKey := withKey(t, old)
	_, newKey := withKey(t, now)
	r := mustImport(t, client, importer.ImportOptions{Drive: mount})
	hints := ""
	for _, o := range r.Origins {
		for _, it := range o.LeftOut {
			hints += it.Hint
		}
	}
	if want := fmt.Sprintf("--fingerprint %s --replaces %s", newKey.Public().Fingerprint(),
		oldKey.Public().Fingerprint()); !strings.Contains(hints,
		want+"; if nobody exports h any more: pkgsneak forget h ") {
		t.Errorf("hint %q, want %q", hints, want)
	}
}
