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
