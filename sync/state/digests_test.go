package state

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/payload"
)

// status is a file's as the kernel tells it.
type status struct {
	fs.FileInfo // nil: no other method is called
	st          syscall.Stat_t
	mode        fs.FileMode
}

func (s *status) Size() int64       { return s.st.Size }
func (s *status) Mode() fs.FileMode { return s.mode }
func (s *status) Sys() any          { return &s.st }

func fileStatus(size int64, mtime, ctime time.Time, inode uint64) *status {
	return &status{st: syscall.Stat_t{
		Size: size, Ino: inode, Mtim: syscall.NsecToTimespec(mtime.UnixNano()),
		Ctim: syscall.NsecToTimespec(ctime.UnixNano()),
	}}
}

var (
	lastYear = noon.AddDate(-1, 0, 0)
	someSums = digest.Sums{MD5: [16]byte{0xab}, SHA1: [20]byte{0xcd}, Blake2b: [64]byte{0xef}}
)

func openCache(t *testing.T, st *Dir) *Cache {
	t.Helper()
	c, err := st.Cache("/var/cache/distfiles", noon)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCacheKnowsUnchangedFiles(t *testing.T) {
	before := fileStatus(5, lastYear, lastYear, 7)
	directory := fileStatus(5, lastYear, lastYear, 7)
	directory.mode = fs.ModeDir
	tests := []struct {
		name string
		file string
		now  *status
		hit  bool
	}{
		{"unchanged", "a", before, true},
		{"other-name", "b", before, false},
		{"size", "a", fileStatus(6, lastYear, lastYear, 7), false},
		{"mtime-by-a-nanosecond", "a", fileStatus(5, lastYear.Add(1), lastYear, 7), false},
		{"ctime-by-a-nanosecond", "a", fileStatus(5, lastYear, lastYear.Add(1), 7), false},
		{"inode", "a", fileStatus(5, lastYear, lastYear, 8), false},
		{"not-a-file", "a", directory, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := openDir(t, t.TempDir(), Options{})
			c := openCache(t, st)
			c.Put("a", before, someSums, digest.All)
			c.Approve("a", before, 3)
			if err := c.Save(); err != nil {
				t.Fatal(err)
			}
			c = openCache(t, reopen(t, st))
			if rules := c.Approved(tt.file, tt.now); (rules == 3) != tt.hit {
				t.Errorf("passed the rules %d", rules)
			}
			sums, set, hit := c.Lookup(tt.file, tt.now)
			if hit != tt.hit {
				t.Fatalf("hit %v", hit)
			}
			want := someSums
			want.Size = 5
			if hit && (sums != want || set != digest.All) {
				t.Errorf("sums %v of set %b", sums, set)
			}
		})
	}
}

// A verdict holds for the contents it was given for.
func TestCacheForgetsVerdicts(t *testing.T) {
	c := openCache(t, openDir(t, t.TempDir(), Options{}))
	fi, other := fileStatus(5, lastYear, lastYear, 7), fileStatus(6, lastYear, lastYear, 7)
	c.Approve("a", fi, 1) // whose digests are unknown
	if c.Approved("a", fi) != 0 {
		t.Error("a file without digests is approved")
	}
	c.Put("a", fi, someSums, digest.All)
	c.Approve("a", other, 1)
	if c.Approved("a", fi) != 0 || c.Approved("a", other) != 0 {
		t.Error("approved with another status")
	}
	c.Approve("a", fi, 1)
	c.Put("a", fi, someSums, digest.All)
	if c.Approved("a", fi) != 0 {
		t.Error("approved after its digests were computed anew")
	}
}

// A file that changed within a tick of the moment it was read could change again unseen.
func TestCacheDoesNotTrustRacyFiles(t *testing.T) {
	tests := []struct {
		name         string
		mtime, ctime time.Time
		hit          bool
	}{
		{"old", lastYear, lastYear, true},
		{"written-a-minute-ago", noon.Add(-time.Minute), noon.Add(-time.Minute), true},
		{"written-just-now", noon.Add(-time.Second), noon.Add(-time.Second), false},
		{"written-after-the-run-began", noon.Add(time.Minute), noon.Add(time.Minute), false},
		{"copied-in-just-now-with-old-mtime", lastYear, noon, true},
		{"copied-in-on-a-clock-of-1970", lastYear, time.Unix(100, 0), true},
		{"mtime-in-the-future", noon.AddDate(1, 0, 0), noon, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := openCache(t, openDir(t, t.TempDir(), Options{}))
			fi := fileStatus(5, tt.mtime, tt.ctime, 7)
			c.Put("a", fi, someSums, digest.All)
			if _, _, hit := c.Lookup("a", fi); hit != tt.hit {
				t.Errorf("hit %v", hit)
			}
		})
	}
}

