package ebuilds

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/durable/durabletest"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/watch"
)

// makeTree makes a tree: names that end in a slash are directories.
func makeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		at := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(at, 0o755))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(at), 0o755))
		must(t, os.WriteFile(at, []byte(text), 0o644))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// readTree is what is in a directory: names and contents.
func readTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		if d.IsDir() {
			tree[rel+"/"] = ""
			return nil
		}
		data, err := os.ReadFile(name)
		tree[rel] = string(data)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return tree
}

const day = 24 * time.Hour

var born = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// gentoo is a small tree of the day n.
func gentoo(n int) map[string]string {
	at := born.Add(time.Duration(n) * day)
	return map[string]string{
		"profiles/repo_name":                               "gentoo\n",
		"profiles/eapi":                                    "8\n",
		"profiles/arch.list":                               "amd64\n",
		"profiles/profiles.desc":                           "amd64 default/linux/amd64/23.0 stable\n",
		"profiles/default/linux/amd64/23.0/eapi":           "8\n",
		"profiles/default/linux/amd64/23.0/parent":         "../../../../base\n",
		"profiles/base/eapi":                               "7\n",
		"profiles/base/make.defaults":                      "ARCH=amd64\n",
		"metadata/layout.conf":                             "masters =\n",
		"metadata/timestamp.x":                             fmt.Sprintf("%d\n", at.Unix()),
		"metadata/md5-cache/app-misc/foo-" + fmt.Sprint(n): "SLOT=0\n",
		"app-misc/foo/foo-" + fmt.Sprint(n) + ".ebuild":    "EAPI=8\nSLOT=0\n",
		"app-misc/foo/Manifest":                            strings.Repeat("DIST x\n", n),
		"app-misc/foo/files/":                              "",
	}
}

// little is a smaller one.
func little(n int) map[string]string {
	return map[string]string{
		"profiles/repo_name":                     "gentoo\n",
		"profiles/default/linux/amd64/23.0/eapi": "8\n",
		"metadata/timestamp.x": fmt.Sprintf("%d\n",
			born.Add(time.Duration(n)*day).Unix()),
		"foo-" + fmt.Sprint(n): "EAPI=8\n",
	}
}

func overlay(n int) map[string]string {
	return map[string]string{
		"profiles/repo_name":                            "local\n",
		"metadata/layout.conf":                          "masters = gentoo\n",
		"app-misc/bar/bar-" + fmt.Sprint(n) + ".ebuild": "EAPI=8\n",
	}
}

// pack packs a tree as a host does.
func pack(t *testing.T, dir, name string) ([]byte, layout.Tree) {
	t.Helper()
	r := portage.RepoIn(dir)
	r.Name = name
	s, err := OpenSource(t.Context(), r, dir)
	must(t, err)
	defer s.Close()
	var b bytes.Buffer
	tree, err := s.Pack(t.Context(), &b, nil)
	must(t, err)
	tree.File = layout.ArchiveName(name, 1)
	return b.Bytes(), tree
}

func offerOf(t *testing.T, name string, serial int64, files map[string]string) Offer {
	t.Helper()
	dir := t.TempDir()
	makeTree(t, dir, files)
	packed, tree := pack(t, dir, name)
	return Offer{Name: name, Origin: "host", Serial: serial, Tree: tree, Size: int64(len(packed)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed)), nil }}
}

// client is a machine below a directory.
type client struct {
	root, state, proc string
}

func newClient(t *testing.T, tree map[string]string) client {
	t.Helper()
	c := client{root: t.TempDir(), state: t.TempDir(), proc: t.TempDir()}
	makeTree(t, c.root, map[string]string{
		"usr/lib/python3.12/site-packages/portage/const.py": "EAPI = 8\n",
		"usr/share/portage/config/repos.conf":               "[DEFAULT]\nmain-repo = gentoo\n[gentoo]\nlocation = /var/db/repos/gentoo\n",
		"usr/share/portage/config/make.globals":             "FEATURES=\"\"\n",
		"etc/portage/repos.conf/":                           "",
		"var/db/repos/":                                     "",
	})
	must(t, os.Symlink("../../var/db/repos/gentoo/profiles/default/linux/amd64/23.0",
		filepath.Join(c.root, "etc/portage/make.profile")))
	if tree != nil {
		makeTree(t, c.repo(), tree)
	}
	return c
}

