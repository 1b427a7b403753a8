package binpkg

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// anyPackage returns a package of a golden layout.
func anyPackage(t testing.TB, layout string) (data []byte, path string) {
	t.Helper()
	dir := filepath.Join(golden, layout)
	var paths []string
	for p := range indexEntries(t, filepath.Join(dir, "Packages")) {
		paths = append(paths, p)
	}
	path = slices.Min(paths)
	data, err := os.ReadFile(filepath.Join(dir, "pkgdir", filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return data, path
}

func TestParseName(t *testing.T) {
	for _, c := range []struct {
		path string
		want Name
	}{
		{"app-misc/foo-1.tbz2", Name{Category: "app-misc", PN: "foo", PF: "foo-1"}},
		{"All/foo-1-r2.tbz2", Name{PN: "foo", PF: "foo-1-r2", InAll: true}},
		{"app-misc/foo-1.gpkg.tar", Name{Format: GPKG, Category: "app-misc", PN: "foo",
			PF: "foo-1"}},
		{"All/foo-1.gpkg.tar", Name{Format: GPKG, PN: "foo", PF: "foo-1", InAll: true}},
		{"app-misc/foo/foo-1-2.xpak", Name{Category: "app-misc", PN: "foo",
			PF: "foo-1", BuildID: 2}},
		{"x11-libs/gtk+/gtk+-3.24-r1-10.gpkg.tar", Name{Format: GPKG, Category: "x11-libs",
			PN: "gtk+", PF: "gtk+-3.24-r1", BuildID: 10}},
		// 2 is the version
		{"a/foo-2.gpkg.tar", Name{Format: GPKG, Category: "a", PN: "foo", PF: "foo-2"}},
		{"a/foo-bar/foo-bar-2-3.xpak",
			Name{Category: "a", PN: "foo-bar", PF: "foo-bar-2", BuildID: 3}},
	} {
		c.want.Path = c.path
		got, err := ParseName(c.path)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.path, got, err, c.want)
		}
	}
	for path, reason := range map[string]string{
		"":                               "not a path",
		"/app-misc/foo-1.tbz2":           "not a path",
		"../app-misc/foo-1.tbz2":         "not a path",
		"app-misc//foo-1.tbz2":           "not a path",
		"app-misc/./foo-1.tbz2":          "not a path",
		"app-misc/foo-1.tar":             "none of the extensions",
		"Packages":                       "none of the extensions",
		"foo-1.tbz2":                     "is not a category",
		".hidden/foo-1.tbz2":             "is not a category",
		"app-misc/foo.tbz2":              "not a package name",
		"app-misc/foo-1-2.tbz2":          "not a package name", // a classic name has no build id
		"app-misc/.tbz2":                 "not a package name",
		"app-misc/foo/foo-1.tbz2":        "without a build id",
		"app-misc/foo/foo-1.gpkg.tar":    "without a build id",
		"app-misc/foo-1.xpak":            "no build id",
		"app-misc/foo/foo-1.xpak":        "no build id",
		"app-misc/foo/foo-1-0.xpak":      "no build id",
		"app-misc/foo/foo-1-01.xpak":     "no build id",
		"app-misc/foo/foo-1-+1.xpak":     "no build id",
		"app-misc/foo-1-2.xpak":          "with a build id",
		"app-misc/foo-1-2.gpkg.tar":      "with a build id",
		"app-misc/bar/foo-1-2.gpkg.tar":  "with a build id",
		"All/foo-1-2.gpkg.tar":           "with a build id",
		"a/app-misc/foo/foo-1-2.xpak":    "with a build id",
		"app-misc/foo/foo-1-0.gpkg.tar":  "not a package name",
		"app-misc/foo-1-1-1.gpkg.tar":    "not a package name",
		"app-misc/foo/foo-1-2.gpkg.tar~": "none of the extensions",
	} {
		_, err := ParseName(path)
		wantReason(t, "ParseName", err, path, reason)
	}
}

