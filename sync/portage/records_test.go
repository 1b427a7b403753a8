package portage

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// machineOf writes files below a new root and loads its settings.
func machineOf(t testing.TB, files map[string]string) *Settings {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, isLink := strings.CutPrefix(text, "-> "); isLink {
			if err := os.Symlink(target, p); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Load(context.Background(), Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const aRepo = "var/db/repos/gentoo/"

func theMachine(t testing.TB, more map[string]string) *Settings {
	files := map[string]string{
		"etc/portage/make.profile":    "-> /var/db/repos/gentoo/profiles/top",
		"etc/portage/repos.conf":      "[DEFAULT]\nmain-repo = gentoo\n[gentoo]\nlocation = /var/db/repos/gentoo\n[over]\nlocation = /var/db/repos/over\n",
		aRepo + "profiles/repo_name":  "gentoo\n",
		aRepo + "profiles/top/parent": "../base\n",
		aRepo + "profiles/base/eapi":  "8\n",
		aRepo +
			"metadata/layout.conf": "masters =\nprofile-formats = portage-2 profile-set\n",
		"var/db/repos/over/profiles/repo_name":   "over\n",
		"var/db/repos/over/metadata/layout.conf": "masters = gentoo\n",
	}
	for k, v := range more {
		files[k] = v
	}
	return machineOf(t, files)
}

func TestRecords(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a/b ", 60_000)
	s := theMachine(t, map[string]string{
		"var/db/pkg/a-b/c-1/SLOT":       "0/2\n",
		"var/db/pkg/a-b/c-1/RDEPEND":    "x/y\n\t|| ( a/b  c/d )\n",
		"var/db/pkg/a-b/c-1/repository": "gentoo\n",
		"var/db/pkg/a-b/d-2.0/SLOT":     "0\n", "var/db/pkg/a-b/d-2.0/PROVIDES": long,
		"var/db/pkg/a-b/d-2.0/RDEPEND":     long + long,
		"var/db/pkg/a-b/-MERGING-e-1/SLOT": "0\n", "var/db/pkg/a-b/f-1/SLOT": "-> /etc/passwd",
		"var/db/pkg/a-b/f-1/USE/x": "",
	})
	got, problems, err := s.Records("SLOT", "RDEPEND", "PROVIDES", "repository", "USE")
	if err != nil || len(got) != 3 {
		t.Fatal(got, err)
	}
	if r := got[0]; r.CPV() != "a-b/c-1" || r.Get("SLOT") != "0/2" ||
		r.Get("RDEPEND") != "x/y || ( a/b c/d )" || r.Get("repository") != "gentoo" ||
		r.Get("KEYWORDS") != "" {
		t.Errorf("%+v", r)
	}
	if r := got[1]; r.Get("PROVIDES") != strings.TrimSpace(long) || r.Get("RDEPEND") != "" {
		t.Errorf("a file of %d bytes: %d read; one of %d: %d", len(long), len(r.Get("PROVIDES")),
			2*len(long), len(r.Get("RDEPEND")))
	}
	// A link out of the database and a directory are told, and so is what is too large.
	if r := got[2]; r.Get("SLOT") != "" || len(problems) != 3 {
		t.Errorf("%+v, problems %v", r, problems)
	}
}

func TestSets(t *testing.T) {
	t.Parallel()
	s := theMachine(t, map[string]string{
		"var/lib/portage/world":                  "app/a # mine\n\ndev/b:2\n@old\n",
		"var/lib/portage/world_sets":             "@desk\n@preserved-rebuild\n@system\n",
		"etc/portage/sets/desk":                  "gui/x\n@more\n@desk\n",
		"etc/portage/sets/old":                   "",
		aRepo + "sets/more":                      "gui/y\n",
		aRepo + "profiles/base/packages":         "*sys/base\n*sys/gone\nplain/one\n",
		aRepo + "profiles/top/packages":          "-*sys/gone\n*>=sys/top-2\n",
		"etc/portage/profile/packages":           "*sys/own\nmy/set\n",
		aRepo + "profiles/base/package.provided": "k/k-1\nk/l-1\n",
		"etc/portage/profile/package.provided":   "-k/k-1\nm/m-2\n",
	})
	got := s.Sets()
	for what, pair := range map[string][2]string{
		"world":    {strings.Join(got.World, " "), "app/a dev/b:2"},
		"desk":     {strings.Join(got.User["desk"], " "), "gui/x"},
		"more":     {strings.Join(got.User["more"], " "), "gui/y"},
		"system":   {strings.Join(got.System, " "), "sys/base >=sys/top-2 sys/own"},
		"profile":  {strings.Join(got.Profile, " "), "plain/one my/set"},
		"provided": {strings.Join(got.Provided, " "), "k/l-1 m/m-2"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
		}
	}
	if _, old := got.User["old"]; !old || len(got.User) != 3 || len(got.Problems) != 1 ||
		!strings.Contains(got.Problems[0].Reason, "@preserved-rebuild") {
		t.Errorf("sets %v, problems %v", got.User, got.Problems)
	}
}

// A profile's "-atom" does not take back a line of the repository; the user's does where it names
// the repository, and package.unmask does in any case (vectors b-mask-profile-minus,
// b-mask-unmask).
func TestMasks(t *testing.T) {
	t.Parallel()
	s := theMachine(t, map[string]string{
		aRepo + "profiles/package.mask":           "# why\nbad/a\n>=bad/b-2\n",
		"var/db/repos/over/profiles/package.mask": "bad/c\n-bad/a\n",
		aRepo + "profiles/base/package.mask":      "bad/d\nbad/e\n",
		aRepo + "profiles/top/package.mask":       "-bad/d\n-bad/a\n",
		"etc/portage/package.mask/one":            "*/*::over\n-bad/e\n-bad/a::gentoo\n",
		"etc/portage/package.unmask":              "=bad/c-1\n",
		"etc/portage/package.accept_keywords/z":   "a/b ~amd64\nc/d\n",
		"etc/portage/package.use":                 "*/* VIDEO_CARDS: intel\n",
		aRepo + "profiles/base/package.use.force": "a/b ssl\n",
	})
	m := s.Masks()
	want := []string{">=bad/b-2::gentoo", ">=bad/b-2::over", "bad/c::over", "*/*::over"}
	slices.Sort(m.Mask)
	slices.Sort(want)
	if !slices.Equal(m.Mask, want) {
		t.Errorf("masked %q, want %q", m.Mask, want)
	}
	if !slices.Equal(m.Unmask, []string{"=bad/c-1"}) || len(m.Accept) != 2 ||
		m.Accept[0].Atom != "a/b" || len(m.Accept[1].Words) != 0 {
		t.Errorf("unmask %q, accept %+v", m.Unmask, m.Accept)
	}
	if len(m.Use) != 1 || m.Use[0].Words[0] != "video_cards_intel" || len(m.ProfileUse) != 1 ||
		m.ProfileUse[0].Words[0] != "ssl" || len(m.Problems) > 0 {
		t.Errorf("use %+v, %+v; %v", m.Use, m.ProfileUse, m.Problems)
	}
}

func TestAdvisoriesAndNews(t *testing.T) {
	t.Parallel()
	s := theMachine(t, map[string]string{
		aRepo + "metadata/glsa/glsa-202401-02.xml": "<two/>", aRepo +
			"metadata/glsa/glsa-202401-01.xml": "<one/>",
		aRepo + "metadata/glsa/Manifest": "", aRepo +
			"metadata/glsa/glsa-202401-03.xml": strings.Repeat(" ", MaxAdvisory+1),
		"var/lib/gentoo/news/news-gentoo.unread":                 "2024-01-01-x\n2024-02-01-y\n",
		"var/lib/gentoo/news/news-gentoo.skip":                   "# by hand\n2024-03-01-z\n",
		"var/lib/portage/glsa_injected":                          "202401-01\n",
		aRepo + "metadata/news/2024-02-01-y/2024-02-01-y.en.txt": "text",
		aRepo + "metadata/news/2024-02-01-y/2024-02-01-y.de.txt": "Text",
		aRepo + "metadata/news/2024-04-01-w/2024-04-01-w.de.txt": "Text",
		aRepo + "metadata/news/2024-05-01-v/2024-05-01-v.en.txt": strings.Repeat(" ", MaxNews+1),
	})
	repos, err := s.Repos()
	if err != nil || len(repos) != 2 {
		t.Fatal(repos, err)
	}
	var ids []string
	for _, r := range repos {
		r.Advisories(func(id string, data []byte) bool {
			ids = append(ids, id+string(data))
			return true
		})
	}
	var items []string
	for _, r := range repos {
		r.News(func(item string, data []byte) { items = append(items, item+" "+string(data)) })
	}
	unread, known := s.NotedNews("gentoo")
	if !slices.Equal(ids, []string{"202401-01<one/>", "202401-02<two/>"}) ||
		!slices.Equal(items, []string{"2024-02-01-y text"}) || len(unread) != 2 ||
		!slices.Equal(known, []string{"2024-03-01-z"}) || !s.AppliedAdvisories()["202401-01"] {
		t.Errorf("%q, news %q, unread %q, known %q, applied %v", ids, items, unread, known,
			s.AppliedAdvisories())
	}
}
