package forecast

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/ebuilds"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/portage"
)

// packed is a repository as a drive carries it.
func packed(t *testing.T, name string, files map[string]string) ebuilds.Offer {
	t.Helper()
	dir := t.TempDir()
	for at, text := range files {
		at = filepath.Join(dir, at)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := portage.RepoIn(dir)
	s, err := ebuilds.OpenSource(t.Context(), r, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b bytes.Buffer
	tree, err := s.Pack(t.Context(), &b, nil)
	if err != nil {
		t.Fatal(err)
	}
	tree.File = layout.ArchiveName(name, 1)
	return ebuilds.Offer{Name: name, Origin: "host", Serial: 1, Tree: tree, Size: int64(b.Len()),
		Open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(b.Bytes())), nil
		}}
}

// An advisory and a news item that only travel are told; from a tree that will not be here the
// advisory alone; from one that is damaged nothing, and it is named.
func TestTreeThatTravels(t *testing.T) {
	offer := packed(t, "gentoo", map[string]string{
		"profiles/repo_name":                         "gentoo\n",
		"metadata/timestamp.x":                       "1800000000\n",
		"metadata/glsa/glsa-202611-07.xml":           advisoryText,
		"metadata/news/2026-11-01-good/other.en.txt": anItem("Display-If-Keyword: amd64\n"),
		"metadata/news/2026-11-01-n/2026-11-01-n.en.txt": anItem(
			"Display-If-Installed: app-misc/good\n")})
	damaged := offer
	damaged.Open = func() (io.ReadCloser, error) {
		r, err := offer.Open()
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(r, broken{}), r}, err
	}
	for _, c := range []struct {
		name   string
		here   time.Time
		action ebuilds.Action
		offer  ebuilds.Offer
		fixes  int
		news   int
	}{
		{"no tree here", time.Time{}, ebuilds.Take, offer, 1, 1},
		{"an older one here", offer.Tree.Timestamp.Add(-time.Hour), ebuilds.Take, offer, 1, 1},
		{"the user's own, older", offer.Tree.Timestamp.Add(-time.Hour), ebuilds.LeftAlone, offer,
			1, 0},
		{"the user's own, newer", offer.Tree.Timestamp.Add(time.Hour), ebuilds.LeftAlone, offer,
			0, 0},
		{"the same", offer.Tree.Timestamp, ebuilds.Unchanged, offer, 0, 0},
		{"refused", time.Time{}, ebuilds.Refused, offer, 1, 0},
		{"damaged", time.Time{}, ebuilds.Take, damaged, 0, 0},
	} {
		v := small([]string{"app-misc/good"}, []map[string]any{pk("app-misc/good-1")},
			[]map[string]any{pk("app-misc/good-2")})
		v.Config["FEATURES"] = "news"
		f, _ := make1(t, v, nil, func(read *Machine, in *Input) {
			var here []portage.Repo
			if !c.here.IsZero() {
				here = []portage.Repo{{Name: "gentoo", Timestamp: c.here}}
			}
			notes, err := ebuilds.ReadNotes(t.TempDir(), nil)
			if err != nil {
				t.Fatal(err)
			}
			site := &ebuilds.Site{Settings: read.settings, Notes: notes}
			steps, err := site.Plan(t.Context(), []ebuilds.Offer{c.offer}, ebuilds.Options{})
			if err != nil || len(steps) != 1 {
				t.Fatal(steps, err)
			}
			steps[0].Action = c.action
			in.Trees = TreesOf(t.Context(), here, steps...)
		})
		if len(f.Security) != c.fixes || f.News != c.news ||
			(len(f.Problem) > 0) != (c.name == "damaged") {
			t.Errorf("%s: fixes %+v, news %d, problems %q", c.name, f.Security, f.News, f.Problem)
		}
	}
}

// broken is what is read of a file that is not the one that was signed.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("not the one that was signed") }

func anItem(header string) string {
	return "Title: A title\nAuthor: One <one@example.org>\nPosted: 2026-11-01\nRevision: 1\n" +
		"News-Item-Format: 2.0\n" + header + "\nText.\n"
}