// TestCollapse: what Python's " ".join(v.decode("utf-8", "replace").split())
// gives; the table was made by it, in hex.
func TestCollapse(t *testing.T) {
	f, err := os.Open("testdata/collapse.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows := 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		rows++
		in, want, _ := strings.Cut(lines.Text(), "\t")
		raw, err1 := hex.DecodeString(in)
		value, err2 := hex.DecodeString(want)
		if err1 != nil || err2 != nil {
			t.Fatal(lines.Text())
		}
		if got := collapse(string(raw)); got != string(value) {
			t.Errorf("%q: %q, Python says %q", raw, got, value)
		}
	}
	if err := lines.Err(); err != nil || rows < 300 {
		t.Fatalf("%d rows, %v", rows, err)
	}
}

func TestValues(t *testing.T) {
	p, err := readBytes(xpakFile(gz(t, nil), append(minimal, entry{"USE", " a\n b  c\n"},
		entry{"CFLAGS", "-O2\n"},
		entry{"NEEDED", "x"}, entry{"SLOT", "1/2\n"}, entry{"RDEPEND", ""})...), xpakPath)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"USE": "a b c", "CFLAGS": "-O2", "SLOT": "1/2", // the last one counts
		"EAPI": "0", "NEEDED": "", "DEPEND": "", "RDEPEND": "", "PF": "labhello-1.0-r2",
	} {
		if got := p.Get(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if raw, ok := p.values.get("USE"); !ok || raw != " a\n b  c\n" {
		t.Errorf("raw USE is %q, %v", raw, ok)
	}
	for key, want := range map[string]bool{"RDEPEND": true, "DEPEND": false, "NEEDED": false} {
		if raw, ok := p.values.get(key); ok != want || len(raw) != 0 {
			t.Errorf("raw %s is %q, %v", key, raw, ok)
		}
	}
	if !slices.IsSortedFunc(keys[:], strings.Compare) {
		t.Error("keys are not sorted")
	}
}

func TestBelowAll(t *testing.T) {
	p, err := readBytes(xpakFile(nil, minimal...), "All/labhello-1.0-r2.tbz2")
	if err != nil {
		t.Fatal(err)
	}
	if !p.InAll || p.Category != "app-misc" {
		t.Errorf("%+v", p.Name)
	}
}

// TestContradictions: the metadata must fit the name.
func TestContradictions(t *testing.T) {
	with := func(key, value string) []entry {
		return append(slices.Clone(minimal), entry{key, value})
	}
	for _, c := range []struct {
		name, path string
		entries    []entry
		reason     string
	}{
		{"other-name", "app-misc/labhello-1.0.tbz2", minimal,
			`the name says "labhello-1.0", the metadata "labhello-1.0-r2"`},
		{"other-category", "app-arch/labhello-1.0-r2.tbz2", minimal,
			`the directory says category "app-arch"`},
		{"bad-category-below-All", "All/labhello-1.0-r2.tbz2", with("CATEGORY", "../evil"),
			"is not a category"},
		{"blank-slot", xpakPath, with("SLOT", " \n"), "no SLOT"},
		{"negative-build-id", xpakPath, with("BUILD_ID", "-1"), "is not a number"},
		{"other-build-id", xpakPath, with("BUILD_ID", "7\n"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readBytes(xpakFile(nil, c.entries...), c.path)
			wantReason(t, "Read", err, c.path, c.reason)
		})
	}
}

// TestXPAKKeys: emerge never comes back from the first four.
func TestXPAKKeys(t *testing.T) {
	for _, c := range []struct{ key, read, check string }{
		{"", "leaves its directory", ""},
		{".", "leaves its directory", ""},
		{"/", "leaves its directory", ""},
		{"a/../../b", "leaves its directory", ""},
		{"/abs", "leaves its directory", ""},
		{"a\x00b", "leaves its directory", ""},
		{"sub/key", "", "is not a file name"}, // emerge fails with a traceback
		{"k\xff", "", ""},
		{"..a", "", ""},
	} {
		t.Run(fmt.Sprintf("%q", c.key), func(t *testing.T) {
			data := xpakFile(gz(t, make([]byte, 1024)),
				append(slices.Clone(minimal), entry{c.key, "v"})...)
			_, err := readBytes(data, xpakPath)
			wantReason(t, "Read", err, xpakPath, c.read)
			if c.check == "" {
				c.check = c.read
			}
			wantReason(t, "Check", checkBytes(t, data, xpakPath), xpakPath, c.check)
		})
	}
}

// TestLargeXPAK: a segment that is longer than the first guess.
func TestLargeXPAK(t *testing.T) {
	env := strings.Repeat("x", 3*tailGuess)
	data := xpakFile(gz(t, make([]byte, 1024)), append(slices.Clone(minimal),
		entry{"environment.bz2", env}, entry{"repository", "gentoo\n"})...)
	p, err := readBytes(data, xpakPath)
	if err != nil || p.Get("repository") != "gentoo" {
		t.Fatalf("%v", err)
	}
}

// TestMetadataCompressions: by extension, and by magic where zstd does.
func TestMetadataCompressions(t *testing.T) {
	meta := metadataTar(t, minimal...)
	large := metadataTar(t, append(slices.Clone(minimal),
		entry{"NEEDED", strings.Repeat("y", 2*metadataGuess)})...)
	bomb := metadataTar(t, append(slices.Clone(minimal),
		entry{"NEEDED", strings.Repeat("y", MaxMetadata)})...)
	for _, c := range []struct {
		name, member string
		data         []byte
		reason       string
	}{
		{"gzip", "metadata.tar.gz", gz(t, meta), ""},
		{"zstd", "metadata.tar.zst", zst(t, meta), ""},
		{"lz4", "metadata.tar.lz4", lz4ed(t, meta), ""},
		{"large-gzip", "metadata.tar.gz", gz(t, large), ""},
		{"large-zstd", "metadata.tar.zst", zst(t, large), ""},
		{"gzip-named-zst", "metadata.tar.zst", gz(t, meta), ""},
		{"lz4-named-zst", "metadata.tar.zst", lz4ed(t, meta), ""},
		{"zstd-named-gz", "metadata.tar.gz", zst(t, meta), "damaged gzip data"},
		{"lzip", "metadata.tar.lz", []byte("LZIP"), "cannot read lzip compression"},
		{"lzop", "metadata.tar.lzo", []byte("\x89LZO"), "cannot read lzop compression"},
		{"plain", "metadata.tar", meta, "not compressed"},
		{"unknown", "metadata.tar.rar", meta, "no metadata"},
		{"empty", "metadata.tar.gz", nil, "damaged gzip data"},
		{"truncated", "metadata.tar.gz", gz(t, meta)[:100], "damaged gzip data"},
		{"zstd-bomb", "metadata.tar.zst", zst(t, bomb), "more than 67108864 bytes"},
		{"gzip-bomb", "metadata.tar.gz", gz(t, bomb), "more than 67108864 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			data := gpkgFile(t, "x", entry{"gpkg-1", ""}, entry{c.member, string(c.data)})
			_, err := readBytes(data, gpkgPath)
			wantReason(t, "Read", err, gpkgPath, c.reason)
		})
	}
}

