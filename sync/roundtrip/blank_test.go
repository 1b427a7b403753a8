package roundtrip

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/inspect"
)

// An origin that lost both copies of its manifest is named by whoever looks at the drive, and costs an import its 0 where it came from there before.
func TestAnOriginWithoutManifestsIsNamed(t *testing.T) {
	for _, tc := range []struct {
		name string
		harm func(t *testing.T, manifest string)
		says string
	}{
		{"both are gone", func(t *testing.T, manifest string) { remove(t, manifest) }, "both copies of its manifest are gone"},
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
			if len(r.Refused) != 1 || r.Refused[0].Origin != "a" || fault.Of(r.Refused[0].Err) != fault.LeftOut {
				t.Fatalf("where it was imported before: %+v", r.Refused)
			}
			if hints := fault.Hints(r.Refused[0].Err, "D"); len(hints) != 1 || !strings.Contains(hints[0], "pkgsneak export D") {
				t.Errorf("hints: %q", hints)
			}
			_, b, fresh, second := twoOrigins(t) // nothing was ever imported
			for _, name := range []string{"Manifest", "Manifest.next"} {
				tc.harm(t, filepath.Join(second, "pkgsneak/a", name))
			}
			r = mustImport(t, fresh, importer.ImportOptions{Drive: second})
			if len(r.Refused) > 0 || !strings.Contains(strings.Join(r.Notices, "\n"), `"a": `+tc.says) {
				t.Errorf("where it was never imported: %+v, %q", r.Refused, r.Notices)
			}
			if len(r.Origins) != 1 || r.Origins[0].Plan.Origin != b.Hostname {
				t.Errorf("imported %+v", r.Origins)
			}

			s, err := inspect.Status(t.Context(), client, inspect.StatusOptions{Drive: mount})
			if err != nil || len(s.Drive.Origins) != 2 || !strings.Contains(s.Drive.Origins[0].Problem, tc.says) {
				t.Errorf("status: %+v, %v", s, err)
			}
			v, err := inspect.Verify(t.Context(), client, inspect.VerifyOptions{Drive: mount}, nil)
			if err != nil || len(v.Origins) != 2 || !strings.Contains(v.Origins[0].Problem, tc.says) {
				t.Errorf("verify: %+v, %v", v, err)
			}
			mustExport(t, a, exporter.ExportOptions{Drive: mount})
			if r = mustImport(t, client, importer.ImportOptions{Drive: mount}); len(r.Refused) > 0 || len(r.Origins) != 2 {
				t.Errorf("after another export: %+v", r.Refused)
			}
		})
	}
}
