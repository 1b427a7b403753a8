package sandbox

import (
	"os"
	"path/filepath"
	"testing"
)

// An absent directory cannot be granted: the one above it is, but never the root directory.
func TestAbsentDirectories(t *testing.T) {
	dir := t.TempDir()
	for _, row := range []struct{ path, want string }{
		{dir, dir},
		{filepath.Join(dir, "a/b/c"), dir},
	} {
		if got, err := grantable(row.path); err != nil || got != row.want {
			t.Errorf("%q: %q, %v, want %q", row.path, got, err, row.want)
		}
	}
	for path, want := range map[string]string{dir: dir, filepath.Join(dir, "a/b/c"): dir,
		"/no/such/directory": "/no/such/directory"} {
		if got := readable(path); got != want {
			t.Errorf("to be read %q: %q, want %q", path, got, want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := grantable(filepath.Join(dir, "file")); err == nil {
		t.Error("a file was taken for a directory")
	}
}
