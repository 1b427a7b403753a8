package pkgdir

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
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
	if err := d.FindCopies(t.Context(), s); err != nil {
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
