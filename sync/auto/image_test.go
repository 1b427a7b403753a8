package auto

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// tool finds a program that administrators have in their PATH and tests may not.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/sbin/", "/usr/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	t.Skipf("SKIPPED: %s is not here", name)
	return ""
}

// image makes a file of the size with a file system by the command, whose last argument is the
// file.
func image(t *testing.T, megabytes int64, command ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, megabytes<<20); err != nil {
		t.Fatal(err)
	}
	if len(command) > 0 {
		run(t, tool(t, command[0]), append(command[1:], file)...)
	}
	return file
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}
