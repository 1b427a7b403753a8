package pkgindex

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestUpdateHeaderAsPortage(t *testing.T) {
	for _, layout := range layouts {
		text := readFile(t, golden+layout+"/Packages.ttl-uri")
		want := mustRead(t, text).Header
		get, profile := goldenSettings(want, "Packages.ttl-uri")
		got := UpdateHeader(Header{}, get, profile)
		for _, key := range want.Keys() {
			if key != "TIMESTAMP" && key != "PACKAGES" && got.Get(key) != want.Get(key) {
				t.Errorf("%s: %s is %q, want %q", layout, key, got.Get(key), want.Get(key))
			}
		}
		if len(got.Keys()) != len(want.Keys())-2 {
			t.Errorf("%s: keys %q, want %q", layout, got.Keys(), want.Keys())
		}
	}
}

func TestUpdateHeader(t *testing.T) {
	settings := map[string]string{"CHOST": "x86_64", "IUSE_IMPLICIT": "prefix",
		"USE_EXPAND_IMPLICIT": "ELIBC", "ELIBC": "glibc", "USE_EXPAND_VALUES_ELIBC": "glibc musl",
		"USE_EXPAND_UNPREFIXED": "ARCH", "ARCH": "amd64", "GENTOO_MIRRORS": "http://a\n\thttp://b",
		"SECRET": "x"}
	get := func(key string) string { return settings[key] }
	old := header("CHOST", "i686", "URI", "http://old", "TTL", "60", "USE", "old", "REPO_REVISIONS",
		"{}", "X-OWN", "1", "PROFILE", "old", "VERSION", "0")

	got := UpdateHeader(old, get, "default/linux/amd64/23.0")
	want := header("CHOST", "i686", "REPO_REVISIONS", "{}", "X-OWN", "1", "PROFILE",
		"default/linux/amd64/23.0", "VERSION", "0",
		"IUSE_IMPLICIT", "prefix", "USE_EXPAND_IMPLICIT", "ELIBC", "ELIBC", "glibc",
		"USE_EXPAND_VALUES_ELIBC", "glibc musl",
		"USE_EXPAND_UNPREFIXED", "ARCH", "ARCH", "amd64", "GENTOO_MIRRORS", "http://a  http://b")
	if !got.Same(want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if old.Get("USE") != "old" {
		t.Error("the old header was changed")
	}
	if got := UpdateHeader(old, get, ""); !got.Same(old) {
		t.Errorf("without a profile: %v", got)
	}
	delete(settings, "IUSE_IMPLICIT")
	if got := UpdateHeader(Header{}, get, "p"); !slices.Equal(got.Keys(),
		[]string{"CHOST", "VERSION"}) {
		t.Errorf("without IUSE_IMPLICIT: %v", got)
	}
}

func TestFreshHeader(t *testing.T) {
	origin := header("CHOST", "i686", "URI", "http://host", "TTL", "60", "USE", "ssl",
		"REPO_REVISIONS", "{}", "X-OWN", "1", "DOWNLOAD_TIMESTAMP", "4",
		"TIMESTAMP", "5", "PACKAGES", "6", "VERSION", "7")
	if got := FreshHeader(origin); !got.Same(header("USE", "ssl", "X-OWN", "1", "VERSION", "0")) ||
		len(got.Keys()) != 3 {
		t.Errorf("%v", got)
	}
	if origin.Get("URI") == "" {
		t.Error("the origin's header was changed")
	}
}

func TestWriteRefuses(t *testing.T) {
	one := []Entry{mustEntry(t, "CPV", "a/b-1")}
	for _, c := range []struct {
		name    string
		header  Header
		entries []Entry
		key     string
	}{
		{"no timestamp", header("VERSION", "0"), one, "TIMESTAMP"},
		{"no number as timestamp", header("TIMESTAMP", "now"), one, "TIMESTAMP"},
		{"line break in a value", header("TIMESTAMP", "5", "USE",
			"x\n\nCPV: evil/x-1"), one, "USE"},
		{"control character in a value", header("TIMESTAMP", "5", "USE", "\x1b[m"), one, "USE"},
		{"no utf-8", header("TIMESTAMP", "5", "USE", "\xff"), one, "USE"},
		{"colon in a key", header("TIMESTAMP", "5", "A:B", "x"), one, `"A:B"`},
		{"line break in a key", header("TIMESTAMP", "5", "A\nB", "x"), one, `"A\nB"`},
		{"empty key", header("TIMESTAMP", "5", "", "x"), one, `""`},
		{"blank at a key", header("TIMESTAMP", "5", "A ", "x"), one, `"A "`},
		{"too long", header("TIMESTAMP", "5", "USE", strings.Repeat("x", MaxLine)), one, "USE"},
		{"entry of nothing", header("TIMESTAMP", "5"), []Entry{{}}, "CPV"},
	} {
		var b bytes.Buffer
		err := (&Index{Header: c.header, Entries: c.entries}).Write(&b)
		var v *ValueError
		if !errors.As(err, &v) || v.Key != c.key || b.Len() > 0 {
			t.Errorf("%s: %v, %d bytes written", c.name, err, b.Len())
		}
	}
}

func TestWriteSortsByCPVAndKeepsOrderWithin(t *testing.T) {
	var entries []Entry
	for _, s := range []string{"a/b-1.9", "a/b-1.10 2", "a/b-1.10 1", "a-b/c-1", "a/b-1.10 3"} {
		cpv, id, _ := strings.Cut(s, " ")
		entries = append(entries, mustEntry(t, "CPV", cpv, "BUILD_ID", id))
	}
	x := &Index{Header: header("TIMESTAMP", "5", "VERSION", "2", "PACKAGES", "99"),
		Entries: entries}
	wantText(t, mustWrite(t, x),
		"PACKAGES: 5\nTIMESTAMP: 5\nVERSION: 0\n\nCPV: a-b/c-1\n\nBUILD_ID: 2\nCPV: a/b-1.10\n\nBUILD_ID: 1\nCPV: a/b-1.10\n\nBUILD_ID: 3\nCPV: a/b-1.10\n\nCPV: a/b-1.9\n\n")
	if x.Entries[0].CPV() != "a/b-1.9" || x.Header.Get("PACKAGES") != "99" {
		t.Error("writing changed the index")
	}
}

func TestWriteGzipRefusesTimes(t *testing.T) {
	for _, time := range []int64{-1, 1 << 32} {
		var b bytes.Buffer
		if err := WriteGzip(&b, nil, time); err == nil || b.Len() > 0 {
			t.Errorf("%d: %v", time, err)
		}
	}
}

func TestHeader(t *testing.T) {
	var h Header
	h.Delete("X")
	h.Set("REPO", " gentoo ")
	h.Set("_mtime_", "5")
	h.Set("X", "1")
	h.Set("ABC", "2")
	h.Set("ABC", "")
	if h.Get("repository") != "gentoo" || h.Get("MTIME") != "5" || h.Get("ABC") != "" {
		t.Errorf("%v", h)
	}
	if got := h.Keys(); !slices.Equal(got, []string{"X", "MTIME", "REPO"}) {
		t.Errorf("%q", got)
	}
	c := h.Clone()
	c.Set("X", "other")
	if h.Get("X") != "1" {
		t.Error("a clone is no copy")
	}
}

// plainText writes a text.
func plainText(text []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	}
}