func (c client) repo() string { return filepath.Join(c.root, "var/db/repos/gentoo") }

func (c client) site(t *testing.T, hook durable.Hook) *Site {
	t.Helper()
	s, err := portage.Load(t.Context(), portage.Options{Root: c.root})
	must(t, err)
	notes, err := ReadNotes(c.state, hook)
	must(t, err)
	return &Site{Settings: s, Notes: notes, Hook: hook, Proc: c.proc,
		Dirs:   map[string]string{"PKGDIR": filepath.Join(c.root, "var/cache/binpkgs")},
		Mounts: func() ([]watch.Mount, error) { return nil, nil }}
}

// bring is one import of repositories.
func (c client) bring(t *testing.T, hook durable.Hook, o Options,
	offers ...Offer) ([]*Step, []error) {
	t.Helper()
	s := c.site(t, hook)
	if err := s.Recover(); err != nil {
		return nil, []error{err}
	}
	steps, err := s.Plan(t.Context(), offers, o)
	if err != nil {
		return nil, []error{err}
	}
	var errs []error
	var coming []string
	for _, step := range steps {
		coming = append(coming, step.Name)
	}
	for _, step := range steps {
		var err error
		if step.Action == Take {
			_, err = s.Take(t.Context(), step, coming, o, nil)
		}
		errs = append(errs, err)
	}
	return steps, errs
}

func (c client) names(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.root, "var/db/repos"))
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func sameTree(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got := readTree(t, dir)
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s: %s has %q, want %q", dir, name, got[name], text)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok && !strings.HasSuffix(name, "/") {
			t.Errorf("%s has %s, which is not wanted", dir, name)
		}
	}
}

func TestPackUnpack(t *testing.T) {
	files := gentoo(3)
	files[".git/config"] = "x"
	files["distfiles/foo.tar"] = "x"
	files["packages/x"], files["local/y"] = "x", "x"
	files["sub/.git"] = "gitdir: x"
	files["eclass/ä b.eclass"] = strings.Repeat("long ", 200_000)
	files[strings.Repeat("d", 120)+"/"+strings.Repeat("f", 200)] = "PAX"
	dir := t.TempDir()
	makeTree(t, dir, files)
	must(t, os.Chmod(filepath.Join(dir, "app-misc/foo/Manifest"), 0o755))
	must(t, os.Symlink("Manifest", filepath.Join(dir, "app-misc/foo/link")))
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "app-misc/foo/out")))
	must(t, os.Symlink("foo", filepath.Join(dir, "app-misc/dirlink")))
	packed, tree := pack(t, dir, "gentoo")
	again, _ := pack(t, dir, "gentoo")
	if !bytes.Equal(packed, again) {
		t.Error("the same tree gave other bytes")
	}
	if tree.EAPI != "8" || !tree.HasCache || !tree.Timestamp.Equal(born.Add(3*day)) {
		t.Errorf("%+v", tree)
	}
	s, err := OpenSource(t.Context(), portage.RepoIn(dir), dir)
	must(t, err)
	if d, err := s.Digest(t.Context(), nil); err != nil || d != tree.Digest {
		t.Errorf("digest %s, packed %s: %v", d, tree.Digest, err)
	}
	if len(s.LeftOut()) != 2 {
		t.Errorf("left out: %q", s.LeftOut())
	}
	to := t.TempDir()
	root, err := durable.OpenRoot(to, nil)
	must(t, err)
	must(t, unpack(t.Context(), bytes.NewReader(packed), root, "new", &tree,
		Access{UID: -1, GID: -1, Dir: 0o750}, nil))
	want := maps.Clone(files)
	for _, name := range []string{".git/config", "distfiles/foo.tar", "packages/x",
		"local/y", "sub/.git"} {
		delete(want, name)
	}
	want["app-misc/foo/link"] = files["app-misc/foo/Manifest"]
	delete(want, "app-misc/foo/files/")
	sameTree(t, filepath.Join(to, "new"), want)
	fi, err := os.Stat(filepath.Join(to, "new/app-misc/foo/Manifest"))
	must(t, err)
	if fi.Mode().Perm() != 0o750 || !fi.ModTime().Equal(tree.Timestamp) {
		t.Errorf("mode %v, time %v", fi.Mode(), fi.ModTime())
	}
	if fi, _ := os.Stat(filepath.Join(to, "new/profiles/repo_name")); fi.Mode().Perm() != 0o640 {
		t.Errorf("mode of a file: %v", fi.Mode())
	}
	if fi, err := os.Stat(filepath.Join(to, "new/app-misc/foo/files")); err != nil || !fi.IsDir() ||
		!fi.ModTime().Equal(tree.Timestamp) {
		t.Errorf("an empty directory: %v %v", fi, err)
	}
	// The same tree with other times has the same digest, and another seal.
	must(t, os.Chtimes(filepath.Join(dir, "profiles/repo_name"), born, born))
	other, err := OpenSource(t.Context(), portage.RepoIn(dir), dir)
	must(t, err)
	if d, _ := other.Digest(t.Context(), nil); d != tree.Digest || other.Seal() == s.Seal() {
		t.Error("times are part of the digest, or none of the seal")
	}
}

