package roundtrip

import (
	"path/filepath"
	"strings"
	"testing"

	"pkgsneak/sync/exporter"
)

// No setting of a host fails its export: it is carried as it can be, and what was changed is told.
func TestOddSettings(t *testing.T) {
	for name, row := range map[string]struct {
		key, value string
		carried    string // CFLAGS or CHOST of the record
		told       string
	}{
		"tabs and line ends": {"CFLAGS", "\t-O2\t-pipe\n  -g ", "-O2 -pipe -g", ""},
		"control characters": {"CFLAGS", "-O2 \x1b[2J\x00-g", `-O2 \x1B[2J\x00-g`,
			"CFLAGS is not on the drive as it is here: it has control characters"},
		"not UTF-8": {"CFLAGS", "-DNAME=\xe4 -O2", `-DNAME=\xE4 -O2`,
			"CFLAGS is not on the drive"},
		"more than 64 KiB": {"CFLAGS", strings.Repeat("-O2 ", 20_000),
			strings.TrimSpace(strings.Repeat("-O2 ", 16_384)), "it is longer than 65536 bytes"},
		"CHOST with a tab": {"CHOST", "x86_64-pc-linux-gnu\tx", "x86_64-pc-linux-gnu x", ""},
		"CHOST with an escape": {"CHOST", "x86_64\x1b-gnu", `x86_64\x1B-gnu`,
			"CHOST is not on the drive"},
		"USE beyond a line": {"USE", strings.Repeat("flag ", 300_000), "",
			"USE is not in the catalogue: too long"},
		"a key that is none": {"USE_EXPAND_IMPLICIT", "ARCH A:B", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, path := newMachine(t, "host", epoch), t.TempDir()
			pack(t, host.PKGDIR, "xpak-multi")
			// so that the header is made of the settings
			remove(t, filepath.Join(host.PKGDIR, "Packages"))
			host.Settings.Values = map[string]string{"IUSE_IMPLICIT": "abi", "A:B": "value",
				"CFLAGS": "", "CHOST": ""}
			host.Settings.Values[row.key] = row.value
			host.Settings.Profile = "/var/db/repos/gentoo/profiles/none"
			r := mustExport(t, host, exporter.ExportOptions{Drive: path})
			record := generationOf(t, host, path).Record
			if got := record.CFLAGS + record.CHOST; got != row.carried {
				t.Errorf("carried %.80q, want %.80q", got, row.carried)
			}
			if all := strings.Join(r.Notices, "\n"); row.told != "" &&
				!strings.Contains(all, row.told) || row.told == "" &&
				strings.Contains(all, "drive as it is") {
				t.Errorf("told %.300q, want %q", all, row.told)
			}
			if r := mustExport(t, host, exporter.ExportOptions{Drive: path}); !r.Unchanged {
				t.Error("a second export of the same writes a generation")
			}
		})
	}
}
