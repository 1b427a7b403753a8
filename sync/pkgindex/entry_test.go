package pkgindex

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"pkgsneak/sync/depend"
)

func mustEntry(t testing.TB, keysAndValues ...string) Entry {
	t.Helper()
	e, err := Entry{}.With(keysAndValues...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func header(keysAndValues ...string) Header {
	var h Header
	for i := 0; i < len(keysAndValues); i += 2 {
		h.Set(keysAndValues[i], keysAndValues[i+1])
	}
	return h
}

func TestEntryOfGolden(t *testing.T) {
	x := mustRead(t, readFile(t, golden+"gpkg-multi/Packages"))
	e := x.Entries[0]
	md5, hasMD5 := e.MD5()
	sha1, hasSHA1 := e.SHA1()
	buildID, hasBuildID := e.BuildID()
	size, hasSize := e.Size()
	mtime, hasMTime := e.MTime()
	buildTime, hasBuildTime := e.BuildTime()
	if !hasMD5 || !hasSHA1 || !hasBuildID || !hasSize || !hasMTime || !hasBuildTime {
		t.Fatal("something is missing")
	}
	if hex.EncodeToString(md5[:]) != "e6f5af049e66858658ef77677c688324" ||
		hex.EncodeToString(sha1[:]) != "dc018354a917356aba15bb5ca594d4dd3f79d9bf" ||
		buildID != 1 || size != 10240 || mtime != 1700001127 || buildTime != 1700001122 {
		t.Errorf("%x %x %d %d %d %d", md5, sha1, buildID, size, mtime, buildTime)
	}
	if e.CPV() != "app-arch/libarchive-1_p3-r1" ||
		e.Path() != "app-arch/libarchive/libarchive-1_p3-r1-1.gpkg.tar" ||
		e.Get("CHOST") != "x86_64-pc-linux-gnu" {
		t.Errorf("%q %q %q", e.CPV(), e.Path(), e.Get("CHOST"))
	}
	if !e.Complete(Header{}) {
		t.Error("not complete")
	}
	var keys []string
	for key, value := range e.All() {
		keys = append(keys, key)
		if value != e.Get(key) {
			t.Errorf("%s is %q and %q", key, value, e.Get(key))
		}
	}
	want := strings.Fields("BDEPEND BUILD_ID BUILD_TIME CHOST CPV DEFINED_PHASES DEPEND EAPI IUSE KEYWORDS LICENSE MD5 PATH PDEPEND PROVIDES RDEPEND REQUIRES SHA1 SIZE SLOT USE MTIME REPO")
	if !slices.Equal(keys, want) {
		t.Errorf("keys %q, want %q", keys, want)
	}
}

func TestHashes(t *testing.T) {
	const good = "e6f5af049e66858658ef77677c688324"
	for _, c := range []struct {
		name, value string
		ok          bool
	}{
		{"good", good, true},
		{"none", "", false},
		{"upper case", strings.ToUpper(good), false},
		{"short", good[2:], false},
		{"long", good + "00", false},
		{"no hex", "g" + good[1:], false},
	} {
		if _, ok := mustEntry(t, "CPV", "a/b-1", "MD5", c.value).MD5(); ok != c.ok {
			t.Errorf("%s: %v", c.name, ok)
		}
	}
}

func TestDefaultPath(t *testing.T) {
	if got := mustEntry(t, "CPV", "a/b-1").Path(); got != "a/b-1.tbz2" {
		t.Error(got)
	}
}

func TestWith(t *testing.T) {
	e := mustEntry(t, "REPO", "gentoo", "MTIME", "5", "CPV", "a/b-1", "DESCRIPTION", "d", "SLOT",
		"0", "EAPI", "0", "USE", "ssl")
	const want = "CPV: a/b-1\nDESC: d\nUSE: ssl\nMTIME: 5\nREPO: gentoo\n"
	if e.text != want {
		t.Errorf("%q, want %q", e.text, want)
	}
	other, err := e.With("USE", "", "SLOT", "2")
	if err != nil || other.text != "CPV: a/b-1\nDESC: d\nSLOT: 2\nMTIME: 5\nREPO: gentoo\n" ||
		e.text != want {
		t.Errorf("%q %v, and the first is %q", other.text, err, e.text)
	}
	if other == e || other != mustEntry(t, "SLOT", "2", "CPV", "a/b-1", "repository", "gentoo",
		"DESC", "d", "_mtime_", "5") {
		t.Error("equality depends on order")
	}
}

func TestWithRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []string
		key    string
	}{
		{"line break", []string{"CPV", "a/b-1", "USE", "x\nREPO: evil"}, "USE"},
		{"carriage return", []string{"CPV", "a/b-1", "USE", "x\rREPO: evil"}, "USE"},
		{"nul", []string{"CPV", "a/b-1", "USE", "\x00"}, "USE"},
		{"escape", []string{"CPV", "a/b-1", "DESC", "\x1b]0;x\a"}, "DESC"},
		{"c1", []string{"CPV", "a/b-1", "DESC", "\u0085"}, "DESC"},
		{"no utf-8", []string{"CPV", "a/b-1", "DESC", "\xff"}, "DESC"},
		{"blanks around", []string{"CPV", "a/b-1", "DESC", "x "}, "DESC"},
		{"unknown key", []string{"CPV", "a/b-1", "SHA256", "x"}, "SHA256"},
		{"key with a line break", []string{"CPV", "a/b-1", "USE: x\nREPO", "x"}, "USE: x\nREPO"},
		{"no value", []string{"CPV", "a/b-1", "USE"}, "USE"},
		{"no cpv", []string{"USE", "x"}, "CPV"},
		{"cpv that is none", []string{"CPV", "a/b"}, "CPV"},
		{"path outside", []string{"CPV", "a/b-1", "PATH", "../x.tbz2"}, "CPV"},
		{"absolute path", []string{"CPV", "a/b-1", "PATH", "/x.tbz2"}, "CPV"},
		{"too long", []string{"CPV", "a/b-1", "DESC", strings.Repeat("x", MaxLine)}, "DESC"},
		{"too long in all", []string{"CPV", "a/b-1", "DEPEND", strings.Repeat("x", MaxLine-20),
			"IUSE", strings.Repeat("x", MaxLine-20), "USE", "x x x x x x x x x x x x x x"}, "USE"},
	} {
		e, err := Entry{}.With(c.values...)
		var v *ValueError
		if !errors.As(err, &v) || v.Key != c.key || !e.IsZero() {
			t.Errorf("%s: %.200q %v", c.name, e, err)
		}
	}
}

