package undo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/ebuilds"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/portage"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, []byte(text), 0o644))
	}
}

// bringTree lets a machine import a repository whose ebuild has that number.
func bringTree(t *testing.T, m machine.Machine, n int) {
	t.Helper()
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{
		"profiles/repo_name":                     "gentoo\n",
		"profiles/default/linux/amd64/23.0/eapi": "8\n",
		"metadata/timestamp.x": fmt.Sprintf("%d\n",
			time.Date(2026, 3, n, 0, 0, 0, 0, time.UTC).Unix()),
		"ebuild": fmt.Sprint(n),
	})
	r := portage.RepoIn(dir)
	r.Name = "gentoo"
	source, err := ebuilds.OpenSource(t.Context(), r, dir)
	must(t, err)
	defer source.Close()
	var b bytes.Buffer
	tree, err := source.Pack(t.Context(), &b, nil)
	must(t, err)
	tree.File = layout.ArchiveName("gentoo", 1)
	site, err := readTrees(m, Options{}, "")
	must(t, err)
	offer := ebuilds.Offer{Name: "gentoo", Origin: "host", Serial: int64(n), Tree: tree,
		Size: int64(b.Len()),
		Open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(b.Bytes())), nil
		}}
	steps, err := site.site.Plan(t.Context(), []ebuilds.Offer{offer}, ebuilds.Options{})
	must(t, err)
	if len(steps) != 1 || steps[0].Action != ebuilds.Take {
		t.Fatalf("%+v", steps[0])
	}
	_, err = site.site.Take(t.Context(), steps[0], []string{"gentoo"}, ebuilds.Options{}, nil)
	must(t, err)
}

// A repository that an import replaced goes back, without a package that came with it too; one that
// was changed since stays, with the reason.
func TestRepositoriesGoBack(t *testing.T) {
	root := t.TempDir()
	writeTree(t, root, map[string]string{
		"usr/lib/python3.12/site-packages/portage/const.py": "EAPI = 8\n",
		"usr/share/portage/config/repos.conf":               "[DEFAULT]\nmain-repo = gentoo\n[gentoo]\nlocation = /var/db/repos/gentoo\n",
		"usr/share/portage/config/make.globals":             "FEATURES=\"\"\n",
		"etc/portage/x":                                     "",
		"var/db/repos/x":                                    "",
	})
	must(t, os.Symlink("../../var/db/repos/gentoo/profiles/default/linux/amd64/23.0",
		filepath.Join(root, "etc/portage/make.profile")))
	settings, err := portage.Load(t.Context(), portage.Options{Root: root})
	must(t, err)
	m := machine.Machine{Settings: settings, StateDir: t.TempDir(), PKGDIR: filepath.Join(root,
		"packages"), DISTDIR: filepath.Join(root, "distfiles"), Now: time.Now, Proc: t.TempDir()}
	ebuild := filepath.Join(root, "var/db/repos/gentoo/ebuild")
	holds := func(want string) {
		t.Helper()
		if text, err := os.ReadFile(ebuild); err != nil || string(text) != want {
			t.Fatalf("the repository holds %q, %v; want %q", text, err, want)
		}
	}
	bringTree(t, m, 1)
	bringTree(t, m, 2)
	holds("2")
	r, err := Undo(t.Context(), m, Options{Pretend: true}, nil)
	if err != nil || r.Unchanged || len(r.Repositories) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	holds("2")
	r, err = Undo(t.Context(), m, Options{}, nil)
	if err != nil || r.Unchanged || r.Repositories[0].Reason != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	holds("1")
	if r, err := Undo(t.Context(), m, Options{}, nil); err != nil || !r.Unchanged {
		t.Fatalf("undone twice: %+v, %v", r, err)
	}
	// A run that was ended here is finished by the next one, which has to get there although it is
	// confined.
	if t2, err := readTrees(m, Options{Pretend: true}, ""); err != nil ||
		!slices.Contains(t2.places(), filepath.Join(root, "var/db/repos")) {
		t.Fatalf("%v, %v", t2.places(), err)
	}
	bringTree(t, m, 3)
	must(t, os.WriteFile(ebuild, []byte("mine"), 0o644))
	if r, err = Undo(t.Context(), m, Options{}, nil); err != nil ||
		r.Repositories[0].Reason == "" || len(r.Repositories[0].Hints) != 1 {
		t.Fatalf("changed since: %+v, %v", r, err)
	}
	holds("mine")
	// the way out that it names: the line lets them change places, and there is nothing to do then
	line := r.Repositories[0].Hints[0]
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	holds("1")
	if r, err := Undo(t.Context(), m, Options{}, nil); err != nil ||
		r.Repositories[0].Reason != "" {
		t.Fatalf("put back by hand: %+v, %v", r, err)
	}
	if r, err := Undo(t.Context(), m, Options{}, nil); err != nil || !r.Unchanged {
		t.Fatalf("and then: %+v, %v", r, err)
	}
	// the tree is import's, as it was before
	bringTree(t, m, 4)
	holds("4")
	must(t, os.RemoveAll(filepath.Join(root, "var/db/repos/.gentoo.pkgsneak-undo")))
	if r, err := Undo(t.Context(), m, Options{}, nil); err != nil ||
		!strings.Contains(r.Repositories[0].Reason, "is gone") {
		t.Fatalf("what was kept is gone: %+v, %v", r, err)
	}
	if r, err := Undo(t.Context(), m, Options{}, nil); err != nil || !r.Unchanged {
		t.Fatalf("and then: %+v, %v", r, err)
	}
	holds("4")

	// Notes that cannot be read end it before anything changes.
	must(t, os.WriteFile(filepath.Join(m.StateDir, ebuilds.NotesName), []byte("{"), 0o644))
	var odd *ebuilds.NotesError
	if _, err := Undo(t.Context(), m, Options{}, nil); !errors.As(err, &odd) {
		t.Errorf("%v", err)
	}
}
