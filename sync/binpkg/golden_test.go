package binpkg

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pkgsneak/sync/depend"
)

// layouts are the PKGDIRs in golden that real Portage indexed.
var layouts = []string{"xpak-classic", "xpak-multi", "gpkg-classic", "gpkg-multi", "mixed"}

// indexEntries reads what emaint wrote: key to value, by PATH.
func indexEntries(t testing.TB, file string) map[string]map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]map[string]string)
	header, rest, _ := strings.Cut(string(data), "\n\n")
	chost := ""
	for line := range strings.Lines(header) {
		if v, ok := strings.CutPrefix(line, "CHOST: "); ok {
			chost = strings.TrimSpace(v)
		}
	}
	for block := range strings.SplitSeq(rest, "\n\n") {
		e := map[string]string{"CHOST": chost, "EAPI": "0", "SLOT": "0"}
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
			e[key] = strings.TrimPrefix(value, " ")
		}
		if e["PATH"] != "" {
			all[e["PATH"]] = e
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no entries", file)
	}
	return all
}

// sameAsIndex compares a package with its entry.
func sameAsIndex(t *testing.T, p *Package, e map[string]string) {
	t.Helper()
	use := strings.Fields(p.Get("USE"))
	if got := p.Category + "/" + p.PF; got != e["CPV"] {
		t.Errorf("%s: CPV %q, Portage says %q", p.Path, got, e["CPV"])
	}
	for _, key := range keys {
		got, want := p.Get(key), e[key]
		switch key {
		case "CATEGORY", "PF", "CBUILD", "CFLAGS", "CXXFLAGS", "LDFLAGS", "DESCRIPTION", "FEATURES",
			"HOMEPAGE", "REPO_REVISIONS":
			continue // not in the index
		case "repository":
			want = e["REPO"]
		case "SIZE": // of what is installed; the index has that of the file
			continue
		case "BDEPEND", "DEPEND", "IDEPEND", "PDEPEND", "RDEPEND", "LICENSE",
			"PROPERTIES", "RESTRICT":
			reduced, err := depend.Reduce(got, func(flag string) bool {
				return slices.Contains(use, flag)
			},
				depend.Options{Atoms: strings.HasSuffix(key, "DEPEND")})
			if err != nil {
				t.Errorf("%s: %s: %v", p.Path, key, err)
				continue
			}
			got = reduced
		}
		if got != want && !(key == "CHOST" && got == "") {
			t.Errorf("%s: %s %q, Portage says %q", p.Path, key, got, want)
		}
	}
}

// checkPKGDIR holds every package of a PKGDIR against the index beside it.
func checkPKGDIR(t *testing.T, pkgdir, index string) {
	for path, e := range indexEntries(t, index) {
		data, err := os.ReadFile(filepath.Join(pkgdir, filepath.FromSlash(path)))
		if err != nil {
			t.Fatal(err)
		}
		r := bytes.NewReader(data)
		p, err := Read(r, r.Size(), path)
		if err != nil {
			t.Errorf("Read: %v", err)
			continue
		}
		sameAsIndex(t, p, e)
		if err := check(t.Context(), r, r.Size(), path); err != nil {
			t.Errorf("Check: %v", err)
		}
	}
}

// TestValuesAsPortageIndexesThem: real packages in all layouts are accepted by
// Read and Check, and their values are those of the index.
func TestValuesAsPortageIndexesThem(t *testing.T) {
	for _, layout := range layouts {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(golden, layout)
			checkPKGDIR(t, filepath.Join(dir, "pkgdir"), filepath.Join(dir, "Packages"))
		})
	}
}
