package drive

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
)

func fullFacts() *Facts {
	common := &Flags{CFLAGS: "-O2 -march=znver3", CXXFLAGS: "-O2 -march=znver3", CPU: "cpu_flags_x86_avx2"}
	return &Facts{
		Packages: []PackageFacts{
			{Path: "app-misc/bar-1.tbz2", Installed: 184320, Rules: 1, Flags: common},
			{Path: "app-misc/foo-1.tbz2", Rules: 2, Flags: &Flags{RUSTFLAGS: "-C target-cpu=native"}},
			{Path: "app-misc/zoo\t\\\xff-1.tbz2", Installed: 1, Flags: common},
			{Path: "dev-libs/none-1.gpkg.tar"},
		},
		Distfiles: []DistfileFacts{{"a b.tar", 0}, {"foo-1.tar.gz", 1 << 40}},
	}
}

const fullFactsText = "pkgsneak facts\t1\n" +
	"flags\t-O2 -march=znver3\t-O2 -march=znver3\t\tcpu_flags_x86_avx2\n" +
	"flags\t\t\t-C target-cpu=native\t\n" +
	"package\tapp-misc/bar-1.tbz2\t184320\t1\t1\n" +
	"package\tapp-misc/foo-1.tbz2\t0\t2\t2\n" +
	"package\tapp-misc/zoo\\x09\\x5C\\xFF-1.tbz2\t1\t0\t1\n" +
	"package\tdev-libs/none-1.gpkg.tar\t0\t0\t0\n" +
	"distfile\ta b.tar\t0\n" +
	"distfile\tfoo-1.tar.gz\t1099511627776\n"

func TestFactsRoundTrip(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := fullFacts().Write(&b); err != nil || b.String() != fullFactsText {
		t.Fatalf("%v\n%s", err, b.String())
	}
	got, err := ReadFacts(&b)
	if err != nil || !reflect.DeepEqual(got, fullFacts()) || !got.Equal(fullFacts()) {
		t.Errorf("%v %+v", err, got)
	}
	if p, ok := got.Package("app-misc/foo-1.tbz2"); !ok || p.Rules != 2 {
		t.Errorf("%+v", p)
	}
	got.Packages[0].Flags.CPU = ""
	if got.Equal(fullFacts()) {
		t.Error("other flags, and equal")
	}
}

// A later version may add lines and fields without being another one.
func TestFactsOfALaterVersion(t *testing.T) {
	t.Parallel()
	later := strings.NewReplacer("znver3\t\tcpu_flags_x86_avx2\n", "znver3\t\tcpu_flags_x86_avx2\t\tx\n", "\t2\t2\n", "\t2\t2\tnative=avx2\n",
		"distfile\ta", "news\tof\tsomething\ndistfile\ta").Replace(fullFactsText)
	got, err := ReadFacts(strings.NewReader(later))
	if err != nil || !got.Equal(fullFacts()) {
		t.Errorf("%v %+v", err, got)
	}
	var newer *FactsVersionError
	if _, err := ReadFacts(strings.NewReader("pkgsneak facts\t2\n\x00\x01")); !errors.As(err, &newer) || newer.Version != "2" {
		t.Errorf("a newer version: %v", err)
	}
}

func TestFactsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, row := range map[string][2]string{
		"no header":              {"pkgsneak facts\t1\n", ""},
		"version 0":              {"facts\t1\n", "facts\t0\n"},
		"no version":             {"facts\t1\n", "facts\n"},
		"cut in a line":          {"1099511627776\n", "10995"},
		"packages out of order":  {"app-misc/bar-1", "app-misc/goo-1"},
		"a package twice":        {"app-misc/foo-1.tbz2\t0\t2\t2\n", "app-misc/foo-1.tbz2\t0\t2\t2\npackage\tapp-misc/foo-1.tbz2\t0\t2\t2\n"},
		"distfiles out of order": {"a b.tar", "x b.tar"},
		"package above":          {"dev-libs/none-1.gpkg.tar", "dev-libs/../../none"},
		"distfile with slash":    {"foo-1.tar.gz", "foo/1.tar.gz"},
		"flags that are none":    {"\t2\t2\n", "\t2\t3\n"},
		"flags with few fields":  {"\t\tcpu_flags_x86_avx2\n", "\n"},
		"number negative":        {"\t184320\t", "\t-1\t"},
		"number huge":            {"\t184320\t", "\t18446744073709551615\t"},
		"number missing":         {"none-1.gpkg.tar\t0\t0\t0", "none-1.gpkg.tar\t0\t0"},
		"bad escape":             {`\xFF`, `\xF`},
		"line too long":          {"-O2 -march=znver3\t", strings.Repeat("-O2 ", maxFactsLine) + "\t"},
		"flags too long":         {"-O2 -march=znver3\t", strings.Repeat("-O2 ", maxFlags) + "\t"},
	} {
		text := strings.Replace(fullFactsText, row[0], row[1], 1)
		if text == fullFactsText {
			t.Errorf("%s: changes nothing", name)
		}
		if got, err := ReadFacts(strings.NewReader(text)); err == nil || got != nil {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	for name, f := range map[string]*Facts{
		"packages out of order":  {Packages: []PackageFacts{{Path: "b"}, {Path: "a"}}},
		"a distfile twice":       {Distfiles: []DistfileFacts{{"a", 1}, {"a", 2}}},
		"a negative size":        {Distfiles: []DistfileFacts{{"a", -1}}},
		"a path that leads away": {Packages: []PackageFacts{{Path: "../a"}}},
	} {
		if err := f.Write(&bytes.Buffer{}); err == nil {
			t.Errorf("written: %s", name)
		}
	}
	if f := MakeFlags(strings.Repeat("-march=native ", 2000), "", "", ""); len(f.CFLAGS) > maxFlags || !strings.HasSuffix(f.CFLAGS, "-march=native") {
		t.Errorf("cut: %d bytes, %.20q", len(f.CFLAGS), f.CFLAGS)
	}
}

func FuzzReadFacts(f *testing.F) {
	f.Add([]byte(fullFactsText))
	f.Add([]byte("pkgsneak facts\t1\nflags\t\t\t\t\npackage\ta\t0\t0\t1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var facts *Facts
		var err error
		frugal(t, 1<<20+uint64(len(data))*200, func() { facts, err = ReadFacts(bytes.NewReader(data)) })
		if err != nil {
			return
		}
		var text bytes.Buffer
		if err := facts.Write(&text); err != nil {
			t.Fatalf("%q is read and not written: %v", data, err)
		}
		again, err := ReadFacts(bytes.NewReader(text.Bytes()))
		if err != nil || !again.Equal(facts) {
			t.Fatalf("%q is written and read as another: %v", text.Bytes(), err)
		}
	})
}

// telling lets a host say that it has everything it exports, and more.
func telling(h *host, more ...string) {
	h.tell = func(items []Item) (*Facts, *Holdings) {
		f := &Facts{}
		for _, it := range items {
			switch it.Kind {
			case Package:
				f.Packages = append(f.Packages, PackageFacts{Path: it.Path, Rules: 1})
			case Distfile:
				f.Distfiles = append(f.Distfiles, DistfileFacts{it.Path, it.Size})
			}
		}
		for _, name := range more {
			f.Packages = append(f.Packages, PackageFacts{Path: name})
		}
		slices.SortFunc(f.Packages, func(a, b PackageFacts) int { return strings.Compare(a.Path, b.Path) })
		slices.SortFunc(f.Distfiles, func(a, b DistfileFacts) int { return strings.Compare(a.Name, b.Name) })
		return f, &Holdings{Holding{Complete: true, Count: len(f.Packages)}, Holding{Complete: true, Count: len(f.Distfiles)}}
	}
}

// What the origin has is told apart from what is here; a generation with less is of another format, so that a program that knew only one takes nothing for gone.
func TestStock(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	stock := func(kind Kind) *Stock {
		t.Helper()
		s, err := load(t, h, mount).Stock(kind)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	mustExport(t, h, mount) // as an older program does
	for _, kind := range []Kind{Package, Distfile} {
		g := load(t, h, mount)
		if s := stock(kind); s.Complete || s.Reason != older || s.Count != len(g.Items(kind)) || !s.Has(g.Items(kind)[0].Path) || s.Has("no such file") {
			t.Errorf("without facts: %+v", s)
		}
		if g.Record.Format != 1 {
			t.Errorf("without facts: format %d", g.Record.Format)
		}
	}
	telling(h)
	mustExport(t, h, mount)
	if s, g := stock(Package), load(t, h, mount); !s.Complete || s.Reason != "" || s.Count != len(g.Packages()) || g.Record.Format != 1 {
		t.Errorf("everything is here: %+v, format %d", s, g.Record.Format)
	}
	telling(h, "app-misc/elsewhere-1.tbz2")
	mustExport(t, h, mount)
	if s, g := stock(Package), load(t, h, mount); !s.Complete || !s.Has("app-misc/elsewhere-1.tbz2") || s.Count != len(g.Packages())+1 || g.Record.Format != 2 {
		t.Errorf("one is elsewhere: %+v, format %d", s, g.Record.Format)
	}
	if s := stock(Distfile); !s.Complete || s.Has("app-misc/elsewhere-1.tbz2") || !s.Has(load(t, h, mount).Distfiles()[0].Path) {
		t.Errorf("distfiles: %+v", s)
	}
	if _, err := load(t, h, mount).Stock(Program); err == nil {
		t.Error("a stock of programs")
	}
	// A list that is damaged makes nothing complete.
	name := filepath.Join(mount, TreeDir, "buildhost", FactsFile(h.clock))
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	writeFile(t, name, string(data))
	if s := stock(Package); s.Complete || !strings.Contains(s.Reason, "damaged") || s.Count != len(load(t, h, mount).Packages()) {
		t.Errorf("damaged: %+v", s)
	}
}

func TestHostileFacts(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		packed []byte
		want   string
	}{
		"no zstd":      {[]byte(fullFactsText), "magic"},
		"bomb":         {pack(t, slices.Concat([]byte("pkgsneak facts\t1\n"), bytes.Repeat([]byte("news\n"), MaxFacts/5+1))), "longer than"},
		"not facts":    {pack(t, []byte("VERSION: 0\n")), "no facts"},
		"other counts": {pack(t, []byte("pkgsneak facts\t1\n")), "its list 0"},
		"newer":        {pack(t, []byte("pkgsneak facts\t9\n")), "use a newer pkgsneak"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mount, h := tempDir(t), small()
			telling(h)
			mustExport(t, h, mount)
			name := FactsFile(h.clock)
			writeFile(t, filepath.Join(mount, TreeDir, "buildhost", name), string(row.packed))
			reforge(t, h, mount, func(l *manifest.List, _ *Record) {
				for i := range l.Files {
					if l.Files[i].Path == name {
						l.Files[i].Size, l.Files[i].Sum = int64(len(row.packed)), digest.Bytes(row.packed)
					}
				}
			})
			s, err := load(t, h, mount).Stock(Package)
			if err != nil || s.Complete || !strings.Contains(s.Reason, row.want) {
				t.Errorf("%+v %v, want something about %q", s, err, row.want)
			}
		})
	}
}