func TestMetadataMembers(t *testing.T) {
	good := []tar.Header{reg("metadata/CATEGORY"), reg("metadata/PF"), reg("metadata/SLOT")}
	bodies := []string{minimal[0].data, minimal[1].data, minimal[2].data}
	for _, c := range []struct {
		name        string
		member      tar.Header
		read, check string
	}{
		{"plain", reg("metadata/KEY"), "", ""},
		{"elsewhere", reg("KEY"), "is not below metadata/", ""},
		{"directory", dir("metadata/sub"), "is not a plain file", ""}, // ends emaint
		{"symlink", sym("metadata/KEY", "SLOT"), "is not a plain file", ""},
		{"hard-link", hard("metadata/KEY", "metadata/SLOT"), "is not a plain file", ""},
		{"fifo", kind("metadata/KEY", tar.TypeFifo), "is not a plain file", ""},
		{"key-with-a-slash", reg("metadata/sub/key"), "", "is not a file name"},
		{"dotdot", reg("metadata/../x"), "", "is not a file name"},
		{"duplicate", reg("metadata/SLOT"), "", "is there twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			meta := tarFile(t, append(slices.Clone(good), c.member),
				append(slices.Clone(bodies), "")...)
			if c.name == "duplicate" {
				meta = tarFile(t, append(slices.Clone(good), c.member),
					append(slices.Clone(bodies), "1")...)
			}
			data := gpkgOf(t, meta, tarFile(t, []tar.Header{dir("image")}))
			_, err := readBytes(data, gpkgPath)
			wantReason(t, "Read", err, gpkgPath, c.read)
			if c.check == "" {
				c.check = c.read
			}
			wantReason(t, "Check", checkBytes(t, data, gpkgPath), gpkgPath, c.check)
		})
	}
}

