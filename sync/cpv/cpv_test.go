package cpv

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"
)

// rows reads a table made by real Portage: tab-separated fields.
func rows(t testing.TB, name string) [][]string {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all [][]string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		all = append(all, strings.Split(lines.Text(), "\t"))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return all
}

// TestCompareAsPortage: the sign of portage.versions.vercmp, both ways round.
func TestCompareAsPortage(t *testing.T) {
	for _, r := range rows(t, "vercmp.tsv") {
		want, err := strconv.Atoi(r[2])
		if err != nil {
			t.Fatal(err)
		}
		if got := CompareVersions(r[0], r[1]); got != want {
			t.Errorf("%s against %s: %d, Portage says %d", r[0], r[1], got, want)
		}
		if got := CompareVersions(r[1], r[0]); got != -want {
			t.Errorf("%s against %s: %d, Portage says %d", r[1], r[0], got, -want)
		}
	}
}

// TestParseAsPortage: what portage.versions.catpkgsplit makes of the name
// ("-": not a package).
func TestParseAsPortage(t *testing.T) {
	for _, r := range rows(t, "catpkgsplit.tsv") {
		c, err := Parse(r[0])
		if r[1] == "-" {
			if err == nil {
				t.Errorf("%q: read as %+v, Portage refuses it", r[0], c)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v, Portage reads it", r[0], err)
			continue
		}
		version := r[3] // Portage invents r0 where there is no revision.
		if strings.HasSuffix(r[0], "-"+r[4]) {
			version += "-" + r[4]
		}
		if c.Category != r[1] || c.PN != r[2] || c.Version != version ||
			c.Category+"/"+c.PF != r[0] {
			t.Errorf("%q: read as %+v, Portage says %q", r[0], c, r[1:])
		}
	}
}

func TestWhatIsNoVersion(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		want       int
	}{
		{"older than any version", "live", "0_alpha", -1},
		{"newer than what is none", "0_alpha", "live", 1},
		{"both none: bytewise", "live", "mirror", -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := CompareVersions(c.a, c.b); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	long := strings.Repeat("a", MaxLength-2)
	if _, _, ok := SplitPF(long + "-1"); !ok {
		t.Errorf("a PF of %d bytes is refused", MaxLength)
	}
	if _, _, ok := SplitPF(long + "-10"); ok {
		t.Errorf("a PF of %d bytes is accepted", MaxLength+1)
	}
	if ValidCategory(strings.Repeat("a", MaxLength+1)) {
		t.Errorf("a category of %d bytes is accepted", MaxLength+1)
	}
	for s, want := range map[string]bool{"1.0-r2": true, "1.0-r2-r2": false, "": false} {
		if _, ok := parseVersion(s); ok != want {
			t.Errorf("%q is a version: %v", s, ok)
		}
	}
}

// FuzzParse: what parses comes back as the same string, and its version is one.
func FuzzParse(f *testing.F) {
	for _, r := range rows(f, "catpkgsplit.tsv") {
		f.Add(r[0])
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Parse(s)
		if err != nil {
			return
		}
		_, ok := parseVersion(c.Version)
		if c.Category+"/"+c.PF != s || c.PN+"-"+c.Version != c.PF || !ok ||
			!ValidCategory(c.Category) {
			t.Errorf("%q: %+v", s, c)
		}
	})
}

// FuzzCompare: the order is antisymmetric and a version equals itself.
func FuzzCompare(f *testing.F) {
	for _, r := range rows(f, "vercmp.tsv")[:50] {
		f.Add(r[0], r[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if CompareVersions(a, b) != -CompareVersions(b, a) || CompareVersions(a, a) != 0 {
			t.Errorf("%q and %q have no order", a, b)
		}
	})
}

func BenchmarkSplitPF(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		SplitPF("openssh-1.2.3_alpha4-r10")
	}
}