func metadata(keysAndValues ...string) func(string) string {
	m := map[string]string{"CATEGORY": "app-misc", "PF": "b-1", "SLOT": "0"}
	for i := 0; i < len(keysAndValues); i += 2 {
		m[keysAndValues[i]] = keysAndValues[i+1]
	}
	return func(key string) string { return m[key] }
}

func TestNewEntry(t *testing.T) {
	for _, c := range []struct {
		name     string
		metadata []string
		want     string
	}{
		{"least", nil, "CPV: app-misc/b-1\n"},
		{"build id as a number", []string{"BUILD_ID", "007"}, "BUILD_ID: 7\nCPV: app-misc/b-1\n"},
		{"reduced by use", []string{"USE", "ssl amd64", "RDEPEND",
			"ssl? ( a/b[x?,ssl?] ) !ssl? ( c/d )", "LICENSE", "ssl? ( || ( MIT BSD ) )"},
			"CPV: app-misc/b-1\nLICENSE: || ( MIT BSD )\nRDEPEND: a/b[ssl]\nUSE: ssl amd64\n"},
		{"reduced to nothing", []string{"DEPEND", "ssl? ( a/b )", "RESTRICT", "test? ( test )"},
			"CPV: app-misc/b-1\n"},
		{"not reduced", []string{"REQUIRES", "x? ( y", "IUSE", "ssl?"},
			"CPV: app-misc/b-1\nIUSE: ssl?\nREQUIRES: x? ( y\n"},
		{"not taken", []string{"DESCRIPTION", "d", "SIZE", "99", "MD5", "00", "SHA1", "00",
			"_mtime_", "1", "PATH", "x", "CPV", "evil/x-1", "BASE_URI", "http://x"},
			"CPV: app-misc/b-1\n"},
		{"repository", []string{"repository", "gentoo", "REPO", "evil"},
			"CPV: app-misc/b-1\nREPO: gentoo\n"},
	} {
		e, err := NewEntry(metadata(c.metadata...))
		if err != nil || e.text != c.want {
			t.Errorf("%s\n got %q %v\nwant %q", c.name, e.text, err, c.want)
		}
	}
}

