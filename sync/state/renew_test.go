package state

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// The serials of a renewed origin start anew at the time of the renewal, and a later time is given
// up: at once, or by the next that opens the directory if the run ended in between.
func TestRenewExported(t *testing.T) {
	far, now := time.Date(2036, 3, 1, 12, 0, 0, 0, time.UTC), time.Date(2026, 3, 1, 12, 0,
		0, 0, time.UTC)
	for _, killed := range []bool{false, true} {
		dir := t.TempDir()
		open := func() *Dir {
			st, err := Open(t.Context(), dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			return st
		}
		st := open()
		if err := errors.Join(st.SaveExported("host", Exported{"/p", far.Unix()}),
			st.RaiseTime(far)); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(filepath.Join(dir, memoryName))
		if err != nil {
			t.Fatal(err)
		}
		if err := RenewExported(st, "host", "host-2", now); err != nil {
			t.Fatal(err)
		}
		if err := RenewExported(st, "host-2", "host", now); !errors.Is(err, fs.ErrExist) {
			t.Errorf("a former name is given again: %v", err)
		}
		st.Close()
		if killed { // after the first of the two files
			if err := os.WriteFile(filepath.Join(dir, memoryName), before, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		st = open()
		if got := st.Origins(); !slices.Equal(got, []string{"host-2"}) {
			t.Errorf("killed %t: origins %q", killed, got)
		}
		if e, _ := st.Exported("host-2"); e != (Exported{"/p", now.Unix()}) {
			t.Errorf("killed %t: exported %+v", killed, e)
		}
		if got := st.HighestTime(); !got.Equal(now) {
			t.Errorf("killed %t: highest time %v", killed, got)
		}
		if err := RenewExported(st, "host-2", "host-3", now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if names, err := FormerNames(st, "host-3"); err != nil ||
			!slices.Equal(names, []string{"host-2", "host"}) {
			t.Errorf("killed %t: former names %q, %v", killed, names, err)
		}
		st.Close()
	}
}

// A text that is parsed is written again byte for byte.
func FuzzRenewals(f *testing.F) {
	const key = "62F8B0D5A5A5C6D0B8E7F1A2B3C4D5E6F7A8B9C0"
	f.Add("pkgsneak renewed 1\nend\t0\n")
	f.Add("pkgsneak renewed 1\n- host\thost-2\t1772452800\n" + key + " a\\tb\tc\t-1\nend\t2\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, _, err := parseRenewals(text)
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := writeRenewals(&b, list); err != nil || b.String() != text {
			t.Errorf("%q became %q, %v", text, b.String(), err)
		}
	})
}

func FuzzDecisions(f *testing.F) {
	const key = "62F8B0D5A5A5C6D0B8E7F1A2B3C4D5E6F7A8B9C0"
	f.Add("pkgsneak decisions 1\nend\t0\n")
	f.Add("pkgsneak decisions 1\n" + key + "\tbighost\tnever\t-\t1772366400\nend\t1\n")
	f.Fuzz(func(t *testing.T, text string) {
		if list, line, err := parseDecisions(text); err != nil && (list != nil || line < 1) {
			t.Errorf("%q: %d decisions beside an error in line %d: %v", text, len(list), line, err)
		}
	})
}

func FuzzReplacing(f *testing.F) {
	f.Add([]byte(replacingHead + "62F8B0D5A5A5C6D0B8E7F1A2B3C4D5E6F7A8B9C0\t1772366400\nno key\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := parseReplacing(data); (r == nil) != (err != nil) {
			t.Errorf("%q: %v and %v", data, r, err)
		}
	})
}
