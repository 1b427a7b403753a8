package drive

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckPlaces(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	for _, dir := range []string{"usb/pkgsneak/keys", "usb/pkgsneak/host/packages", "usb/binpkgs",
		"new/pkgsneak", "own"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"usb/pkgsneak/README.txt", "file"} {
		if err := os.WriteFile(filepath.Join(top, file), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("usb/pkgsneak/host", filepath.Join(top, "link")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ pkgdir, distdir, want string }{
		{"own", "", ""}, {"own/new", "own", ""}, {"usb/binpkgs", "usb/distfiles", ""},
		{"nosuch/deep", "", ""},
		{"file", "", "not a directory"}, {"", "file", "not a directory"},
		{"usb/pkgsneak", "", "lies in the tree"},
		{"usb/pkgsneak/host/packages", "", "lies in the tree"},
		{"own", "usb/pkgsneak/new/deep", "lies in the tree"},
		{"link/packages", "", "lies in the tree"}, {"link", "", "lies in the tree"},
		// of a drive that was named: no export has been there yet
		{"new/pkgsneak/x", "", "lies in the tree"},
	} {
		at := func(name string) string {
			if name == "" {
				return ""
			}
			return filepath.Join(top, name)
		}
		err := CheckPlaces(at(tt.pkgdir), at(tt.distdir), at("new"))
		if got := ""; err != nil {
			got = err.Error()
			if tt.want == "" || !strings.Contains(got, tt.want) {
				t.Errorf("%q, %q: %v", tt.pkgdir, tt.distdir, err)
			}
		} else if tt.want != got {
			t.Errorf("%q, %q: accepted", tt.pkgdir, tt.distdir)
		}
	}
}

// A directory lies on a drive that has a tree further up, unless it has one itself.
func TestTreeAbove(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	for _, dir := range []string{"usb/pkgsneak/keys", "usb/a/b", "usb/own/pkgsneak", "usb/own/c",
		"other"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(top, "usb/pkgsneak/README.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("usb/a", filepath.Join(top, "link")); err != nil {
		t.Fatal(err)
	}
	usb := filepath.Join(top, "usb")
	for dir, want := range map[string]string{"usb": "", "usb/a": usb, "usb/a/b": usb, "link": usb,
		"usb/own": "", "usb/own/c": usb, "other": "", "nosuch": ""} {
		if got := TreeAbove(filepath.Join(top, dir)); got != want {
			t.Errorf("above %s: %q, want %q", dir, got, want)
		}
	}
}