func TestNewEntryRefuses(t *testing.T) {
	for _, c := range []struct {
		name     string
		metadata []string
		key      string
	}{
		{"no category", []string{"CATEGORY", ""}, "CATEGORY"},
		{"no pf", []string{"PF", ""}, "PF"},
		{"no slot", []string{"SLOT", ""}, "SLOT"},
		{"pf without version", []string{"PF", "b"}, "CPV"},
		{"category that climbs", []string{"CATEGORY", ".."}, "CPV"},
		{"build id is no number", []string{"BUILD_ID", "1a"}, "BUILD_ID"},
		{"build id too large", []string{"BUILD_ID", "99999999999999999999"}, "BUILD_ID"},
		{"not a dependency", []string{"RDEPEND", "a/b ( c/d"}, "RDEPEND"},
		{"not an atom", []string{"BDEPEND", "zlib"}, "BDEPEND"},
		{"empty group in a license", []string{"LICENSE", "|| ( )"}, "LICENSE"},
		{"line break", []string{"KEYWORDS", "amd64\nREPO: evil"}, "KEYWORDS"},
	} {
		e, err := NewEntry(metadata(c.metadata...))
		var v *ValueError
		if !errors.As(err, &v) || v.Key != c.key || !e.IsZero() {
			t.Errorf("%s: %q %v", c.name, e, err)
		}
	}
	_, err := NewEntry(metadata("RDEPEND", "a/b )"))
	var d *depend.Error
	if !errors.As(err, &d) || d.Token != 2 {
		t.Errorf("the cause is lost: %v", err)
	}
}

