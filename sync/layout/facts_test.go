package layout

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func fullFacts() *Facts {
	common := &Flags{CFLAGS: "-O2 -march=znver3", CXXFLAGS: "-O2 -march=znver3",
		CPU: "cpu_flags_x86_avx2"}
	return &Facts{
		Packages: []PackageFacts{
			{Path: "app-misc/bar-1.tbz2", Installed: 184320, Rules: 1, Flags: common},
			{Path: "app-misc/foo-1.tbz2", Rules: 2,
				Flags: &Flags{RUSTFLAGS: "-C target-cpu=native"}},
			{Path: "app-misc/zoo\t\\\xff-1.tbz2", Installed: 1, Flags: common},
			{Path: "dev-libs/none-1.gpkg.tar"},
		},
		Distfiles: []DistfileFacts{{Name: "a b.tar", Size: 0},
			{Name: "foo-1.tar.gz", Size: 1 << 40}},
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
	got, err := readFacts(&b)
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
	later := strings.NewReplacer("znver3\t\tcpu_flags_x86_avx2\n",
		"znver3\t\tcpu_flags_x86_avx2\t\tx\n", "\t2\t2\n", "\t2\t2\tnative=avx2\n",
		"distfile\ta", "news\tof\tsomething\ndistfile\ta").Replace(fullFactsText)
	got, err := readFacts(strings.NewReader(later))
	if err != nil || !got.Equal(fullFacts()) {
		t.Errorf("%v %+v", err, got)
	}
	var newer *FactsVersionError
	if _, err := readFacts(strings.NewReader("pkgsneak facts\t2\n\x00\x01")); !errors.As(err,
		&newer) || newer.Version != "2" {
		t.Errorf("a newer version: %v", err)
	}
}

func TestFactsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, row := range map[string][2]string{
		"no header":             {"pkgsneak facts\t1\n", ""},
		"version 0":             {"facts\t1\n", "facts\t0\n"},
		"no version":            {"facts\t1\n", "facts\n"},
		"cut in a line":         {"1099511627776\n", "10995"},
		"packages out of order": {"app-misc/bar-1", "app-misc/goo-1"},
		"a package twice": {"app-misc/foo-1.tbz2\t0\t2\t2\n",
			"app-misc/foo-1.tbz2\t0\t2\t2\npackage\tapp-misc/foo-1.tbz2\t0\t2\t2\n"},
		"distfiles out of order": {"a b.tar", "x b.tar"},
		"package above":          {"dev-libs/none-1.gpkg.tar", "dev-libs/../../none"},
		"distfile with slash":    {"foo-1.tar.gz", "foo/1.tar.gz"},
		"flags that are none":    {"\t2\t2\n", "\t2\t3\n"},
		"flags with few fields":  {"\t\tcpu_flags_x86_avx2\n", "\n"},
		"number negative":        {"\t184320\t", "\t-1\t"},
		"number huge":            {"\t184320\t", "\t18446744073709551615\t"},
		"number missing":         {"none-1.gpkg.tar\t0\t0\t0", "none-1.gpkg.tar\t0\t0"},
		"bad escape":             {`\xFF`, `\xF`},
		"line too long": {"-O2 -march=znver3\t",
			strings.Repeat("-O2 ", maxFactsLine) + "\t"},
		"flags too long": {"-O2 -march=znver3\t", strings.Repeat("-O2 ", maxFlags) + "\t"},
	} {
		text := strings.Replace(fullFactsText, row[0], row[1], 1)
		if text == fullFactsText {
			t.Errorf("%s: changes nothing", name)
		}
		if got, err := readFacts(strings.NewReader(text)); err == nil || got != nil {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	for name, f := range map[string]*Facts{
		"packages out of order": {Packages: []PackageFacts{{Path: "b"}, {Path: "a"}}},
		"a distfile twice": {Distfiles: []DistfileFacts{{Name: "a", Size: 1},
			{Name: "a", Size: 2}}},
		"a negative size":        {Distfiles: []DistfileFacts{{Name: "a", Size: -1}}},
		"a path that leads away": {Packages: []PackageFacts{{Path: "../a"}}},
	} {
		if err := f.Write(&bytes.Buffer{}); err == nil {
			t.Errorf("written: %s", name)
		}
	}
	if f := MakeFlags(strings.Repeat("-march=native ", 2000), "", "",
		""); len(f.CFLAGS) > maxFlags || !strings.HasSuffix(f.CFLAGS, "-march=native") {
		t.Errorf("cut: %d bytes, %.20q", len(f.CFLAGS), f.CFLAGS)
	}
}

func FuzzReadFacts(f *testing.F) {
	f.Add([]byte(fullFactsText))
	f.Add([]byte("pkgsneak facts\t1\nflags\t\t\t\t\npackage\ta\t0\t0\t1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var facts *Facts
		var err error
		frugal(t, 1<<20+uint64(len(data))*200,
			func() { facts, err = readFacts(bytes.NewReader(data)) })
		if err != nil {
			return
		}
		var text bytes.Buffer
		if err := facts.Write(&text); err != nil {
			t.Fatalf("%q is read and not written: %v", data, err)
		}
		again, err := readFacts(bytes.NewReader(text.Bytes()))
		if err != nil || !again.Equal(facts) {
			t.Fatalf("%q is written and read as another: %v", text.Bytes(), err)
		}
	})
}

// Facts that could not be written in the end are refused before the first byte of an export.
func TestFactsThatAreTooLong(t *testing.T) {
	f := &Facts{Distfiles: []DistfileFacts{{Name: "a.tar", Size: 1}}}
	var text bytes.Buffer
	if err := f.Write(&text); err != nil {
		t.Fatal(err)
	}
	long := int64(text.Len())
	if err := CheckFacts(f, long); err != nil {
		t.Errorf("%d of %d bytes: %v", long, long, err)
	}
	if err := CheckFacts(f, long-1); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a byte too long: %v", err)
	}
}
