package durable_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/durable/durabletest"
)

func hello(w io.Writer) error {
	_, err := io.WriteString(w, "hello")
	return err
}

func sameOrder(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("changes:\n%q\nwant:\n%q", got, want)
	}
}

// The name shows the new contents only when they are on the disk, and WriteFile returns only when
// the name is.
func TestOrderOfWriteFile(t *testing.T) {
	dir := t.TempDir()
	rec := &durabletest.Recorder{}
	root, err := durable.OpenRoot(dir, rec.Hook)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := root.WriteFile("d/a", durable.Attr{Mode: 0o640, UID: -1, GID: -1},
		hello); err != nil {
		t.Fatal(err)
	}
	sameOrder(t, rec.Changes(dir), []string{
		"create d/.a.pkgsneak-", "write d/.a.pkgsneak-", "chmod d/.a.pkgsneak-",
		"fsync d/.a.pkgsneak-",
		"rename d/.a.pkgsneak- d/a", "fsync-dir d",
	})
}

// If any single operation fails, the old contents stay complete or the new ones are, and nothing is
// left behind.
func TestWriteFileWithEachOperationFailing(t *testing.T) {
	for n, failed := 1, true; failed; n++ {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a"), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		rec := (&durabletest.Recorder{}).Then(durabletest.FailAt(n, unix.ENOSPC))
		root, err := durable.OpenRoot(dir, rec.Hook)
		if err != nil {
			t.Fatal(err)
		}
		err = root.WriteFile("a", durable.Attr{Mode: 0o600, UID: -1, GID: -1}, hello)
		root.Close()
		if failed = rec.Len() >= n; failed != errors.Is(err, unix.ENOSPC) {
			t.Errorf("operation %d: %v", n, err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "a"))
		if err != nil || string(got) != "old" && string(got) != "hello" {
			t.Errorf("operation %d: %q, %v", n, got, err)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 1 {
			t.Errorf("operation %d left %v, %v", n, left, err)
		}
		if !failed && n < 6 {
			t.Errorf("only %d operations", n)
		}
	}
}

func TestOrderOfSyncFiles(t *testing.T) {
	dir := t.TempDir()
	rec := &durabletest.Recorder{}
	root, err := durable.OpenRoot(dir, rec.Hook)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"b", "a"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := root.SyncFiles(t.Context(), []string{"b", "a"}); err != nil {
		t.Fatal(err)
	}
	if err := root.MoveNew("b", "c"); err != nil {
		t.Fatal(err)
	}
	if err := root.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	sameOrder(t, rec.Changes(dir), []string{"fsync a", "fsync b", "rename b c", "fsync-dir ."})
}

// Of many the whole file system is written first, after which each is asked as always.
func TestOrderOfManySyncs(t *testing.T) {
	dir := t.TempDir()
	rec := &durabletest.Recorder{}
	root, err := durable.OpenRoot(dir, rec.Hook)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var names, want []string
	for i := range 64 {
		name := fmt.Sprintf("%02d", i)
		names, want = append(names, name), append(want, "fsync "+name)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := root.SyncFiles(t.Context(), names); err != nil {
		t.Fatal(err)
	}
	got := rec.Changes(dir)
	if len(got) == 0 || got[0] != "syncfs ." {
		t.Fatalf("it does not begin with the file system: %q", got)
	}
	got = got[1:]
	slices.Sort(got) // several at a time
	sameOrder(t, got, want)
}

// Each of them asks the kernel, and does not only tell a hook (SyncFiles, whose work is done by
// others, has a test of its own).
func TestSyncsReachTheKernel(t *testing.T) {
	root, err := durable.OpenRoot(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	plain := durable.Attr{Mode: 0o600, UID: -1, GID: -1}
	f, err := root.Create("b", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = durabletest.FailSyncs(func() {
		for name, got := range map[string]error{
			"a file":                 f.Sync(),
			"a directory":            root.SyncDir("."),
			"a file system":          durable.Syncfs(root),
			"what gets another name": root.WriteFile("a", plain, hello),
		} {
			if !errors.Is(got, unix.EIO) {
				t.Errorf("%s: %v, and the kernel failed each fsync", name, got)
			}
		}
	})
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
}
