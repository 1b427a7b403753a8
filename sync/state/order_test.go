package state

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pkgsneak/sync/durable/durabletest"
	"pkgsneak/sync/payload"
)

// Each state file is on the disk before it has its name, and the name before the next step.
func TestOrderOfSaving(t *testing.T) {
	dir := t.TempDir()
	rec := &durabletest.Recorder{}
	st := openDir(t, dir, Options{Hook: rec.Hook})
	rec.Reset()
	if err := st.saveImports(host, payload.Package,
		map[string]Import{"app-misc/a-1.tbz2": {"app-misc/a-1.tbz2", 3, sum1}}); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range []string{memoryName,
		importsFile(importsID{host, payload.Package}), memoryName} {
		if path := filepath.Dir(name); path != "." {
			want = append(want, "mkdir "+path)
		}
		temp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".pkgsneak-")
		want = append(want, "create "+temp, "write "+temp, "chmod "+temp, "fsync "+temp,
			"rename "+temp+" "+name, "fsync-dir "+filepath.Dir(name))
	}
	if got := rec.Changes(dir); !slices.Equal(got, want) {
		t.Errorf("changes:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The note that was made before names changed goes only when the imports are on the disk, and is
// gone before anything else is remembered.
func TestOrderOfSettling(t *testing.T) {
	dir := t.TempDir()
	rec := &durabletest.Recorder{}
	st := openDir(t, dir, Options{Hook: rec.Hook})
	rows := map[string]Import{"app-misc/a-1.tbz2": {"app-misc/a-1.tbz2", 3, sum1}}
	pending := st.Pending(host, payload.Package)
	if err := pending.Save(rows); err != nil {
		t.Fatal(err)
	}
	rec.Reset()
	if err := pending.Settle(rows); err != nil {
		t.Fatal(err)
	}
	id := importsID{host, payload.Package}
	imports, note := importsFile(id), pendingFile(id)
	got := rec.Changes(dir)
	at := slices.Index(got, "fsync-dir "+filepath.Dir(imports))
	if want := []string{"unlink " + note, "fsync-dir " + filepath.Dir(note)}; at < 0 ||
		!slices.Equal(got[max(0, len(got)-2):], want) || at > len(got)-2 {
		t.Errorf("changes:\n%s", strings.Join(got, "\n"))
	}
}
