package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// portageVerdict is portage.json of a damaged package: the answers of emaint and emerge when the
// vector was made.
type portageVerdict struct {
	Case      string   `json:"case"`
	File      string   `json:"file"`
	EmaintRC  int      `json:"emaint_rc"`
	Indexed   bool     `json:"indexed"`
	InstallRC int      `json:"install_rc"`
	EvilFiles []string `json:"evil_files"`

	data []byte
}

// harmless tells whether Portage indexes the package, installs it, and writes nothing where it
// should not.
func (v *portageVerdict) harmless() bool {
	return v.EmaintRC == 0 && v.Indexed && v.InstallRC == 0 && len(v.EvilFiles) == 0
}

func goldenDamaged(t *testing.T) []*portageVerdict {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "golden", "corrupt", "*",
		"portage.json"))
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no damaged packages in testdata/golden/corrupt")
	}
	var all []*portageVerdict
	for _, f := range files {
		v := new(portageVerdict)
		must(t, json.Unmarshal([]byte(readFile(t, f)), v))
		v.data = []byte(readFile(t, filepath.Join(filepath.Dir(f), v.File)))
		all = append(all, v)
	}
	return all
}

// testPortageCorrupt asks real emaint again for its verdict on each damaged package. Emerge is not
// tried with them here: some write outside of ROOT.
func testPortageCorrupt(t *testing.T, s *portageStage) {
	m := s.machine(t, "damaged", "")
	for _, v := range goldenDamaged(t) {
		t.Run(v.Case, func(t *testing.T) {
			t.Parallel()
			pkgdir := filepath.Join(m.dir, "cases", v.Case)
			putPackage(t, filepath.Join(pkgdir, v.File), v.data, 1700000000)
			o := m.try(t, []string{"PKGDIR=" + pkgdir}, "emaint", "binhost", "--fix")
			index := fileTree(t, pkgdir)["Packages"]
			if indexed := strings.Contains(index, "\nCPV: "); o.code != v.EmaintRC ||
				indexed != v.Indexed {
				t.Errorf("emaint: exit %d, indexed %v; the vector says %d, %v\n%s", o.code, indexed,
					v.EmaintRC, v.Indexed, o.text)
			}
		})
	}
}

// testPortageRefused puts all damaged packages into one host's PKGDIR, as instances of one version.
// The client must get the harmless ones at most, and real emaint nothing to complain about; some of
// the others would make it abort, and emerge hang or write outside of its directory.
func testPortageRefused(t *testing.T, s *portageStage) {
	drive := s.newDrive(t, "refused")
	host := s.machine(t, "refused-host", "")
	cases := goldenDamaged(t)
	path := func(i int) string {
		ext := ".gpkg.tar"
		if strings.HasSuffix(cases[i].File, ".tbz2") {
			ext = ".xpak"
		}
		return fmt.Sprintf("app-misc/labhello/labhello-1.0-r2-%d%s", i+1, ext)
	}
	for i, v := range cases {
		putPackage(t, filepath.Join(host.pkgdir, path(i)), v.data, 1700000000+int64(i))
	}
	host.sneak(t, 3, "export", drive, "--any-directory", "--name", "refused")

	m := s.machine(t, "refused", "")
	m.trust(t, drive)
	m.sneak(t, 0, "import", drive)
	got := packageFiles(t, m.pkgdir)
	for i, v := range cases {
		_, carried := got[path(i)]
		if carried && !v.harmless() {
			t.Errorf("%s was carried: emaint exit %d, indexed %v, emerge exit %d, written outside %q", v.Case, v.EmaintRC, v.Indexed, v.InstallRC, v.EvilFiles)
		}
		if !carried && slices.Contains([]string{"g00-good", "x00-good"}, v.Case) {
			t.Errorf("%s was not carried", v.Case)
		}
	}
	m.check(t, "")
	must(t, os.Remove(filepath.Join(m.pkgdir, "Packages")))
	if o := m.try(t, nil, "emaint", "binhost", "--fix"); o.code != 0 ||
		strings.Contains(o.text, "!!!") {
		t.Errorf("emaint binhost --fix: exit %d\n%s", o.code, o.text)
	}
	m.undisturbed(t)
}

func putPackage(t *testing.T, path string, data []byte, mtime int64) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, data, 0o644))
	must(t, os.Chtimes(path, time.Unix(mtime, 0), time.Unix(mtime, 0)))
}