// Whatever a run is ended before, the old tree or the new one has the name, whole, and the next run
// reaches the end and leaves nothing behind.
func TestKilledAnywhere(t *testing.T) {
	next := offerOf(t, "gentoo", 20, little(2))
	begin := func(t *testing.T) client {
		c := newClient(t, nil)
		if steps, errs := c.bring(t, nil, Options{},
			offerOf(t, "gentoo", 10, little(1))); errs[0] != nil || steps[0].Action != Take {
			t.Fatalf("%+v %v", steps[0], errs[0])
		}
		return c
	}
	t.Run("own tree", func(t *testing.T) {
		t.Parallel()
		killedAnywhere(t, begin, Options{}, next, little(1),
			[]string{".gentoo.pkgsneak-undo", "gentoo"})
	})
	t.Run("adopted", func(t *testing.T) {
		t.Parallel()
		killedAnywhere(t, func(t *testing.T) client { return newClient(t, little(1)) },
			Options{Adopt: []string{"gentoo"}}, next, little(1),
			[]string{"gentoo", "gentoo.before-pkgsneak"})
	})
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		killedAnywhere(t, func(t *testing.T) client { return newClient(t, nil) }, Options{}, next,
			nil, []string{"gentoo"})
	})
}

func killedAnywhere(t *testing.T, begin func(*testing.T) client, o Options, next Offer,
	old map[string]string, names []string) {
	rec := &durabletest.Recorder{}
	c := begin(t)
	if _, errs := c.bring(t, rec.Hook, o, next); errs[0] != nil {
		t.Fatal(errs[0])
	}
	changes := rec.Changes(filepath.Dir(c.repo()))
	exchange := slices.IndexFunc(changes, func(s string) bool {
		return strings.HasPrefix(s, "exchange gentoo ") || old == nil &&
			strings.HasSuffix(s, " gentoo")
	})
	sync := durabletest.Index(changes, "syncfs")
	if sync < 0 || exchange < sync || changes[exchange+1] != "fsync-dir ." {
		t.Fatalf("not in their order: %q", changes)
	}
	sawOld, sawNew := 0, 0
	for n := 1; n <= rec.Len(); n++ {
		c := begin(t)
		c.bring(t, durabletest.FailFrom(n, io.ErrClosedPipe), o, next)
		switch got := readTree(t, c.repo()); {
		case got["foo-2"] != "":
			sameTree(t, c.repo(), withoutDirs(little(2)))
			sawNew++
		case old == nil && len(got) == 0:
			sawOld++
		default:
			sameTree(t, c.repo(), withoutDirs(old))
			sawOld++
		}
		if old != nil && !adoptedKept(c, o, t) {
			t.Fatalf("ended before change %d: the user's tree is nowhere: %q", n, c.names(t))
		}
		steps, errs := c.bring(t, nil, o, next)
		if errs[0] != nil {
			t.Fatalf("ended before change %d (%s), then: %v", n, rec.All()[n-1], errs[0])
		}
		sameTree(t, c.repo(), withoutDirs(little(2)))
		if got := c.names(t); !slices.Equal(got, names) {
			t.Fatalf("ended before change %d (%s, then %s): left %q, want %q", n, rec.All()[n-1],
				steps[0].Action, got, names)
		}
	}
	if sawOld == 0 || sawNew == 0 {
		t.Errorf("%d runs ended before the exchange, %d after", sawOld, sawNew)
	}
}

