package state

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/digest"
)

func openRefusals(t *testing.T, st *Dir) *Refusals {
	t.Helper()
	r, err := OpenRefusals(st, "/var/cache/binpkgs", noon)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func saveRefusals(t *testing.T, r *Refusals) {
	t.Helper()
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
}

var someRefusal = Refusal{Reason: "no image\tin \\ it\n", Sum: digest.Blake2b{1, 2}, Rules: 2}

// A refusal holds for the file as it was.
func TestRefusalsOfUnchangedFiles(t *testing.T) {
	fi := fileStatus(5, lastYear, lastYear, 7)
	st := openDir(t, t.TempDir(), Options{})
	r := openRefusals(t, st)
	r.Put("a", fi, someRefusal)
	r.Put("without a sum", fi, Refusal{Reason: "x", Rules: 1})
	r.Put("by no rules", fi, Refusal{Reason: "x"})
	r.Put("just written", fileStatus(5, noon, noon, 7), someRefusal)
	saveRefusals(t, r)
	r = openRefusals(t, reopen(t, st))
	for _, tt := range []struct {
		name string
		now  *status
		want Refusal
	}{
		{"a", fi, someRefusal},
		{"without a sum", fi, Refusal{Reason: "x", Rules: 1}},
		{"by no rules", fi, Refusal{}},
		{"just written", fileStatus(5, noon, noon, 7), Refusal{}},
		{"b", fi, Refusal{}},
		{"a", fileStatus(6, lastYear, lastYear, 7), Refusal{}},
		{"a", fileStatus(5, lastYear.Add(1), lastYear, 7), Refusal{}},
		{"a", fileStatus(5, lastYear, lastYear.Add(time.Second), 7), Refusal{}},
		{"a", fileStatus(5, lastYear, lastYear, 8), Refusal{}},
	} {
		if got, ok := r.Lookup(tt.name, tt.now); got != tt.want || ok != (tt.want != Refusal{}) {
			t.Errorf("%s, %+v: %+v, %v", tt.name, tt.now, got, ok)
		}
	}
}

func TestRefusalsForgetWhatIsNotThere(t *testing.T) {
	fi := fileStatus(5, lastYear, lastYear, 7)
	st := openDir(t, t.TempDir(), Options{})
	r := openRefusals(t, st)
	r.Put("a", fi, someRefusal)
	r.Put("b", fi, someRefusal)
	saveRefusals(t, r)
	r = openRefusals(t, st)
	r.Lookup("a", fi)
	saveRefusals(t, r)
	r = openRefusals(t, st)
	if _, ok := r.Lookup("a", fi); !ok {
		t.Error("what was looked up is forgotten")
	}
	if _, ok := r.Lookup("b", fi); ok {
		t.Error("what nobody looked up is remembered")
	}
}

// Refusals only save reading: an odd file of them counts as none, and is written anew.
func TestRefusalsThatAreOddStartEmpty(t *testing.T) {
	for name, f := range map[string]func(string) string{
		"cut": func(s string) string { return s[:len(s)-5] },
		"other-version": func(s string) string {
			return strings.Replace(s, "refused 1", "refused 2", 1)
		},
		"number": func(s string) string { return strings.Replace(s, "\t5\t", "\t05\t", 1) },
		"sum":    func(s string) string { return strings.Replace(s, "\t0102", "\t01", 1) },
		"rules":  func(s string) string { return strings.Replace(s, "\t2\n", "\t0\n", 1) },
		"reason": func(s string) string { return strings.Replace(s, `\t`, `\x`, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			st, fi := openDir(t, t.TempDir(), Options{}), fileStatus(5, lastYear, lastYear, 7)
			r := openRefusals(t, st)
			r.Put("a", fi, someRefusal)
			saveRefusals(t, r)
			damage(t, filepath.Join(st.dir, r.name), f)
			r = openRefusals(t, st)
			if _, ok := r.Lookup("a", fi); ok {
				t.Error("hit")
			}
			r.Put("a", fi, someRefusal)
			saveRefusals(t, r)
			if _, ok := openRefusals(t, st).Lookup("a", fi); !ok {
				t.Error("not written anew")
			}
		})
	}
	t.Run("no file", func(t *testing.T) {
		st, fi := openDir(t, t.TempDir(), Options{}), fileStatus(5, lastYear, lastYear, 7)
		diary := filepath.Join(st.dir, refusedFile("/var/cache/binpkgs"), "diary")
		if err := os.MkdirAll(filepath.Dir(diary), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(diary, []byte("a person's"), 0o644); err != nil {
			t.Fatal(err)
		}
		r := openRefusals(t, st)
		r.Put("a", fi, someRefusal)
		saveRefusals(t, r)
		if _, err := os.Stat(diary); err != nil {
			t.Error(err)
		}
	})
}

func FuzzParseRefused(f *testing.F) {
	f.Add("pkgsneak refused 1\t/d\na\\t\tno \\nimage\t5\t1\t-2\t3\t" + strings.Repeat("0f", 64) +
		"\t2\nend\t1\n")
	f.Add("pkgsneak refused 1\t/d\na\t\t5\t1\t2\t3\t-\t1\nend\t1\n")
	// a sum that is not known has one form
	f.Add("pkgsneak refused 1\t/d\na\t\t5\t1\t2\t3\t" + strings.Repeat("00", 64) + "\t1\nend\t1\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, _, err := parseRemembered[refused](refusedTable("/d"), text)
		if err != nil {
			return
		}
		r := remembered[refused, *refused]{table: refusedTable("/d"), files: m}
		var b strings.Builder
		if err := r.write(&b); err != nil || b.String() != text {
			t.Errorf("%q was read, and is written as %q, %v", text, b.String(), err)
		}
	})
}