// News items in all that GLEP 42 allows and Portage refuses: those that are told are the ones that
// real emerge notes as unread.
func TestNewsAsPortage(t *testing.T) {
	v := small(nil, []map[string]any{pk("app-misc/good-1.5", "SLOT=2/3", "IUSE=ssl",
		"USE=amd64 ssl")}, nil)
	items := map[string]string{
		"all": anItem(""), "format1": strings.ReplaceAll(anItem(""), ": 2.0", ": 1.0"),
		"format3":  strings.ReplaceAll(anItem(""), ": 2.0", ": 3.0"),
		"noformat": strings.ReplaceAll(anItem(""), "News-Item-Format: 2.0\n", ""),
		"here":     anItem("Display-If-Installed: <app-misc/good-2\n"),
		"newer":    anItem("Display-If-Installed: >=app-misc/good-2\n"),
		"slot":     anItem("Display-If-Installed: app-misc/good:2\n"),
		"subslot":  anItem("Display-If-Installed: app-misc/good:2/3\n"),
		"slot1": strings.ReplaceAll(anItem("Display-If-Installed: app-misc/good:2\n"),
			": 2.0", ": 1.0"),
		"use":     anItem("Display-If-Installed: app-misc/good[ssl]\n"),
		"nouse":   anItem("Display-If-Installed: app-misc/good[-ssl]\n"),
		"repo":    anItem("Display-If-Installed: app-misc/good::gentoo\n"),
		"either":  anItem("Display-If-Installed: a-b/c\nDisplay-If-Installed: app-misc/good\n"),
		"both":    anItem("Display-If-Installed: app-misc/good\nDisplay-If-Keyword: arm64\n"),
		"keyword": anItem("Display-If-Keyword: amd64\nDisplay-If-Keyword: arm64\n"),
		"tilde":   anItem("Display-If-Keyword: ~amd64\n"),
		"profile": anItem("Display-If-Profile: default\n"),
		"below":   anItem("Display-If-Profile: default/*\n"),
		"other":   anItem("Display-If-Profile: default/linux\n"),
		"badatom": anItem("Display-If-Installed: good\n"),
		"blocker": anItem("Display-If-Installed: !app-misc/good\n"),
		"body":    anItem("\nDisplay-If-Keyword: arm64\n"),
		"seen":    anItem(""), "noted": anItem("Display-If-Keyword: arm64\n"),
		"noend": strings.TrimSuffix(anItem("\nDisplay-If-Keyword: arm64\n"), "\nText.\n"),
		"crlf":  strings.ReplaceAll(anItem("Display-If-Keyword: amd64\n"), "\n", "\r\n"),
		"blank": anItem("Display-If-Keyword:   amd64  \n"),
	}
	const repo, noted = "var/db/repos/gentoo/metadata/news/", "var/lib/gentoo/news/news-gentoo."
	files := map[string]string{noted + "unread": "noted\n", noted + "skip": "seen\nnoted\n"}
	for name, text := range items {
		files[repo+name+"/"+name+".en.txt"] = text
	}
	files[repo+"german/german.de.txt"] = anItem("")
	var unread []string
	off := *v
	off.Config = map[string]any{"FEATURES": "-news"}
	v.Config["FEATURES"] = "-sandbox -usersandbox -network-sandbox -ipc-sandbox -pid-sandbox news"
	f, m := make1(t, v, files, func(read *Machine, _ *Input) {
		r := newNewsReader(read)
		r.repository(read, "gentoo")
		for name, text := range items {
			r.item("gentoo", name, []byte(text))
		}
		for name := range r.unread["gentoo"] {
			unread = append(unread, name)
		}
	})
	slices.Sort(unread)
	want := strings.Fields("all blank crlf either format1 here keyword noted profile slot " +
		"subslot use")
	if !slices.Equal(unread, want) {
		t.Errorf("unread are %q, want %q", unread, want)
	}
	if f.News != len(want) {
		t.Errorf("%d are counted", f.News)
	}
	if f, _ = make1(t, &off, files, nil); f.News != 1 {
		t.Errorf("FEATURES=-news: %d unread, Portage noted 1", f.News)
	}
	needEmerge(t)
	_, out := emergeLine(t, m, "emerge -a --check-news", "")
	data, err := os.ReadFile(filepath.Join(m.root, noted+"unread"))
	if got := strings.Fields(string(data)); err != nil || !slices.Equal(got, want) {
		t.Errorf("emerge notes %q, %v, want %q\n%s", got, err, want, out)
	}
}