// adoptedKept reports whether a tree of the user's is there under one of its names.
func adoptedKept(c client, o Options, t *testing.T) bool {
	if len(o.Adopt) == 0 {
		return true
	}
	for _, name := range c.names(t) {
		if readTree(t, filepath.Join(filepath.Dir(c.repo()), name))["foo-1"] != "" {
			return true
		}
	}
	return false
}

func withoutDirs(files map[string]string) map[string]string {
	files = maps.Clone(files)
	maps.DeleteFunc(files, func(name, _ string) bool { return strings.HasSuffix(name, "/") })
	return files
}

func TestWhoseTreeItIs(t *testing.T) {
	offer := offerOf(t, "gentoo", 20, gentoo(2))
	tests := []struct {
		name   string
		tree   map[string]string
		change func(t *testing.T, c client)
		o      Options
		action Action
		reason string
	}{
		{name: "none", action: Take},
		{name: "an empty directory", change: func(t *testing.T, c client) {
			must(t, os.Mkdir(c.repo(), 0o755))
		}, action: Take},
		{name: "of rsync", tree: gentoo(1), action: LeftAlone, reason: "did not bring"},
		{name: "a checkout", tree: map[string]string{"profiles/repo_name": "gentoo",
			".git/HEAD": "x"}, action: LeftAlone, reason: "git"},
		{name: "given", tree: gentoo(1), o: Options{Adopt: []string{"gentoo"}}, action: Take},
		{name: "newer", tree: gentoo(9), o: Options{Adopt: []string{"gentoo"}}, action: Refused,
			reason: "and the one here"},
		{name: "newer, and meant", tree: gentoo(9), o: Options{Adopt: []string{"gentoo"},
			AllowOlder: true}, action: Take},
		{name: "another directory", tree: map[string]string{"x": "y"}, action: LeftAlone,
			reason: "did not bring"},
		{name: "PKGDIR inside", tree: gentoo(1), o: Options{Adopt: []string{"gentoo"}},
			action: Refused, reason: "PKGDIR",
			change: func(t *testing.T, c client) {
				must(t, os.MkdirAll(filepath.Join(c.repo(), "packages"), 0o755))
				must(t, os.MkdirAll(filepath.Join(c.root, "var/cache"), 0o755))
				must(t, os.Symlink(filepath.Join(c.repo(), "packages"),
					filepath.Join(c.root, "var/cache/binpkgs")))
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t, tt.tree)
			if tt.change != nil {
				tt.change(t, c)
			}
			before := readTree(t, c.repo())
			steps, errs := c.bring(t, nil, tt.o, offer)
			if steps[0].Action != tt.action || !strings.Contains(steps[0].Reason, tt.reason) ||
				errs[0] != nil {
				t.Fatalf("%+v, %v", steps[0], errs[0])
			}
			if tt.action == Take {
				sameTree(t, c.repo(), withoutDirs(gentoo(2)))
				return
			}
			if len(steps[0].Hints) == 0 {
				t.Error("no way out is named")
			}
			sameTree(t, c.repo(), before)
		})
	}
}

