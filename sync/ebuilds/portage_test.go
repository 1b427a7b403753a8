package ebuilds

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pkgsneak/sync/portage"
	"pkgsneak/sync/watch"
)

// Real Portage is the judge: with its old tree this client's next update goes backwards, with the
// build host's it does not; after each refusal it works as before.
func TestRealPortageJudgesTheTree(t *testing.T) {
	if _, err := exec.LookPath("emerge"); err != nil {
		t.Skip("SKIPPED: real Portage (emerge) is not in PATH; nobody judges the trees")
	}
	version := func(stamp string, versions ...string) map[string]string {
		files := map[string]string{
			"profiles/repo_name": "gentoo\n", "profiles/categories": "app-misc\n",
			"profiles/arch.list":       "amd64\n",
			"profiles/p/eapi":          "8\n",
			"profiles/p/make.defaults": "ARCH=\"amd64\"\nACCEPT_KEYWORDS=\"amd64\"\nCHOST=\"x86_64-pc-linux-gnu\"\n",
			"metadata/layout.conf":     "masters =\nthin-manifests = true\n",
			"metadata/timestamp.x":     stamp + "\n",
		}
		for _, v := range versions {
			files["app-misc/app/app-"+v+".ebuild"] = "EAPI=8\nDESCRIPTION=x\nSLOT=0\nKEYWORDS=\"amd64\"\nS=$WORKDIR\n"
		}
		return files
	}
	root := t.TempDir()
	c := client{root: "", state: t.TempDir(), proc: t.TempDir()}
	repo := filepath.Join(root, "repos/gentoo")
	makeTree(t, repo, version("1770000000", "1"))
	makeTree(t, root, map[string]string{
		"etc/portage/repos.conf/all.conf":                   "[DEFAULT]\nmain-repo = gentoo\n[gentoo]\nlocation = " + repo + "\n",
		"usr/lib/python3.12/site-packages/portage/const.py": "EAPI = 8\n",
		"var/lib/portage/world":                             "app-misc/app\n",
		"var/db/pkg/app-misc/app-2/SLOT":                    "0\n",
		"var/db/pkg/app-misc/app-2/EAPI":                    "8\n",
		"var/db/pkg/app-misc/app-2/KEYWORDS":                "amd64\n",
		"var/db/pkg/app-misc/app-2/repository":              "gentoo\n",
		"var/db/pkg/app-misc/app-2/CONTENTS":                "",
		"var/db/pkg/app-misc/app-2/COUNTER":                 "1\n", "tmp/": "",
	})
	must(t, os.Symlink(filepath.Join(repo, "profiles/p"),
		filepath.Join(root, "etc/portage/make.profile")))
	env := map[string]string{"PORTAGE_OVERRIDE_EPREFIX": root, "EPREFIX": root,
		"PORTAGE_TMPDIR": root + "/tmp"}
	emerge := func() string {
		cmd := exec.CommandContext(t.Context(), "emerge", "-puDN", "--color=n", "@world")
		cmd.Env = os.Environ()
		for k, v := range env {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	bring := func(serial int64, files map[string]string, o Options) error {
		s, err := portage.Load(t.Context(), portage.Options{Env: func(k string) (string, bool) {
			v, ok := env[k]
			return v, ok
		}})
		must(t, err)
		notes, err := ReadNotes(c.state, nil)
		must(t, err)
		site := &Site{Settings: s, Notes: notes, Proc: c.proc,
			Mounts: func() ([]watch.Mount, error) { return nil, nil }}
		steps, err := site.Plan(t.Context(), []Offer{offerOf(t, "gentoo", serial, files)}, o)
		must(t, err)
		if steps[0].Action != Take {
			t.Fatalf("%+v", steps[0])
		}
		_, err = site.Take(t.Context(), steps[0], nil, o, nil)
		return err
	}
	if out := emerge(); !strings.Contains(out, "UD ] app-misc/app-1 [2]") {
		t.Fatalf("this Portage does not go backwards with the old tree:\n%s", out)
	}
	must(t, bring(10, version("1777000000", "2", "3"), Options{Adopt: []string{"gentoo"}}))
	good := func() {
		t.Helper()
		if out := emerge(); !strings.Contains(out, "U  ] app-misc/app-3 [2]") ||
			strings.Contains(out, "UD") {
			t.Fatalf("with the build host's tree:\n%s", out)
		}
	}
	good()
	future := version("1777000100", "3")
	future["profiles/p/eapi"] = "99\n"
	if asRefusal(bring(20, future, Options{})) == nil {
		t.Error("a profile with an unknown EAPI was taken")
	}
	gone := version("1777000200", "3")
	delete(gone, "profiles/p/eapi")
	delete(gone, "profiles/p/make.defaults")
	if asRefusal(bring(30, gone, Options{})) == nil {
		t.Error("a tree without this machine's profile was taken")
	}
	good()
}

// judgedClient is a machine on which real Portage looks at what import brought: app-misc/app-2 is
// installed.
type judgedClient struct {
	t           *testing.T
	root, state string
	repo        string
	env         map[string]string
}

// stableTree is a repository with a profile and versions of one package.
func stableTree(stamp string, versions ...string) map[string]string {
	files := map[string]string{
		"profiles/repo_name": "gentoo\n", "profiles/categories": "app-misc\n",
		"profiles/arch.list": "amd64\n", "profiles/p/eapi": "8\n",
		"profiles/p/make.defaults": "ARCH=\"amd64\"\nACCEPT_KEYWORDS=\"amd64\"\n" +
			"CHOST=\"x86_64-pc-linux-gnu\"\n",
		"eclass/shared.eclass": "SHARED=yes\n",
		"metadata/layout.conf": "masters =\nthin-manifests = true\n",
		"metadata/timestamp.x": stamp + "\n",
	}
	for _, v := range versions {
		files["app-misc/app/app-"+v+".ebuild"] = anEbuild("")
	}
	return files
}

func anEbuild(more string) string {
	return "EAPI=8\n" + more + "DESCRIPTION=x\nSLOT=0\nKEYWORDS=\"amd64\"\nS=$WORKDIR\n"
}

func newJudgedClient(t *testing.T) *judgedClient {
	t.Helper()
	if _, err := exec.LookPath("emerge"); err != nil {
		t.Skip("SKIPPED: real Portage (emerge) is not in PATH; nobody judges the trees")
	}
	c := &judgedClient{t: t, root: t.TempDir(), state: t.TempDir()}
	c.repo = filepath.Join(c.root, "repos/gentoo")
	c.env = map[string]string{"PORTAGE_OVERRIDE_EPREFIX": c.root, "EPREFIX": c.root,
		"PORTAGE_TMPDIR": c.root + "/tmp"}
	makeTree(t, c.root, map[string]string{
		"etc/portage/repos.conf/all.conf": "[DEFAULT]\nmain-repo = gentoo\n[gentoo]\nlocation = " +
			c.repo + "\n",
		"usr/lib/python3.12/site-packages/portage/const.py": "EAPI = 8\n",
		"var/lib/portage/world":                             "app-misc/app\n",
		"var/lib/gentoo/news/":                              "",
		"var/db/pkg/app-misc/app-2/SLOT":                    "0\n",
		"var/db/pkg/app-misc/app-2/EAPI":                    "8\n",
		"var/db/pkg/app-misc/app-2/KEYWORDS":                "amd64\n",
		"var/db/pkg/app-misc/app-2/repository":              "gentoo\n",
		"var/db/pkg/app-misc/app-2/CONTENTS":                "",
		"var/db/pkg/app-misc/app-2/COUNTER":                 "1\n",
		"repos/":                                            "", "tmp/": "",
	})
	must(t, os.Symlink(filepath.Join(c.repo, "profiles/p"),
		filepath.Join(c.root, "etc/portage/make.profile")))
	return c
}

// run runs a program of Portage's on the client, without a network that it could use.
func (c *judgedClient) run(name string, args ...string) string {
	cmd := exec.CommandContext(c.t.Context(), name, args...)
	cmd.Env = os.Environ()
	for k, v := range c.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out, _ := cmd.CombinedOutput()
	return string(out)
}

func (c *judgedClient) settings() *portage.Settings {
	c.t.Helper()
	s, err := portage.Load(c.t.Context(), portage.Options{Env: func(k string) (string, bool) {
		v, ok := c.env[k]
		return v, ok
	}})
	must(c.t, err)
	return s
}

// bring takes all offers, and types the lines for repos.conf that it is told.
func (c *judgedClient) bring(o Options, offers ...Offer) {
	c.t.Helper()
	notes, err := ReadNotes(c.state, nil)
	must(c.t, err)
	site := &Site{Settings: c.settings(), Notes: notes, Proc: c.t.TempDir(),
		Mounts: func() ([]watch.Mount, error) { return nil, nil }}
	steps, err := site.Plan(c.t.Context(), offers, o)
	must(c.t, err)
	var coming []string
	for _, step := range steps {
		coming = append(coming, step.Name)
	}
	for _, step := range steps {
		if step.Action != Take {
			c.t.Fatalf("%+v", step)
		}
		_, err := site.Take(c.t.Context(), step, coming, o, nil)
		must(c.t, err)
		if step.Conf != "" {
			if out := c.run("sh", "-c", step.Conf); out != "" {
				c.t.Fatalf("%s: %s", step.Conf, out)
			}
		}
	}
}

// Whatever a client has of a tree, with the build host's the next update of @world goes forward;
// advisories and news of it are found without a network, and so are the hand-written ebuilds of an
// overlay, with the eclasses of its master.
func TestRealPortageWithEachTree(t *testing.T) {
	theirs := stableTree("1777000000", "2", "3")
	theirs["metadata/glsa/glsa-202604-07.xml"] = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE glsa SYSTEM "http://www.gentoo.org/dtd/glsa.dtd">
<glsa id="202604-07"><title>app: hole</title><synopsis>x</synopsis>
<product type="ebuild">app</product><announced>2026-04-20</announced>
<revised count="1">2026-04-20</revised><access>remote</access>
<affected><package name="app-misc/app" auto="yes" arch="*"><unaffected range="ge">3</unaffected>
<vulnerable range="lt">3</vulnerable></package></affected>
<background><p>x</p></background><description><p>x</p></description>
<impact type="high"><p>x</p></impact><workaround><p>x</p></workaround>
<resolution><p>x</p></resolution><references></references></glsa>`
	theirs["metadata/news/2026-04-21-app/2026-04-21-app.en.txt"] = "Title: app moves\n" +
		"Author: Larry <larry@example.org>\nPosted: 2026-04-21\nRevision: 1\n" +
		"News-Item-Format: 2.0\nDisplay-If-Installed: app-misc/app\n\nIt moves.\n"
	overlay := map[string]string{
		"profiles/repo_name": "kit\n", "profiles/categories": "app-kit\n",
		"metadata/layout.conf":          "masters = gentoo\nthin-manifests = true\n",
		"app-kit/tool/tool-1.ebuild":    anEbuild("inherit shared\n"),
		"metadata/md5-cache-none/empty": "",
	}
	for name, begin := range map[string]func(t *testing.T, c *judgedClient) Options{
		"no tree": func(*testing.T, *judgedClient) Options { return Options{} },
		"an old one of rsync": func(t *testing.T, c *judgedClient) Options {
			makeTree(t, c.repo, stableTree("1770000000", "1"))
			return Options{Adopt: []string{"gentoo"}}
		},
		"a checkout of git": func(t *testing.T, c *judgedClient) Options {
			files := stableTree("", "1")
			delete(files, "metadata/timestamp.x")
			files[".git/HEAD"] = "ref: refs/heads/master\n"
			files[".git/refs/heads/master"] = strings.Repeat("ab", 20) + "\n"
			makeTree(t, c.repo, files)
			return Options{Adopt: []string{"gentoo"}}
		},
		"an old one, and an overlay of its own": func(t *testing.T, c *judgedClient) Options {
			makeTree(t, c.repo, stableTree("1770000000", "1"))
			makeTree(t, c.root, map[string]string{
				"repos/own/profiles/repo_name":     "own\n",
				"repos/own/profiles/categories":    "app-own\n",
				"repos/own/metadata/layout.conf":   "masters = gentoo\nthin-manifests = true\n",
				"repos/own/app-own/my/my-1.ebuild": anEbuild("inherit shared\n"),
				"etc/portage/repos.conf/own.conf": "[own]\nlocation = " + c.root +
					"/repos/own\n",
				"etc/portage/package.accept_keywords": "app-own/my ~amd64\n",
			})
			return Options{Adopt: []string{"gentoo"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newJudgedClient(t)
			c.bring(begin(t, c), offerOf(t, "gentoo", 10, theirs), offerOf(t, "kit", 10, overlay))
			out := c.run("emerge", "-puDN", "--color=n", "@world")
			if !strings.Contains(out, "U  ] app-misc/app-3 [2]") || strings.Contains(out, "UD") {
				t.Errorf("emerge -puDN @world:\n%s", out)
			}
			if _, err := os.Stat(filepath.Join(c.root, "repos/own")); err == nil {
				if out = c.run("emerge", "-p", "--color=n",
					"app-own/my"); !strings.Contains(out, "N     ] app-own/my-1") {
					t.Errorf("an ebuild of this machine's own overlay:\n%s", out)
				}
			}
			if name != "no tree" { // the rest is the same for all
				return
			}
			out = c.run("emerge", "-p", "--color=n", "app-kit/tool")
			if !strings.Contains(out, "N     ] app-kit/tool-1") {
				t.Errorf("an ebuild of the overlay that came:\n%s", out)
			}
			out = c.run("emerge", "--check-news", "--color=n")
			if n, _ := c.settings().NotedNews("gentoo"); !strings.Contains(out, "1 news item") ||
				len(n) != 1 {
				t.Errorf("emerge --check-news, and %q are noted:\n%s", n, out)
			}
			out = c.run("python3", "-c", checkAdvisories)
			if strings.Contains(out, "ModuleNotFoundError") {
				t.Skip("SKIPPED: python3 of PATH is not Portage's: nobody reads the advisories")
			}
			if !strings.Contains(out, "202604-07 True") {
				t.Errorf("the advisory, by Portage's own reader:\n%s", out)
			}
		})
	}
}

// checkAdvisories does what glsa-check does: it lists the advisories of the main repository to
// which what is installed is vulnerable.
const checkAdvisories = `
import portage, portage.glsa as glsa
db = portage.db[portage.settings["EROOT"]]
for i in glsa.get_glsa_list(portage.settings):
    print(i, glsa.Glsa(i, portage.settings, db["vartree"].dbapi, db["porttree"].dbapi).isVulnerable())
`
