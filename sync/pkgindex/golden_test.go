package pkgindex

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const golden = "../../testdata/golden/"

var (
	layouts  = []string{"xpak-classic", "xpak-multi", "gpkg-classic", "gpkg-multi", "mixed"}
	variants = []string{"Packages", "Packages.of-gz", "Packages.ttl-uri", "Packages.no-profile",
		"Packages.emerge-p-untrusted"}
)

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustRead(t testing.TB, text []byte) *Index {
	t.Helper()
	x, err := Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func mustWrite(t testing.TB, x *Index) string {
	t.Helper()
	var b bytes.Buffer
	if err := x.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// wantText compares texts and shows the first line that differs.
func wantText(t *testing.T, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("line %d\n got %q\nwant %q", i+1, g[i], w[i])
		}
	}
	t.Fatalf("got %d lines, want %d", len(g), len(w))
}

func eachGolden(t *testing.T, test func(t *testing.T, layout, variant string, text []byte)) {
	for _, layout := range layouts {
		for _, variant := range variants {
			t.Run(layout+"/"+variant, func(t *testing.T) {
				test(t, layout, variant, readFile(t, filepath.Join(golden, layout, variant)))
			})
		}
	}
}

func TestGoldenReadWriteIsIdentity(t *testing.T) {
	eachGolden(t, func(t *testing.T, _, _ string, text []byte) {
		x := mustRead(t, text)
		if len(x.Remarks) > 0 {
			t.Errorf("remarks about an index by Portage: %v", x.Remarks)
		}
		wantText(t, mustWrite(t, x), string(text))
	})
}

// goldenPackage is what is known of a package: its metadata as Portage reads it, and the file.
type goldenPackage struct {
	path, size, mtime, md5, sha1 string
	metadata                     map[string]string
}

func (g goldenPackage) get(key string) string { return g.metadata[key] }

func (g goldenPackage) entry(t testing.TB, hashes bool) Entry {
	t.Helper()
	e, err := NewEntry(g.get)
	if err == nil {
		e, err = e.With("PATH", g.path, "SIZE", g.size, "MTIME", g.mtime)
	}
	if err == nil && hashes {
		e, err = e.With("MD5", g.md5, "SHA1", g.sha1)
	}
	if err != nil {
		t.Fatalf("%s: %v", g.path, err)
	}
	return e
}

func goldenPackages(t testing.TB, layout string) []goldenPackage {
	t.Helper()
	metadata := make(map[string]map[string]string)
	if err := json.Unmarshal(readFile(t, filepath.Join(golden, layout, "metadata.json")),
		&metadata); err != nil {
		t.Fatal(err)
	}
	var all []goldenPackage
	for line := range strings.Lines(string(readFile(t,
		filepath.Join(golden, layout, "FILES.tsv")))) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSpace(line), "\t")
		all = append(all, goldenPackage{f[0], f[1], f[2], f[3], f[4], metadata[f[0]]})
	}
	return all
}

// goldenSettings are the machine's settings as far as its header tells them.
func goldenSettings(h Header, variant string) (get func(string) string, profile string) {
	if variant == "Packages.no-profile" {
		return func(string) string { return "" }, ""
	}
	return func(key string) string {
		switch key {
		case "PORTAGE_BINHOST_HEADER_URI":
			key = "URI"
		case "PORTAGE_BINHOST_TTL":
			key = "TTL"
		}
		return h.Get(key)
	}, h.Get("PROFILE")
}

// TestGoldenIsBuiltFromPackages makes each index anew, out of the packages' metadata and the
// machine's settings.
func TestGoldenIsBuiltFromPackages(t *testing.T) {
	eachGolden(t, func(t *testing.T, layout, variant string, text []byte) {
		want := mustRead(t, text)
		get, profile := goldenSettings(want.Header, variant)
		x := &Index{Header: UpdateHeader(Header{}, get, profile)}
		time, _ := want.Timestamp()
		x.SetTimestamp(time)
		for _, g := range goldenPackages(t, layout) {
			x.Entries = append(x.Entries, g.entry(t, variant != "Packages.emerge-p-untrusted"))
		}
		orderAs(x.Entries, want.Entries)
		wantText(t, mustWrite(t, x), string(text))
	})
}

// orderAs gives entries of one CPV the order that they have in the golden index, where it comes
// from a directory walk, and leaves the CPVs themselves in reverse.
func orderAs(entries, want []Entry) {
	place := func(e Entry) int {
		return slices.IndexFunc(want, func(w Entry) bool { return w.Path() == e.Path() })
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		if c := strings.Compare(b.CPV(), a.CPV()); c != 0 {
			return c
		}
		return place(a) - place(b)
	})
}

func TestGoldenGzip(t *testing.T) {
	for _, layout := range layouts {
		t.Run(layout, func(t *testing.T) {
			plain := readFile(t, filepath.Join(golden, layout, "Packages.of-gz"))
			want := readFile(t, filepath.Join(golden, layout, "Packages.gz"))
			time, _ := mustRead(t, plain).Timestamp()
			var got bytes.Buffer
			if err := WriteGzip(&got, plainText(plain), time); err != nil {
				t.Fatal(err)
			}
			// where the header has how hard the compressor tried (RFC 1952, XFL); no reader asks
			const effort = 8
			want[effort] = got.Bytes()[effort]
			if !bytes.Equal(got.Bytes()[:10], want[:10]) {
				t.Errorf("gzip header\n got %x\nwant %x", got.Bytes()[:10], want[:10])
			}
			z, err := gzip.NewReader(&got)
			if err != nil {
				t.Fatal(err)
			}
			back, err := io.ReadAll(z)
			if err != nil || !bytes.Equal(back, plain) {
				t.Errorf("does not decompress to the same: %v", err)
			}
		})
	}
}