func TestOwnTreeChanged(t *testing.T) {
	offer, next := offerOf(t, "gentoo", 10, gentoo(1)), offerOf(t, "gentoo", 20, gentoo(2))
	changes := map[string]func(t *testing.T, repo string){
		"a file edited": func(t *testing.T, repo string) {
			must(t, os.WriteFile(filepath.Join(repo, "app-misc/foo/Manifest"),
				[]byte("mine"), 0o644))
		},
		"a file added": func(t *testing.T, repo string) {
			must(t, os.WriteFile(filepath.Join(repo, "mine"), nil, 0o644))
		},
		"a file removed": func(t *testing.T, repo string) {
			must(t, os.Remove(filepath.Join(repo, "profiles/arch.list")))
		},
		"distfiles": func(t *testing.T, repo string) {
			must(t, os.Mkdir(filepath.Join(repo, "distfiles"), 0o755))
		},
		"a link": func(t *testing.T, repo string) {
			must(t, os.Symlink("x", filepath.Join(repo, "dangling")))
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, nil)
			c.bring(t, nil, Options{}, offer)
			change(t, c.repo())
			before := readTreeNoLinks(t, c.repo())
			if steps, _ := c.bring(t, nil, Options{}, next); steps[0].Action != LeftAlone ||
				!strings.Contains(steps[0].Reason, "changed here") {
				t.Fatalf("%+v", steps[0])
			}
			if steps, errs := c.bring(t, nil, Options{Adopt: []string{"gentoo"}},
				next); steps[0].Action != Take || errs[0] != nil {
				t.Fatalf("%+v %v", steps[0], errs)
			}
			if got := readTreeNoLinks(t, c.repo()+".before-pkgsneak"); !maps.Equal(got, before) {
				t.Errorf("kept %v, want %v", got, before)
			}
		})
	}
	t.Run("only its times and inodes", func(t *testing.T) { // it came back from a backup
		c := newClient(t, nil)
		c.bring(t, nil, Options{}, offer)
		must(t, os.Rename(c.repo(), c.repo()+".old"))
		must(t, os.CopyFS(c.repo(), os.DirFS(c.repo()+".old")))
		if steps, errs := c.bring(t, nil, Options{}, next); steps[0].Action != Take ||
			errs[0] != nil {
			t.Fatalf("%+v %v", steps[0], errs)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		c := newClient(t, nil)
		c.bring(t, nil, Options{}, offer)
		rec := &durabletest.Recorder{}
		if steps, _ := c.bring(t, rec.Hook, Options{}, offer); steps[0].Action != Unchanged ||
			rec.Len() > 0 {
			t.Fatalf("%+v, %v", steps[0], rec.All())
		}
		for n := int64(2); n < 5; n++ { // what is kept is deleted by the next
			if steps, errs := c.bring(t, nil, Options{}, offerOf(t, "gentoo", n*10,
				gentoo(int(n)))); steps[0].Action != Take || errs[0] != nil {
				t.Fatalf("%+v %v", steps[0], errs[0])
			}
		}
		if got := c.names(t); !slices.Equal(got, []string{".gentoo.pkgsneak-undo", "gentoo"}) {
			t.Errorf("%q", got)
		}
		sameTree(t, filepath.Join(filepath.Dir(c.repo()), ".gentoo.pkgsneak-undo"),
			withoutDirs(gentoo(3)))
	})
}

func readTreeNoLinks(t *testing.T, dir string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	must(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			data, _ := os.ReadFile(name)
			rel, _ := filepath.Rel(dir, name)
			tree[rel] = string(data)
		}
		return err
	}))
	return tree
}