func TestComplete(t *testing.T) {
	all := []string{"CPV", "a/b-1", "SIZE", "1", "MTIME", "1", "CHOST", "i686", "REPO", "gentoo"}
	without := func(key string) Entry {
		e, err := mustEntry(t, all...).With(key, "")
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	with := header("CHOST", "i686", "REPO", "gentoo")
	for _, c := range []struct {
		name string
		e    Entry
		h    Header
		want bool
	}{
		{"all", mustEntry(t, all...), Header{}, true},
		{"no hashes needed, header empty", mustEntry(t, all...), Header{}, true},
		{"no size", without("SIZE"), with, false},
		{"no mtime", without("MTIME"), with, false},
		{"no repo", without("REPO"), header("CHOST", "i686"), false},
		{"no chost", without("CHOST"), header("REPO", "gentoo"), false},
		{"chost of the header", without("CHOST"), with, true},
		{"repo of the header", without("REPO"), with, true},
		{"size is no number", mustEntry(t, append(all, "SIZE", "x")...), with, false},
		{"no entry", Entry{}, with, false},
	} {
		if got := c.e.Complete(c.h); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestRebase(t *testing.T) {
	for _, c := range []struct {
		name      string
		e         []string
		from, to  Header
		inTo      string // as the index with header to has it
		effective string // CHOST
	}{
		{"other chost", nil, header("CHOST", "x86_64"), header("CHOST", "i686"),
			"CHOST: x86_64\nCPV: a/b-1\n", "x86_64"},
		{"same chost", nil, header("CHOST", "x86_64"), header("CHOST", "x86_64"),
			"CPV: a/b-1\n", "x86_64"},
		{"its own, which is the target's", []string{"CHOST", "i686"}, header("CHOST", "x86_64"),
			header("CHOST", "i686"), "CPV: a/b-1\n", "i686"},
		{"target has none", nil, header("CHOST", "x86_64"), Header{},
			"CHOST: x86_64\nCPV: a/b-1\n", "x86_64"},
		{"nobody has one but the target", nil, Header{}, header("CHOST", "i686"),
			"CPV: a/b-1\n", "i686"},
		{"nobody has one", nil, Header{}, Header{}, "CPV: a/b-1\n", ""},
		{"repository", nil, header("REPO", "a"), header("REPO", "b"), "CPV: a/b-1\nREPO: a\n", ""},
		{"same repository", nil, header("REPO", "a"), header("REPO", "a"), "CPV: a/b-1\n", ""},
		{"both, same", nil, header("REPO", "a", "CHOST", "c"), header("REPO", "a", "CHOST", "c"),
			"CPV: a/b-1\n", "c"},
	} {
		e := Rebase(mustEntry(t, append([]string{"CPV", "a/b-1"}, c.e...)...), c.from, c.to)
		x := &Index{Header: c.to.Clone(), Entries: []Entry{e}}
		x.SetTimestamp(5)
		_, body, _ := strings.Cut(mustWrite(t, x), "\n\n")
		if body != c.inTo+"\n" || e.Get("CHOST") != c.effective {
			t.Errorf("%s: %q with CHOST %q, want %q with %q", c.name, body, e.Get("CHOST"),
				c.inTo, c.effective)
		}
	}
}

func TestRebaseIsNotFooled(t *testing.T) {
	e := Rebase(mustEntry(t, "CPV", "a/b-1"), header("CHOST", "x\nREPO: evil"), Header{})
	if e.text != "CPV: a/b-1\n" {
		t.Errorf("%q", e.text)
	}
}

func TestElisionTakesWholeLines(t *testing.T) {
	h := header("CHOST", "i686", "VERSION", "0", "TIMESTAMP", "5")
	e := mustEntry(t, "CPV", "a/b-1", "BDEPEND", "CHOST: i686", "CHOST", "i686-pc")
	_, body, _ := strings.Cut(mustWrite(t, &Index{Header: h, Entries: []Entry{e}}), "\n\n")
	if body != "BDEPEND: CHOST: i686\nCHOST: i686-pc\nCPV: a/b-1\n\n" {
		t.Errorf("%q", body)
	}
	e = mustEntry(t, "CPV", "a/b-1", "BDEPEND", "CHOST: i686", "CHOST", "i686")
	_, body, _ = strings.Cut(mustWrite(t, &Index{Header: h, Entries: []Entry{e}}), "\n\n")
	if body != "BDEPEND: CHOST: i686\nCPV: a/b-1\n\n" {
		t.Errorf("%q", body)
	}
}

func TestInstanceKey(t *testing.T) {
	base := []string{"CPV", "a/b-1", "BUILD_ID", "2", "SIZE", "3", "BUILD_TIME", "4", "MTIME", "5"}
	want := Instance{"a/b-1", 2, 3, 4, 5}
	for _, c := range []struct {
		name   string
		change []string
		want   Instance
	}{
		{"all", nil, want},
		{"what does not count", []string{"PATH", "a/x.tbz2", "MD5", "00", "USE", "ssl"}, want},
		{"build id missing", []string{"BUILD_ID", ""}, Instance{"a/b-1", Missing, 3, 4, 5}},
		{"build time missing", []string{"BUILD_TIME", ""}, Instance{"a/b-1", 2, 3, 0, 5}},
		{"size is no number", []string{"SIZE", "x"}, Instance{"a/b-1", 2, -1, 4, 5}},
		{"mtime missing", []string{"MTIME", ""}, Instance{"a/b-1", 2, 3, 4, Missing}},
	} {
		if got := InstanceKey(mustEntry(t,
			append(slices.Clone(base), c.change...)...)); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
