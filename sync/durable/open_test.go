package durable

import (
	"os"
	"path/filepath"
	"testing"
)

// A sparse file of more than 2 GiB, as a 32-bit program meets it: scripts/test runs this for 386.
func TestLargeFilesAreOpened(t *testing.T) {
	t.Parallel()
	const size = 2<<30 + 5
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "large"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "large"), size); err != nil {
		t.Skipf("NO FILE OF THIS SIZE CAN BE MADE HERE: %v", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	f, info, err := Open(root, "large")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if info.Size() != size {
		t.Errorf("%d bytes, expected %d", info.Size(), int64(size))
	}
	if f, err = OpenFile(root, "large", os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := f.WriteAt([]byte("end"), size-3); n != 3 || err != nil {
		t.Errorf("writing at the end: %d bytes, %v", n, err)
	}
}