func TestGuards(t *testing.T) {
	change := func(n int, changes map[string]string) map[string]string {
		files := gentoo(n)
		for name, text := range changes {
			if text == "" {
				maps.DeleteFunc(files, func(f, _ string) bool {
					return f == name ||
						strings.HasPrefix(f, name) && strings.HasSuffix(name, "/")
				})
			} else {
				files[name] = text
			}
		}
		return files
	}
	tests := []struct {
		name, reason, hint string
		files              map[string]string
	}{
		{"the profile vanished", "profile", "eselect profile set default/linux/amd64/26.0/23.0",
			change(2, map[string]string{
				"profiles/default/linux/amd64/23.0/":          "",
				"profiles/profiles.desc":                      "amd64 default/linux/amd64/26.0/23.0 stable\n",
				"profiles/default/linux/amd64/26.0/23.0/eapi": "8\n"})},
		{"a parent vanished", "base", "profile",
			change(2, map[string]string{"profiles/base/": ""})},
		{"the profile has an EAPI of the future", `EAPI "9"`, "emerge -1auDK sys-apps/portage",
			change(2, map[string]string{"profiles/base/eapi": "9\n"})},
		{"an EAPI that is no number", `EAPI "x-test"`, "sys-apps/portage",
			change(2, map[string]string{"profiles/eapi": "x-test\n"})},
		{"another name", `calls itself "other"`, "",
			change(2, map[string]string{"profiles/repo_name": "other\n"})},
		{"no name", `calls itself ""`, "", change(2, map[string]string{"profiles/repo_name": ""})},
		{"a master that is not here", `"kit"`, "--repos",
			change(2, map[string]string{"metadata/layout.conf": "masters = kit\n"})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t, nil)
			c.bring(t, nil, Options{}, offerOf(t, "gentoo", 10, gentoo(1)))
			offer := offerOf(t, "gentoo", 20, tt.files)
			_, errs := c.bring(t, nil, Options{}, offer)
			r := asRefusal(errs[0])
			if r == nil || !strings.Contains(r.Reason, tt.reason) ||
				!strings.Contains(strings.Join(r.Hints, "\n"), tt.hint) {
				t.Fatalf("%v: %#v", errs[0], r)
			}
			sameTree(t, c.repo(), withoutDirs(gentoo(1)))
			if got := c.names(t); !slices.Equal(got, []string{"gentoo"}) {
				t.Errorf("left behind: %q", got)
			}
		})
	}
}

func TestOverlayComesAlong(t *testing.T) {
	c := newClient(t, nil)
	steps, errs := c.bring(t, nil, Options{}, offerOf(t, "local", 10, overlay(1)),
		offerOf(t, "gentoo", 10, gentoo(1)))
	if len(steps) != 2 || steps[0].Name != "gentoo" || errors.Join(errs...) != nil {
		t.Fatalf("%v %v", steps, errs)
	}
	if steps[0].Conf != "" || !strings.Contains(steps[1].Conf, `[local]\nlocation = `) ||
		!strings.HasSuffix(steps[1].Conf, "repos.conf/local.conf") {
		t.Errorf("repos.conf: %q, %q", steps[0].Conf, steps[1].Conf)
	}
	// Portage does not name it yet, and it is not taken for the user's.
	stamped := func(n int) map[string]string {
		files := overlay(n)
		files["metadata/timestamp.x"] = fmt.Sprintf("%d\n", born.Add(time.Duration(n)*day).Unix())
		return files
	}
	steps, errs = c.bring(t, nil, Options{}, offerOf(t, "local", 20, stamped(2)))
	if steps[0].Action != Take || errs[0] != nil {
		t.Fatalf("%+v %v", steps[0], errs[0])
	}
	// The rules of the others are its own: no older one, none of another origin, none that was
	// edited.
	next := offerOf(t, "local", 30, stamped(3))
	for reason, does := range map[string]func() Offer{
		"and the one here of": func() Offer { return offerOf(t, "local", 30, stamped(1)) },
		`the origin "host"`: func() Offer {
			other := next
			other.Origin = "somebody"
			return other
		},
		"was changed here": func() Offer {
			makeTree(t, filepath.Join(filepath.Dir(c.repo()), "local"),
				map[string]string{"mine": "x"})
			return next
		},
	} {
		offer := does()
		steps, _ := c.bring(t, nil, Options{}, offer)
		if steps[0].Action != LeftAlone && steps[0].Action != Refused ||
			!strings.Contains(steps[0].Reason, reason) || len(steps[0].Hints) == 0 {
			t.Errorf("%s: %+v", reason, steps[0])
		}
		_ = os.Remove(filepath.Join(filepath.Dir(c.repo()), "local/mine"))
	}
}

func TestWaitsForPortage(t *testing.T) {
	c := newClient(t, nil)
	c.bring(t, nil, Options{}, offerOf(t, "gentoo", 10, gentoo(1)))
	next := offerOf(t, "gentoo", 20, gentoo(2))
	makeTree(t, c.proc, map[string]string{"4711/comm": "emerge\n", "self/comm": "pkgsneak\n",
		"1/comm": "init\n"})
	_, errs := c.bring(t, nil, Options{}, next)
	if !errors.Is(errs[0], ErrRunning) || !strings.Contains(errs[0].Error(), "process 4711") {
		t.Fatal(errs[0])
	}
	sameTree(t, c.repo(), withoutDirs(gentoo(1)))
	must(t, os.RemoveAll(filepath.Join(c.proc, "4711")))
	opened := 0
	read := next.Open
	next.Open = func() (io.ReadCloser, error) { opened++; return read() }
	if _, errs := c.bring(t, nil, Options{}, next); errs[0] != nil || opened != 0 {
		t.Fatalf("%v; the archive was read %d times, and the tree was there", errs[0], opened)
	}
	sameTree(t, c.repo(), withoutDirs(gentoo(2)))
}

