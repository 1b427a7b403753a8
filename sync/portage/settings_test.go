package portage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// load puts files below a root and reads the machine there.
func load(t testing.TB, files, env map[string]string) *Settings {
	t.Helper()
	root := t.TempDir()
	putMachine(t, root, files)
	s, err := Load(t.Context(), Options{Root: root, Env: mapEnv(env)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDirectoriesWhenNothingSays(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		files, env      map[string]string
		pkgdir, distdir string
	}{
		{"nothing there", nil, nil, "/var/cache/binpkgs", "/var/cache/distfiles"},
		{"gentoo", map[string]string{"/var/cache/binpkgs": "dir", "/usr/portage/packages": "dir"},
			nil, "/var/cache/binpkgs", "/var/cache/distfiles"},
		{"funtoo", map[string]string{"/var/cache/portage/packages": "dir",
			"/var/cache/portage/distfiles": "dir"}, nil, "/var/cache/portage/packages",
			"/var/cache/portage/distfiles"},
		{"old", map[string]string{"/usr/portage/packages": "dir", "/usr/portage/distfiles": "dir"},
			nil, "/usr/portage/packages", "/usr/portage/distfiles"},
		{"behind an absolute link", map[string]string{"/usr/portage": "-> /srv/portage",
			"/srv/portage/distfiles": "dir"}, nil, "/var/cache/binpkgs", "/usr/portage/distfiles"},
		{"make.conf",
			map[string]string{"/etc/portage/make.conf": "PKGDIR=/srv/a//b/\nDISTDIR=\"${PKGDIR}/../d\"\n", "/var/cache/binpkgs": "dir"}, nil, "/srv/a/b", "/srv/a/d"},
		{"environment", map[string]string{"/etc/portage/make.conf": "PKGDIR=/srv/a\n"},
			map[string]string{"PKGDIR": "/e", "DISTDIR": "/f"}, "/e", "/f"},
		{"prefix", nil, map[string]string{"EPREFIX": "/home/u/gentoo"},
			"/home/u/gentoo/var/cache/binpkgs", "/home/u/gentoo/var/cache/distfiles"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := load(t, tt.files, tt.env)
			if got := s.PKGDIR(); got != tt.pkgdir {
				t.Errorf("PKGDIR %q, want %q", got, tt.pkgdir)
			}
			if got := s.DISTDIR(); got != tt.distdir {
				t.Errorf("DISTDIR %q, want %q", got, tt.distdir)
			}
		})
	}
}

const globalsFile = "/usr/share/portage/config/make.globals"

func TestFeaturesAreKnownOnlyWithTheirDefaults(t *testing.T) {
	t.Parallel()
	with := map[string]string{globalsFile: `FEATURES="compress-index strict"` + "\n",
		"/etc/portage/make.conf": `FEATURES="buildpkg -strict"` + "\n"}
	without := map[string]string{"/etc/portage/make.conf": `FEATURES="buildpkg -strict"` + "\n"}
	for _, tt := range []struct {
		name      string
		files     map[string]string
		env       string
		feature   string
		on, known bool
	}{
		{"default", with, "", "compress-index", true, true},
		{"switched off", with, "", "strict", false, true},
		{"never heard of", with, "", "getbinpkg", false, true},
		{"environment", with, "-compress-index", "compress-index", false, true},
		{"no defaults", without, "", "compress-index", false, false},
		{"no defaults, but on", without, "", "buildpkg", true, true},
		{"no defaults, but off", without, "", "strict", false, true},
		{"no defaults, environment", without, "-compress-index", "compress-index", false, true},
		{"no defaults, all cleared", without, "-* x", "compress-index", false, true},
	} {
		env := map[string]string{}
		if tt.env != "" {
			env["FEATURES"] = tt.env
		}
		s := load(t, tt.files, env)
		if on, known := s.HasFeature(tt.feature); on != tt.on || known != tt.known {
			t.Errorf("%s: %s on %v, known %v", tt.name, tt.feature, on, known)
		}
	}
	set, known := load(t, with, nil).Features()
	if want := map[string]bool{"buildpkg": true, "compress-index": true}; !maps.Equal(set,
		want) || !known {
		t.Errorf("features %v, %v", set, known)
	}
}

func TestSourcesNameTheFile(t *testing.T) {
	t.Parallel()
	s := load(t, map[string]string{
		globalsFile:                "PKGDIR=/g\nDISTDIR=/g\nX=1\n",
		"/etc/portage/make.conf/a": "PKGDIR=/a\nsource /etc/b\n",
		"/etc/b":                   "CHOST=x86_64-pc-linux-gnu\nUSE=a\n",
	}, map[string]string{"DISTDIR": "/e", "CFLAGS": "-O2"})
	want := map[string]string{"PKGDIR": "/etc/portage/make.conf/a", "CHOST": "/etc/b",
		"USE": "/etc/b", "DISTDIR": SourceEnvironment, "X": globalsFile}
	for k, file := range want {
		if s.Sources[k] != file {
			t.Errorf("%s comes from %q, want %q", k, s.Sources[k], file)
		}
	}
	if want := []string{"/etc/portage/make.conf/a", "/etc/b",
		globalsFile}; !slices.Equal(s.Files, want) {
		t.Errorf("files %q, want %q", s.Files, want)
	}
	if chost, known := s.CHOST(); chost != "x86_64-pc-linux-gnu" || !known {
		t.Errorf("CHOST %q, %v", chost, known)
	}
	if v := s.Get("CFLAGS"); v != "-O2" {
		t.Errorf("a variable of the environment alone is %q", v)
	}
	if v, ok := s.Lookup("NOPE"); ok {
		t.Errorf("an unset variable is %q", v)
	}
}

func TestProfile(t *testing.T) {
	t.Parallel()
	for _, m := range machines(t) {
		if m.Name != "no make.conf" {
			continue
		}
		s := load(t, m.Files, nil)
		if s.Profile != "/var/db/repos/gentoo/profiles/default/linux/amd64/23.0" ||
			s.ProfileName() != "default/linux/amd64/23.0" || s.ARCH() != "amd64" {
			t.Errorf("profile %q, %q, ARCH %q", s.Profile, s.ProfileName(), s.ARCH())
		}
	}
	loop := load(t, map[string]string{"/etc/portage/make.profile/parent": "/p\n",
		"/p/parent": "../p\n"}, nil)
	if len(loop.Profiles) != 0 || len(loop.Problems) != 1 ||
		!strings.Contains(loop.Problems[0].Reason, "parents of one another") {
		t.Errorf("a loop of parents: %v, %v", loop.Profiles, loop.Problems)
	}
}

func TestUnreadableThingsAreProblems(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	putMachine(t, root, map[string]string{
		"/etc/portage/make.conf/1":    "PKGDIR=/p\n",
		"/etc/portage/make.conf/2":    "-> 2",
		"/etc/portage/make.conf/4":    "DISTDIR=/d\n",
		"/etc/portage/make.conf/5":    "USE='" + strings.Repeat("x ", MaxFile/2) + "'\n",
		"/etc/portage/package.use":    "*/* a\n",
		"/etc/portage/repos.conf/bad": "location = x\n[a]\nhello\n",
	})
	if err := syscall.Mkfifo(filepath.Join(root, "etc/portage/make.conf/3"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/make.conf"),
		[]byte("source /etc/portage/make.conf/3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := Load(t.Context(), Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if s.PKGDIR() != "/p" || s.DISTDIR() != "/d" || s.Get("USE") != "a" {
		t.Errorf("PKGDIR %q, DISTDIR %q, USE %q", s.PKGDIR(), s.DISTDIR(), s.Get("USE"))
	}
	var got []string
	for _, p := range s.Problems {
		got = append(got, p.String())
	}
	want := []string{
		"/etc/portage/make.conf/2: too many levels of symbolic links",
		"/etc/portage/make.conf/5: larger than a configuration file can be",
		`/etc/portage/repos.conf/bad:1: "location = x" stands before the first [section]`,
		`/etc/portage/repos.conf/bad:3: "hello" is not NAME = VALUE`,
		"/etc/portage/repos.conf: [a] has no location",
		`/etc/make.conf:1: sourced file "/etc/portage/make.conf/3": not a regular file`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("problems\n got %s\nwant %s", strings.Join(got, "\n     "),
			strings.Join(want, "\n     "))
	}
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	if _, err := Load(t.Context(), Options{Root: filepath.Join(t.TempDir(), "nope")}); err == nil {
		t.Error("an absent root is read")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Load(ctx, Options{Root: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestPortageqHasTheLastWord(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	putMachine(t, root,
		map[string]string{"/etc/portage/make.conf": "PKGDIR=/files\nDISTDIR=/files\n"})
	var asked []string
	run := func(answer map[string]string, err error) PortageqFunc {
		return func(_ context.Context, vars ...string) (map[string]string, error) {
			asked = vars
			return answer, err
		}
	}
	s, err := Load(t.Context(), Options{Root: root, UsePortageq: true,
		Portageq: run(map[string]string{"PKGDIR": "/q", "FEATURES": "a b", "CHOST": "",
			"OTHER": "x"}, nil)})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(asked, portageqVars) || !slices.Contains(asked, "PKGDIR") {
		t.Errorf("asked for %q", asked)
	}
	if _, known := s.CHOST(); s.PKGDIR() != "/q" || s.DISTDIR() != "/files" || known ||
		s.Sources["PKGDIR"] != SourcePortageq {
		t.Errorf("PKGDIR %q, DISTDIR %q, CHOST known %v", s.PKGDIR(), s.DISTDIR(), known)
	}
	if on, known := s.HasFeature("strict"); on || !known {
		t.Errorf("strict %v, known %v", on, known)
	}
	s, err = Load(t.Context(), Options{Root: root, UsePortageq: true,
		Portageq: run(nil, errors.New("exit status 1"))})
	if err != nil || s.PKGDIR() != "/files" || len(s.Problems) != 1 ||
		s.Problems[0].String() != "portageq: exit status 1" {
		t.Errorf("when portageq fails: %v, %v", err, s)
	}
	asked = nil
	if _, err = Load(t.Context(), Options{Root: root, Portageq: run(nil, nil)}); err != nil ||
		asked != nil {
		t.Errorf("asked without being told to: %q, %v", asked, err)
	}
}

func TestRepositoryRevision(t *testing.T) {
	t.Parallel()
	const (
		sha  = "0123456789abcdef0123456789abcdef01234567"
		sha2 = "89abcdef0123456789abcdef0123456789abcdef"
		log  = sha2 + " " + sha + " A U Thor <a@b> 1700000000 +0100\tclone: from x\n" + sha + " " +
			sha + " A U Thor <a@b> 1717203000 +0000\tpull: x 1 +0000\n"
	)
	for _, tt := range []struct {
		name     string
		files    map[string]string
		revision string
		when     int64
	}{
		{"rsync", map[string]string{"metadata/timestamp.commit": sha +
			" 1717202700 2024-06-01T00:45:00Z\n",
			"metadata/timestamp.chk": "Sat, 01 Jun 2024 00:50:00 +0000\n"}, sha, 1717202700},
		{"only chk",
			map[string]string{"metadata/timestamp.chk": "Sat, 01 Jun 2024 00:45:00 +0000\n"},
			"", 1717202700},
		{"only x",
			map[string]string{"metadata/timestamp.x": "1717202700 Sat Jun  1 12:45:00 AM UTC 2024\n"}, "", 1717202700},
		{"nonsense", map[string]string{"metadata/timestamp.commit": "../../x 99999999999999999 y\n",
			"metadata/timestamp.chk": "yesterday\n", "metadata/timestamp.x": "-5\n"}, "", 0},
		{"git branch", map[string]string{".git/HEAD": "ref: refs/heads/master\n",
			".git/refs/heads/master": sha + "\n", ".git/logs/HEAD": log}, sha, 1717203000},
		{"git packed", map[string]string{".git/HEAD": "ref: refs/heads/main\n",
			".git/packed-refs": "# pack-refs with: peeled\n" + sha2 + " refs/heads/master\n" + sha +
				" refs/heads/main\n^" + sha2 + "\n"}, sha, 0},
		{"git detached", map[string]string{".git/HEAD": sha + "\n"}, sha, 0},
		{"git and rsync files", map[string]string{".git/HEAD": sha + "\n",
			"metadata/timestamp.commit": sha2 + " 1717202700 x\n", ".git/logs/HEAD": log},
			sha, 1717202700},
		{"git work tree", map[string]string{".git": "gitdir: ../main/.git/worktrees/w\n",
			"../main/.git/worktrees/w/HEAD":      "ref: refs/heads/b\n",
			"../main/.git/worktrees/w/commondir": "../..\n", "../main/.git/refs/heads/b": sha +
				"\n"}, sha, 0},
		{"git without a commit", map[string]string{".git/HEAD": "ref: refs/heads/master\n"}, "", 0},
		{"git ref upwards", map[string]string{".git/HEAD": "ref: ../../x\n", "../x": sha}, "", 0},
		{"nothing", nil, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"/repos/r/profiles/repo_name": "r\n",
				"/etc/portage/repos.conf": "[r]\nlocation = /repos/r\n"}
			for k, v := range tt.files {
				files[filepath.Join("/repos/r", k)] = v
			}
			repos, err := load(t, files, nil).Repos()
			if err != nil || len(repos) != 1 {
				t.Fatalf("repositories %v, %v", repos, err)
			}
			var want time.Time
			if tt.when != 0 {
				want = time.Unix(tt.when, 0).UTC()
			}
			if r := repos[0]; r.Revision != tt.revision || !r.Timestamp.Equal(want) {
				t.Errorf("revision %q at %v, want %q at %v", r.Revision, r.Timestamp,
					tt.revision, want)
			}
		})
	}
}

func TestGitFetchTimeWithoutLog(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	putMachine(t, root, map[string]string{
		"/var/db/repos/gentoo/profiles/repo_name": "gentoo\n",
		"/var/db/repos/gentoo/.git/HEAD":          strings.Repeat("a", 40) + "\n",
		"/var/db/repos/gentoo/.git/FETCH_HEAD":    "",
	})
	at := time.Unix(1717203000, 0)
	if err := os.Chtimes(filepath.Join(root, "var/db/repos/gentoo/.git/FETCH_HEAD"), at,
		at); err != nil {
		t.Fatal(err)
	}
	s, err := Load(t.Context(), Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	repos, err := s.Repos()
	if err != nil || len(repos) != 1 || !repos[0].Timestamp.Equal(at) {
		t.Errorf("repositories %v, %v", repos, err)
	}
}

func TestRepositoriesAtTheUsualPlaces(t *testing.T) {
	t.Parallel()
	s := load(t, map[string]string{
		"/var/git/meta-repo/kits/core-kit/profiles/repo_name": "core-kit\n",
		"/var/git/meta-repo/kits/x-kit/profiles/repo_name":    "x-kit\n",
		"/var/git/meta-repo/kits/empty":                       "dir",
		"/usr/portage/distfiles":                              "dir",
	}, nil)
	repos, err := s.Repos()
	if err != nil || len(repos) != 2 || repos[0].Name != "core-kit" ||
		repos[1].Location != "/var/git/meta-repo/kits/x-kit" {
		t.Errorf("repositories %v, %v", repos, err)
	}
}

func TestHasEbuild(t *testing.T) {
	t.Parallel()
	s := load(t, map[string]string{
		"/var/db/repos/gentoo/profiles/repo_name":              "gentoo\n",
		"/var/db/repos/gentoo/app-misc/foo/foo-1.0-r1.ebuild":  "",
		"/var/db/repos/gentoo/app-misc/foo/dir-1.ebuild":       "dir",
		"/var/db/repos/other/app-misc/foo/foo-2.ebuild":        "",
		"/var/db/repos/gentoo/app-misc/link/link-1.ebuild":     "-> ../foo/foo-1.0-r1.ebuild",
		"/var/db/repos/gentoo/app-misc/dangle/dangle-1.ebuild": "-> nowhere",
	}, nil)
	repos, err := s.Repos()
	if err != nil || len(repos) != 1 {
		t.Fatal(repos, err)
	}
	for _, tt := range []struct {
		c, pn, pf string
		want      bool
	}{
		{"app-misc", "foo", "foo-1.0-r1", true},
		{"app-misc", "foo", "foo-1.0", false},
		{"app-misc", "link", "link-1", true},
		{"app-misc", "dangle", "dangle-1", false},
		{"app-misc", "foo", "dir-1", false},
		{"app-misc", "nope", "nope-1", false},
		{"..", "other/app-misc/foo", "foo-2", false},
		{"app-misc", "../../other/app-misc/foo", "foo-2", false},
		{"app-misc", "foo", "../foo/foo-1.0-r1", false},
		{"", "", "", false},
	} {
		if got := repos[0].HasEbuild(tt.c, tt.pn, tt.pf); got != tt.want {
			t.Errorf("%q %q %q: %v", tt.c, tt.pn, tt.pf, got)
		}
	}
}

func TestInstalled(t *testing.T) {
	t.Parallel()
	for _, root := range []string{"", "/target"} {
		files := map[string]string{
			root + "/var/db/pkg/sys-apps/portage-3.0.82-r1/SLOT": "0\n",
			root + "/var/db/pkg/app-misc/foo-1":                  "dir",
			root + "/var/db/pkg/app-misc/-MERGING-bar-1":         "dir",
			root + "/var/db/pkg/app-misc/.x-1":                   "dir",
			root + "/var/db/pkg/app-misc/noversion":              "dir",
			root + "/var/db/pkg/.cache/x-1":                      "dir",
			root + "/var/db/pkg/stray-1":                         "",
		}
		env := map[string]string{}
		if root != "" {
			env["ROOT"] = root
		}
		s := load(t, files, env)
		all, err := s.Installed()
		if err != nil || len(all) != 2 {
			t.Fatalf("root %q: %v, %v", root, all, err)
		}
		if foo := all[0]; foo.Category != "app-misc" || foo.PF != "foo-1" {
			t.Errorf("package %v", foo)
		}
		if p := all[1]; p.Category != "sys-apps" || p.PF != "portage-3.0.82-r1" {
			t.Errorf("package %v", p)
		}
	}
	if all, err := load(t, nil, nil).Installed(); err != nil || len(all) != 0 {
		t.Errorf("without a database: %v, %v", all, err)
	}
}

// TestNothingIsExecutedOrWritten reads a machine whose files try, and compares the tree before and
// after.
func TestNothingIsExecutedOrWritten(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	mark := filepath.Join(root, "mark")
	bad := "A=\"$(touch " + mark + ")\"\nB=\"`touch " + mark + "`\"\nC='$(touch " + mark +
		")'\nD=1; touch " + mark + "\n"
	putMachine(t, root, map[string]string{"/etc/make.conf": bad,
		"/etc/portage/make.conf": "source /etc/x\n", "/etc/x": bad, globalsFile: bad,
		"/etc/profile.env": bad})
	before := treeOf(t, root)
	s, err := Load(t.Context(), Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if after := treeOf(t, root); !reflect.DeepEqual(before, after) {
		t.Errorf("the tree was\n%q and is\n%q", before, after)
	}
	if len(s.Problems) < 8 {
		t.Errorf("problems %v", s.Problems)
	}
}

func treeOf(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(p string, _ os.DirEntry, err error) error {
		all = append(all, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRootResolvesLinksBelowItself(t *testing.T) {
	t.Parallel()
	s := load(t, map[string]string{
		"/etc/portage":                "-> /srv/config",
		"/srv/config/make.conf":       "-> ../shared/make.conf",
		"/srv/shared/make.conf":       "PKGDIR=/x\nsource ../more.conf\n",
		"/srv/more.conf":              "DISTDIR=/right\n",
		"/etc/more.conf":              "DISTDIR=/wrong\n",
		"/etc/make.conf":              "-> ../../../../../../../../etc/portage/up.conf",
		"/srv/config/up.conf":         "UP=1\n",
		"/srv/config/package.license": "-> loop",
		"/srv/config/loop":            "-> package.license",
	}, nil)
	if s.Get("PKGDIR") != "/x" || s.Get("DISTDIR") != "/right" || s.Get("UP") != "1" {
		t.Errorf("PKGDIR %q, DISTDIR %q, UP %q, problems %v", s.Get("PKGDIR"), s.Get("DISTDIR"),
			s.Get("UP"), s.Problems)
	}
}

func TestInterpolationIsBounded(t *testing.T) {
	t.Parallel()
	x := newINI(map[string]string{})
	text := "[a]\n"
	for i := range 9 {
		text += fmt.Sprintf("v%d = %s\n", i, strings.Repeat(fmt.Sprintf("%%(v%d)s", i+1), 50))
	}
	x.parse(text+"v9 =\nloop = %(loop)s\nodd = 5%\nnone = %(x)s\nfine = %(V9)s%%\n", "repos.conf",
		func(p Problem) { t.Error(p) })
	for option, want := range map[string]string{"v0": "more than 10000 times",
		"loop": "deeper than 10", "odd": `"%" is not`, "none": "%(x)s is not set"} {
		if _, err := x.get("a", option); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", option, err, want)
		}
	}
	if v, err := x.get("a", "fine"); v != "%" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
}

func TestUnreadableFileAsOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root reads every file; run the tests as an ordinary user for this one")
	}
	root := t.TempDir()
	putMachine(t, root, map[string]string{"/etc/portage/make.conf": "PKGDIR=/p\n",
		"/etc/make.conf": "DISTDIR=/d\n"})
	if err := os.Chmod(filepath.Join(root, "etc/portage/make.conf"), 0); err != nil {
		t.Fatal(err)
	}
	s, err := Load(t.Context(), Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Problems) != 1 ||
		s.Problems[0].String() != "/etc/portage/make.conf: permission denied" ||
		s.DISTDIR() != "/d" {
		t.Errorf("problems %v, DISTDIR %q", s.Problems, s.DISTDIR())
	}
}

func FuzzINI(f *testing.F) {
	for _, s := range []string{"[DEFAULT]\nmain-repo = gentoo\n[gentoo]\nlocation = /x\n  more\n",
		"[a]\nx=%(y)s\ny=%(x)s\n", "[a]\nb: 1\n;c\n#d\n[a]\n", "[", "=", "[a]\n=x\n%=%%\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		x := newINI(map[string]string{"eprefix": ""})
		lines := strings.Count(text, "\n") + 1
		x.parse(text, "repos.conf", func(p Problem) {
			if p.Line < 1 || p.Line > lines {
				t.Errorf("line %d of %d", p.Line, lines)
			}
		})
		for _, s := range x.sections {
			for o := range x.options[s] {
				if v, err := x.get(s, o); err == nil && len(v) > MaxValue+len(text) {
					t.Errorf("%d bytes", len(v))
				}
			}
		}
	})
}