func TestCachePartialSums(t *testing.T) {
	st := openDir(t, t.TempDir(), Options{})
	fi := fileStatus(5, lastYear, lastYear, 7)
	for set := range digest.All + 1 {
		c := openCache(t, st)
		name := fmt.Sprint("set", set)
		c.Put(name, fi, someSums, set|digest.SHA512)
		if err := c.Save(); err != nil {
			t.Fatal(err)
		}
		_, got, hit := openCache(t, st).Lookup(name, fi)
		if got != set || hit != (set != 0) {
			t.Errorf("set %b: %b, hit %v", set, got, hit)
		}
	}
}

func TestCacheForgetsWhatIsNotThere(t *testing.T) {
	st := openDir(t, t.TempDir(), Options{})
	fi := fileStatus(5, lastYear, lastYear, 7)
	c := openCache(t, st)
	odd := "odd\tname\n\\"
	for _, name := range []string{"a", "b", odd} {
		c.Put(name, fi, someSums, digest.All)
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	c = openCache(t, st)
	c.Lookup("a", fi)
	c.Lookup(odd, fi)
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	c = openCache(t, st)
	for name, want := range map[string]bool{"a": true, "b": false, odd: true} {
		if _, _, hit := c.Lookup(name, fi); hit != want {
			t.Errorf("%q: hit %v", name, hit)
		}
	}
	other, err := st.Cache("/elsewhere", noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, hit := other.Lookup("a", fi); hit {
		t.Error("a file of another directory is known")
	}
}

func TestCacheSavesOnlyChanges(t *testing.T) {
	st := openDir(t, t.TempDir(), Options{})
	fi := fileStatus(5, lastYear, lastYear, 7)
	c := openCache(t, st)
	c.Put("a", fi, someSums, digest.All)
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(st.dir, c.name)
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	c = openCache(t, st)
	c.Lookup("a", fi)
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("written although nothing changed: %v", err)
	}
}

func TestCacheThatIsOddStartsEmptyAndSaysSo(t *testing.T) {
	for name, f := range map[string]func(string) string{
		"cut": func(s string) string { return s[:len(s)-5] },
		"other-version": func(s string) string {
			return strings.Replace(s, "digests 2", "digests 3", 1)
		},
		"other-folder": func(s string) string {
			return strings.Replace(s, "distfiles", "binpkgs", 1)
		},
		"number": func(s string) string { return strings.Replace(s, "\t5\t", "\t05\t", 1) },
		"sum":    func(s string) string { return strings.Replace(s, "\tab", "\tAB", 1) },
		"no-sums": func(s string) string {
			i := strings.Index(s, "\tab")
			return s[:i] + "\t-\t-\t-\nend\t1\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := openDir(t, t.TempDir(), Options{})
			fi := fileStatus(5, lastYear, lastYear, 7)
			c := openCache(t, st)
			c.Put("a", fi, someSums, digest.All)
			if err := c.Save(); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(st.dir, c.name)
			damage(t, file, f)
			c = openCache(t, st)
			if c.lost == nil || !strings.Contains(c.lost.Error(), file) {
				t.Errorf("lost: %v", c.lost)
			}
			if _, _, hit := c.Lookup("a", fi); hit {
				t.Error("hit")
			}
			c.Put("a", fi, someSums, digest.All)
			if err := c.Save(); err != nil {
				t.Fatal(err)
			}
			if c = openCache(t, st); c.lost != nil {
				t.Errorf("after saving: %v", c.lost)
			}
		})
	}
}

func TestCacheOnRealFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	if err := os.WriteFile(file, []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, lastYear, lastYear); err != nil {
		t.Fatal(err)
	}
	c := openCache(t, openDir(t, t.TempDir(), Options{}))
	fi, err := os.Lstat(file)
	if err != nil {
		t.Fatal(err)
	}
	c.Put("a", fi, someSums, digest.All)
	if _, _, hit := c.Lookup("a", fi); !hit {
		t.Error("not known")
	}
	// The same size and mtime, other contents, the same file.
	if err := os.WriteFile(file, []byte("54321"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, lastYear, lastYear); err != nil {
		t.Fatal(err)
	}
	if fi, err = os.Lstat(file); err != nil {
		t.Fatal(err)
	}
	if _, _, hit := c.Lookup("a", fi); hit &&
		fi.Sys().(*syscall.Stat_t).Ctim != (syscall.Timespec{}) {
		t.Log("the kernel's clock did not tick between two writes")
	}
}