// TestTooManyKeys holds MaxKeys for both formats.
func TestTooManyKeys(t *testing.T) {
	var many []entry
	for i := range MaxKeys + 1 {
		many = append(many, entry{fmt.Sprintf("K%d", i), ""})
	}
	_, err := readBytes(xpakFile(nil, many...), xpakPath)
	wantReason(t, "Read", err, xpakPath, "metadata keys")
	_, err = readBytes(gpkgOf(t, metadataTar(t, many...), nil), gpkgPath)
	wantReason(t, "Read", err, gpkgPath, "metadata keys")
}

// TestTruncated: no beginning of a package is one, except that a GPKG may lack
// the blocks behind its last member.
func TestTruncated(t *testing.T) {
	for _, layout := range []string{"gpkg-multi", "xpak-multi"} {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			data, path := anyPackage(t, layout)
			whole := len(data)
			if layout == "gpkg-multi" {
				whole = len(bytes.TrimRight(data, "\x00"))
				whole += int(padding(int64(whole)))
			}
			for n := range len(data) {
				_, err := readBytes(data[:n], path)
				if n < whole && err == nil {
					t.Fatalf("accepted with %d of %d bytes", n, len(data))
				}
				if n%blockSize == 0 && n >= whole && err != nil {
					t.Fatalf("refused with %d of %d bytes: %v", n, len(data), err)
				}
			}
		})
	}
}

// TestSigned reads a package that real Portage signed with real GnuPG.
func TestSigned(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata/signed", gpkgPath))
	if err != nil {
		t.Fatal(err)
	}
	p, err := readBytes(data, gpkgPath)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Signed || p.Get("SLOT") == "" {
		t.Errorf("signed %v, SLOT %q", p.Signed, p.Get("SLOT"))
	}
	if err := checkBytes(t, data, gpkgPath); err != nil {
		t.Error(err)
	}
	unsigned, path := anyPackage(t, "gpkg-multi")
	if p, err := readBytes(unsigned, path); err != nil || p.Signed {
		t.Errorf("an unsigned one: %v, %v", p, err)
	}
}

