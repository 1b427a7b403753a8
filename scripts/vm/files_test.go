package vm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// cpio itself reads the archive.
func TestArchive(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skipf("NOBODY READ THE ARCHIVE: %v", err)
	}
	var b bytes.Buffer
	a := &archive{w: &b, dirs: make(map[string]bool)}
	a.file("bin/deep/er/file", []byte("contents"))
	a.file("odd", []byte("123"))
	a.member("link", modeLink, 0, 0, []byte("odd"))
	a.member("TRAILER!!!", 0, 0, 0, nil)
	if a.err != nil {
		t.Fatal(a.err)
	}
	dir := t.TempDir()
	cmd := exec.Command("cpio", "-i", "--quiet", "--make-directories")
	cmd.Dir, cmd.Stdin = dir, &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	for name, want := range map[string]string{"bin/deep/er/file": "contents", "odd": "123",
		"link": "123"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// The libraries of a program are those that ld.so would load.
func TestLibraries(t *testing.T) {
	t.Parallel()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	out, err := exec.Command("ldd", sh).Output()
	if err != nil {
		t.Skipf("ldd does not say what sh needs: %v", err)
	}
	libs, err := libraries(sh)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		name, _, found := strings.Cut(strings.TrimSpace(line), " => ")
		if found && libs["/lib/"+name] == "" {
			t.Errorf("%s is missing among %v", name, libs)
		}
	}
}
