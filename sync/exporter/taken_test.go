package exporter

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A name that the host has no file of is free only if nothing has it, and none of its directories
// leads elsewhere.
func TestInPlaceOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.MkdirAll(at("app-misc/dir-1.tbz2"), 0o755),
		os.Symlink("/nowhere", at("app-arch")), os.Symlink("app-misc", at("app-doc")),
		os.WriteFile(at("app-text"), []byte("x"), 0o644), os.WriteFile(at("app-misc/empty-1.tbz2"),
			nil, 0o644), os.WriteFile(at("app-misc/new-1.tbz2"), []byte("x"), 0o644),
		syscall.Mkfifo(at("app-misc/fifo-1.tbz2"), 0o600), os.Symlink("new-1.tbz2",
			at("app-misc/link-1.tbz2"))); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	d := &payloadDir{path: dir, root: root}
	for name, want := range map[string]string{
		"app-misc/gone-1.tbz2": "", "app-none/gone-1.tbz2": "", "gone.tar": "", "app-misc/" +
			strings.Repeat("x", 300): "",
		"app-misc/dir-1.tbz2": "directory", "app-misc/empty-1.tbz2": "empty",
		"app-misc/fifo-1.tbz2": "regular", "app-misc/link-1.tbz2": "link",
		"app-arch/foo-1.tbz2": "not followed", "app-doc/foo-1.tbz2": "not followed",
		"app-text/foo-1.tbz2": "no directory", "app-misc/new-1.tbz2": "appeared",
	} {
		if got := d.inPlaceOf(name); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%.40s: %q, want %q", name, got, want)
		}
	}
}