func TestSignatures(t *testing.T) {
	const head, tail = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n",
		"-----BEGIN PGP SIGNATURE-----\n\nabcd\n-----END PGP SIGNATURE-----\n"
	for _, c := range []struct {
		name, text, inside string
		signed             bool
		reason             string
	}{
		{"unsigned", "DATA x\n", "DATA x\n", false, ""},
		{"signed", head + "DATA x\n" + tail, "DATA x\n", true, ""},
		{"crlf", strings.ReplaceAll(head+"DATA x\n"+tail, "\n", "\r\n"), "DATA x\n", true, ""},
		{"no-hash-line", "-----BEGIN PGP SIGNED MESSAGE-----\n\nDATA x\n" + tail,
			"DATA x\n", true, ""},
		{"dash-escaped", head + "- -x\n" + tail, "-x\n", true, ""},
		{"text-before", "DATA y\n" + head + "DATA x\n" + tail, "", false, "signed as a whole"},
		{"text-behind", head + "DATA x\n" + tail + "DATA y\n", "", false, "signed as a whole"},
		{"no-signature", head + "DATA x\n", "", false, "signed as a whole"},
		{"two-messages", head + "DATA x\n" + tail + head + "DATA y\n" + tail, "", false,
			"signed as a whole"},
		{"other-header", "-----BEGIN PGP SIGNED MESSAGE-----\nComment: x\n\nDATA x\n" + tail, "",
			false, "signed as a whole"},
		{"dash-not-escaped", head + "-x\n" + tail, "", false, "signed as a whole"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inside, signed, err := unarmor([]byte(c.text))
			wantReason(t, "unarmor", verdict("p", err), "p", c.reason)
			if string(inside) != c.inside || signed != c.signed {
				t.Errorf("%q, %v", inside, signed)
			}
		})
	}
}

// TestHalfSigned: Portage refuses a package of which only a part is signed.
func TestHalfSigned(t *testing.T) {
	meta := string(zst(t, metadataTar(t, minimal...)))
	const sig = "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n"
	signed := func(parts ...entry) []byte {
		var members []tar.Header
		var bodies []string
		manifest := ""
		for _, p := range parts {
			members = append(members, reg("x/"+p.name))
			bodies = append(bodies, p.data)
			manifest += dataLine(p.name, []byte(p.data))
		}
		manifest = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + manifest + sig
		return tarFile(t, append(members, reg("x/Manifest")), append(bodies, manifest)...)
	}
	for _, c := range []struct {
		name   string
		data   []byte
		reason string
	}{
		{"whole", signed(entry{"gpkg-1", ""}, entry{"metadata.tar.zst", meta},
			entry{"metadata.tar.zst.sig", sig}), ""},
		{"binary-signature", signed(entry{"gpkg-1", ""}, entry{"metadata.tar.zst", meta},
			entry{"metadata.tar.zst.sig", "\x88\x5d\x04"}), ""},
		{"manifest-alone", signed(entry{"gpkg-1", ""}, entry{"metadata.tar.zst", meta}),
			"is signed, but member"},
		{"all-but-the-manifest", gpkgFile(t, "x", entry{"gpkg-1", ""}, entry{"metadata.tar.zst",
			meta}, entry{"metadata.tar.zst.sig", sig}), "the Manifest is not signed"},
		{"garbage", signed(entry{"gpkg-1", ""}, entry{"metadata.tar.zst", meta},
			entry{"metadata.tar.zst.sig", "nonsense"}), "not an OpenPGP signature"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readBytes(c.data, gpkgPath)
			wantReason(t, "Read", err, gpkgPath, c.reason)
		})
	}
}

func TestContainers(t *testing.T) {
	meta := entry{"metadata.tar.zst", string(zst(t, metadataTar(t, minimal...)))}
	version := entry{"gpkg-1", ""}
	good := gpkgFile(t, "x", version, meta)
	var many []entry
	for i := range MaxMembers {
		many = append(many, entry{fmt.Sprintf("m%d", i), ""})
	}
	for _, c := range []struct {
		name   string
		data   []byte
		reason string
	}{
		{"good", good, ""},
		{"further-member", gpkgFile(t, "x", version, meta, entry{"extra", "x"}), ""},
		{"long-prefix", gpkgFile(t, strings.Repeat("p", 180), version, meta), ""},
		{"larger-than-the-first-read",
			gpkgFile(t, "x", version, meta, entry{"extra", strings.Repeat("x", smallGPKG)}), ""},
		{"two-metadata", gpkgFile(t, "x", version, meta, entry{"metadata.tar.gz", ""}),
			"two members are the metadata"},
		{"prefix-is-a-dot", gpkgFile(t, ".", version, meta), "is not DIRECTORY/NAME"},
		{"too-many-members", gpkgFile(t, "x", many...), "more than 100 members"},
		{"garbage-behind-the-archive", append(bytes.TrimRight(good, "\x00"),
			bytes.Repeat([]byte("x"), 5000)...), "tar: not a header"},
		{"not-a-tar", bytes.Repeat([]byte("x"), 5000), "not a tar archive"},
		{"xpak", xpakFile(make([]byte, 600), minimal...), "not a tar archive"},
		{"too-short", []byte("x"), "too short"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readBytes(c.data, gpkgPath)
			wantReason(t, "Read", err, gpkgPath, c.reason)
		})
	}
}

