package binhost

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Both ways of opening, the kernel's and the one for old kernels, open regular files that no link
// leads to, and wait for nothing.
func TestOpenBeneath(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "dir")
	for _, d := range []string{"cat", "outside"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range map[string]string{"dir/cat/file": "file", "dir/top": "top",
		"secret": "secret"} {
		if err := os.WriteFile(filepath.Join(base, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"cat/out": "../../secret", "cat/in": "file",
		"link": "cat", "up": "..", "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	ways := map[string]func(string, string) (int, error){
		"openBeneath": func(dir, name string) (int, error) {
			fd, _, err := openBeneath(dir, name)
			return fd, err
		},
		"openStepwise": openStepwise,
	}
	for way, open := range ways {
		for name, want := range map[string]string{"cat/file": "file", "top": "top", "cat/out": "",
			"cat/in": "", "link/file": "", "up/secret": "", "up/dir/top": "", "loop": "",
			"fifo": "", "cat": "",
			"none": "", "top/file": "", "cat/none": ""} {
			fd, err := open(dir, name)
			got := ""
			if err == nil {
				buf := make([]byte, 10)
				n, rerr := unix.Read(fd, buf)
				if rerr != nil {
					t.Errorf("%s %s: %v", way, name, rerr)
				}
				got = string(buf[:max(n, 0)])
				unix.Close(fd)
			} else if !notThere(err) {
				t.Errorf("%s %s: %v, which is not taken for nothing there", way, name, err)
			}
			if got != want {
				t.Errorf("%s %s: %q, want %q", way, name, got, want)
			}
		}
	}
}