func TestGoBack(t *testing.T) {
	first, next := offerOf(t, "gentoo", 10, little(1)), offerOf(t, "gentoo", 20, little(2))
	begins := map[string]struct {
		begin func(t *testing.T) client
		o     Options
		old   map[string]string
		after []string
	}{
		"own": {func(t *testing.T) client {
			c := newClient(t, nil)
			c.bring(t, nil, Options{}, first)
			return c
		}, Options{}, little(1), []string{"gentoo"}},
		"the user's": {func(t *testing.T) client { return newClient(t, little(1)) },
			Options{Adopt: []string{"gentoo"}}, little(1), []string{"gentoo"}},
		"none": {func(t *testing.T) client { return newClient(t, nil) }, Options{}, nil, nil},
	}
	for name, tt := range begins {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ready := func(t *testing.T) client {
				c := tt.begin(t)
				if _, errs := c.bring(t, nil, tt.o, next); errs[0] != nil {
					t.Fatal(errs[0])
				}
				return c
			}
			rec := &durabletest.Recorder{}
			s := ready(t).site(t, rec.Hook)
			if len(s.Notes.Reverts("")) != 1 {
				t.Fatalf("%+v", s.Notes.All()[0])
			}
			must(t, s.GoBack(t.Context(), "gentoo"))
			for n := 1; n <= rec.Len(); n++ {
				c := ready(t)
				_ = c.site(t, durabletest.FailFrom(n, io.ErrClosedPipe)).GoBack(t.Context(),
					"gentoo")
				s := c.site(t, nil)
				must(t, s.Recover())
				if len(s.Notes.Reverts("")) == 1 {
					sameTree(t, c.repo(), withoutDirs(little(2)))
					must(t, s.GoBack(t.Context(), "gentoo"))
				}
				if tt.old != nil {
					sameTree(t, c.repo(), withoutDirs(tt.old))
				}
				if got := c.names(t); !slices.Equal(got, tt.after) {
					t.Fatalf("ended before %s: left %q", rec.All()[n-1], got)
				}
				if asRefusal(s.GoBack(t.Context(), "gentoo")) == nil {
					t.Fatal("it was taken back twice")
				}
			}
		})
	}
	t.Run("changed since", func(t *testing.T) {
		c := newClient(t, nil)
		c.bring(t, nil, Options{}, first)
		c.bring(t, nil, Options{}, next)
		makeTree(t, c.repo(), map[string]string{"mine": "x"})
		if r := asRefusal(c.site(t, nil).GoBack(t.Context(), "gentoo")); r == nil ||
			!strings.Contains(r.Reason, "mine") {
			t.Fatalf("%v", r)
		}
	})
}

func TestNotesRefused(t *testing.T) {
	for name, text := range map[string]string{
		"a newer program's":         `{"format":2}`,
		"no JSON":                   `{`,
		"a directory of the user's": `{"format":1,"here":[{"name":"gentoo","location":"/var/db/repos/gentoo","coming":{"dir":"../../home"}}]}`,
		"the location itself":       `{"format":1,"here":[{"name":"gentoo","location":"/var/db/repos/gentoo","kept":{"dir":"gentoo"}}]}`,
		"the root directory":        `{"format":1,"here":[{"name":"gentoo","location":"/"}]}`,
	} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, NotesName), []byte(text), 0o644))
		var e *NotesError
		if _, err := ReadNotes(dir, nil); !errors.As(err, &e) || len(e.Hints("")) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// asRefusal finds the refusal in an error.
func asRefusal(err error) *Refusal {
	var r *Refusal
	errors.As(err, &r)
	return r
}