func FuzzParseDigests(f *testing.F) {
	e := &cached{
		stamped: stamped{stamp: durable.Stamp{Size: 5, Modified: 1, Changed: -2, Inode: 3}},
		md5:     someSums.MD5, blake2b: someSums.Blake2b,
		set: digest.MD5 | digest.BLAKE2B}
	var b strings.Builder
	err := digestsTable("/d").write(&b, 2, func(l []byte, i int) []byte {
		return e.appendRow(l, []string{"a\t\\", "b"}[i])
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.String())
	f.Add("pkgsneak digests 2\t/d\nend\t0\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, _, err := parseRemembered[cached](digestsTable("/d"), text)
		if err != nil {
			return
		}
		c := remembered[cached, *cached]{table: digestsTable("/d"), files: m}
		var b strings.Builder
		if err := c.write(&b); err != nil || b.String() != text {
			t.Errorf("%q was read, and is written as %q, %v", text, b.String(), err)
		}
	})
}

func FuzzParseImports(f *testing.F) {
	id := importsID{host, payload.Package}
	f.Add("pkgsneak imports 1\t" + string(host.Key) + "\tbighost\tpackages\na\\t\tb\t5\t" +
		strings.Repeat("0f", 64) + "\nend\t1\n")
	f.Add("pkgsneak imports 1\t" + string(host.Key) + "\tbighost\tpackages\nend\t0\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, _, err := parseImports(importsTable(id), text)
		if err != nil {
			return
		}
		var b strings.Builder
		if err := writeImports(&b, importsTable(id), m); err != nil || b.String() != text {
			t.Errorf("%q was read, and is written as %q, %v", text, b.String(), err)
		}
	})
}

func FuzzParseMemory(f *testing.F) {
	f.Add(`{"format":{"name":"pkgsneak memory","version":1}}
{"highest":"2026-03-01T12:00:00Z"}
{"seen":{"key":"AB","name":"bighost","serial":1,"manifest":"` + strings.Repeat("0f", 64) + `","highest":"2026-03-01T12:00:00Z"}}
{"imports":{"key":"AB","name":"bighost","kind":"packages","file":"imports/AB.bighost.packages"}}
{"exported":{"name":"bighost","pkgdir":"/var/cache/binpkgs","serial":1}}
{"run":{"when":"2026-03-01T12:00:00Z","verb":"import","result":"done","files":3,"bytes":12345}}
{"end":6}
`)
	f.Fuzz(func(t *testing.T, text string) {
		m, _, err := parseMemory([]byte(text))
		if err != nil {
			return
		}
		var one, two bytes.Buffer
		if m.write(&one) != nil {
			return // a time beyond the year 9999 by its zone
		}
		again, line, err := parseMemory(one.Bytes())
		if err != nil {
			t.Fatalf("%q was read, is written as %q, and then line %d: %v", text, &one, line, err)
		}
		if err := again.write(&two); err != nil || two.String() != one.String() {
			t.Errorf("%q was read, and is written as %q, then %q, %v", text, &one, &two, err)
		}
	})
}

// manyFiles is a cache file of n distfiles.
func manyFiles(tb testing.TB, n int) string {
	tb.Helper()
	var b strings.Builder
	err := digestsTable("/d").write(&b, n, func(l []byte, i int) []byte {
		e := &cached{stamped: stamped{stamp: durable.Stamp{Size: int64(i), Modified: 17e17,
			Changed: 17e17, Inode: uint64(i)}}, md5: someSums.MD5, sha1: someSums.SHA1,
			blake2b: someSums.Blake2b, set: digest.All}
		return e.appendRow(l, fmt.Sprintf("some-distfile-of-a-package-1.2.%06d.tar.xz", i))
	})
	if err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

func BenchmarkCacheOpen30000(b *testing.B) {
	text := manyFiles(b, 30_000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, _, err := parseRemembered[cached](digestsTable("/d"), text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCacheSave30000(b *testing.B) {
	m, _, err := parseRemembered[cached](digestsTable("/d"), manyFiles(b, 30_000))
	if err != nil {
		b.Fatal(err)
	}
	c := remembered[cached, *cached]{table: digestsTable("/d"), files: m}
	for b.Loop() {
		if err := c.write(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
