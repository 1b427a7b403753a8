package pkgdir

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pkgsneak/sync/digest"
)

// A misplaced file is a copy only if it has the name and the bytes of a package that was found.
func TestMisplacedCopies(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("app-misc/a/a-1-1.xpak", "one")
	write("app-arch/a/a-1-1.xpak", "oNe") // of the same name and size
	write("dev-libs/a/a-1-1.xpak", "one") // the same as the first that is found
	write("a-1-1.xpak", "one")
	write("All/a-1-1.xpak", "two")      // of the same size
	write("app-misc/a-1-2.xpak", "one") // another name
	if err := os.Mkdir(filepath.Join(dir, "sys-apps"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "app-misc/a/a-1-1.xpak"),
		filepath.Join(dir, "sys-apps/a-1-1.xpak")); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s, err := d.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.FindCopies(t.Context(), s, nil); err != nil {
		t.Fatal(err)
	}
	for _, m := range d.Missed(s, slices.Values([]string{"a-1-1.xpak"})) {
		if m.Path == "a-1-1.xpak" {
			t.Errorf("a copy that an index lists is missed: %q", m.Reason)
		}
	}
	var copies, misplaced []string
	for _, p := range s.Copies {
		copies = append(copies, p.Path+": "+p.Reason)
	}
	for _, p := range s.Misplaced {
		misplaced = append(misplaced, p.Path)
	}
	const same = ": the same package as app-misc/a/a-1-1.xpak"
	if want := []string{"a-1-1.xpak" + same, "sys-apps/a-1-1.xpak" + same}; !slices.Equal(copies,
		want) {
		t.Errorf("copies %q, want %q", copies, want)
	}
	if want := []string{"All/a-1-1.xpak", "app-misc/a-1-2.xpak"}; !slices.Equal(misplaced, want) {
		t.Errorf("misplaced %q, want %q", misplaced, want)
	}
}

// memo is a memory that never forgets.
type memo map[string]digest.Sums

func (m memo) Lookup(name string, _ fs.FileInfo) (digest.Sums, digest.Set, bool) {
	sums, ok := m[name]
	return sums, digest.BLAKE2B, ok
}

func (m memo) Put(name string, _ fs.FileInfo, sums digest.Sums, _ digest.Set) { m[name] = sums }

// copied is a PKGDIR of packages with a copy each.
func copied(t testing.TB, packages, size int) *Dir {
	t.Helper()
	dir := t.TempDir()
	for i := range packages {
		text := []byte(strings.Repeat(fmt.Sprintf("%07d\n", i), size/8))
		for _, name := range []string{"app-misc/a/a-%d-1.xpak", "All/a-%d-1.xpak"} {
			p := filepath.Join(dir, fmt.Sprintf(name, i))
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return openDir(t, dir)
}

func findCopies(t testing.TB, d *Dir, remembered Sums) int {
	t.Helper()
	s, err := d.Scan(t.Context())
	if err == nil {
		err = d.FindCopies(t.Context(), s, remembered)
	}
	if err != nil {
		t.Fatal(err)
	}
	return len(s.Copies)
}

// Copies whose digests are remembered are not read: neither to find them the same nor another.
func TestRememberedCopies(t *testing.T) {
	d := copied(t, 3, 64)
	m := memo{}
	if n := findCopies(t, d, m); n != 3 || len(m) != 6 {
		t.Fatalf("%d copies, %d remembered", n, len(m))
	}
	want := digest.Bytes([]byte(strings.Repeat("0000001\n", 8)))
	for _, name := range []string{"app-misc/a/a-1-1.xpak", "All/a-1-1.xpak"} {
		if m[name].Blake2b != want || m[name].Size != 64 {
			t.Errorf("%s is remembered as %x, %d bytes", name, m[name].Blake2b, m[name].Size)
		}
	}
	other := m["All/a-1-1.xpak"]
	other.Blake2b[0]++
	m["All/a-1-1.xpak"] = other
	if n := findCopies(t, d, m); n != 2 {
		t.Errorf("%d copies: what is remembered does not count", n)
	}
	p := filepath.Join(d.Path(), "All/a-2-1.xpak")
	if err := os.WriteFile(p, []byte(strings.Repeat("9999999\n", 8)), 0o644); err != nil {
		t.Fatal(err)
	}
	if n := findCopies(t, d, m); n != 2 {
		t.Errorf("%d copies: remembered ones are read", n)
	}
	delete(m, "All/a-2-1.xpak")
	if n := findCopies(t, d, m); n != 1 || len(m) != 5 {
		t.Errorf("%d copies, %d remembered, after one became another package", n, len(m))
	}
}

// BenchmarkFindCopies compares 64 packages of 4 MiB with their copies.
func BenchmarkFindCopies(b *testing.B) {
	d := copied(b, 64, 4<<20)
	for name, remembered := range map[string]Sums{"read": nil, "remembered": memo{}} {
		b.Run(name, func(b *testing.B) {
			findCopies(b, d, remembered)
			for b.Loop() {
				if n := findCopies(b, d, remembered); n != 64 {
					b.Fatal(n)
				}
			}
		})
	}
}