// A generation whose list is not in what the origin has is not signed.
func TestStockThatContradicts(t *testing.T) {
	t.Parallel()
	for name, tell := range map[string]func([]Item) (*Facts, *Holdings){
		"a carried file is not the origin's": func([]Item) (*Facts, *Holdings) {
			return &Facts{}, &Holdings{Holding{Complete: true}, Holding{Complete: true}}
		},
		"counts": func([]Item) (*Facts, *Holdings) {
			return &Facts{}, &Holdings{Holding{Complete: true, Count: 1}, Holding{Complete: true}}
		},
		"facts without a record": func([]Item) (*Facts, *Holdings) { return &Facts{}, nil },
		"a record without facts": func([]Item) (*Facts, *Holdings) { return nil, &Holdings{} },
	} {
		mount, h := tempDir(t), small()
		mustExport(t, h, mount)
		before := load(t, h, mount).Serial()
		h.tell = tell
		if err := h.export(t.Context(), mount); err == nil || load(t, h, mount).Serial() != before {
			t.Errorf("%s: signed", name)
		}
	}
}

// A generation with a package that its catalogue does not describe is not signed; of one that an older program signed verify tells it.
func TestCatalogueWithoutAnEntry(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	before := load(t, h, mount)
	h.pkg("app-misc/foo-1.unknown", "no entry is made of it") // index makes entries of what ends like a package
	if err := h.export(t.Context(), mount); err == nil || load(t, h, mount).Serial() != before.Serial() {
		t.Errorf("signed: %v", err)
	}
	h.drop(Package, "app-misc/foo-1.unknown")
	name, packed := CatalogueFile(before.Serial()), pack(t, []byte("VERSION: 0\n\n"))
	writeFile(t, filepath.Join(mount, TreeDir, "buildhost", name), string(packed))
	reforge(t, h, mount, func(l *manifest.List, r *Record) {
		r.Counts.CatalogueBytes = int64(len("VERSION: 0\n\n"))
		for i := range l.Files {
			if l.Files[i].Path == name {
				l.Files[i].Size, l.Files[i].Sum = int64(len(packed)), digest.Bytes(packed)
			}
		}
	})
	report, err := load(t, h, mount).Verify(t.Context(), VerifyOptions{})
	if err != nil || len(report.Bad) != len(before.Packages()) || !strings.Contains(report.Bad[0].Reason, "no entry") {
		t.Errorf("%v %+v", err, report.Bad)
	}
}