// TestImageSize: the size of the image is all that Read returns of it.
func TestImageSize(t *testing.T) {
	meta := string(zst(t, metadataTar(t, minimal...)))
	manifest := dataLine("gpkg-1", nil) + dataLine("metadata.tar.zst", []byte(meta)) +
		dataLine("image.tar.zst", []byte("12345"))
	for image, reason := range map[string]string{
		"54321": "", "1234": `"image.tar.zst" has 4 bytes, the Manifest says 5`,
	} {
		data := tarFile(t, []tar.Header{reg("x/gpkg-1"), reg("x/metadata.tar.zst"),
			reg("x/image.tar.zst"), reg("x/Manifest")},
			"", meta, image, manifest)
		_, err := readBytes(data, gpkgPath)
		wantReason(t, "Read", err, gpkgPath, reason)
	}
}

// TestManifestListsMore: what the Manifest lists must be there.
func TestManifestListsMore(t *testing.T) {
	meta := string(zst(t, metadataTar(t, minimal...)))
	manifest := dataLine("gpkg-1", nil) + dataLine("metadata.tar.zst", []byte(meta)) +
		dataLine("ghost", nil)
	data := tarFile(t, []tar.Header{reg("x/gpkg-1"), reg("x/metadata.tar.zst"), reg("x/Manifest")},
		"", meta, manifest)
	_, err := readBytes(data, gpkgPath)
	wantReason(t, "Read", err, gpkgPath, `lists "ghost", which is not there`)
}

func TestManifestLines(t *testing.T) {
	good := strings.TrimSpace(dataLine("x", nil))
	for _, c := range []struct{ name, text, reason string }{
		{"good", good + "\n", ""},
		{"blank-lines", "\n" + good + "\n\n", ""},
		{"further-hash", good + " SHA256 00\n", ""},
		{"no-newline", good, ""},
		{"twice", good + "\n" + good + "\n", "lists \"x\" twice"},
		{"other-tag", strings.Replace(good, "DATA", "DIST", 1), "not a Manifest line"},
		{"white-line", good + "\n \n", "not a Manifest line"}, // ends emaint
		{"odd", good + " SHA256\n", "not a Manifest line"},
		{"size", strings.Replace(good, " 0 ", " -1 ", 1), "no size"},
		{"hash-twice", good + " SHA512 " + strings.Repeat("0", 128), "bad SHA512"},
		{"short-hash", good[:len(good)-1], "bad BLAKE2B"},
		{"foreign-characters", "DATA \x85 0\n", "foreign characters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parseManifest([]byte(c.text))
			wantReason(t, "parseManifest", verdict("p", err), "p", c.reason)
		})
	}
}

func TestSumBytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	full := bytes.Repeat([]byte{0xff}, blockSize)
	for range 100 {
		b := make([]byte, blockSize)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		for _, b := range [][]byte{b, full} {
			var unsigned, signed int64
			for _, c := range b {
				unsigned, signed = unsigned+int64(c), signed+int64(int8(c))
			}
			if u, s := sumBytes(b); u != unsigned || s != signed {
				t.Fatalf("%d and %d instead of %d and %d", u, s, unsigned, signed)
			}
		}
	}
}
