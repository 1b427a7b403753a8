package binpkg

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const golden = "../../testdata/golden"

// verdicts has every case of golden/corrupt, each a package that real Portage was asked about. An
// empty reason: accepted. If read is set, Check has the same verdict.
var verdicts = []struct {
	name, read, check string
}{
	{name: "g00-good"},
	{name: "g01-truncated-half"}, // only padding is missing
	{name: "g01b-truncated-in-manifest", read: "the archive ends early"},
	{name: "g01d-truncated-8000", read: "the archive ends early"},
	{name: "g03-bitflip-image", check: "does not have the sums"},
	{name: "g04-manifest-wrong-hash", read: "does not have the sums"},
	{name: "g04b-manifest-wrong-size", read: "bytes, the Manifest says"},
	{name: "g06-unlisted-member", read: `"extra" is not in the Manifest`},
	{name: "g07-manifest-lists-missing", read: "bad SHA512"},
	{name: "g08-duplicate-member", read: "is there twice"},
	// Portage does not mind; a prefix of ".." is asking for it
	{name: "g09-traversal-member", read: "is not DIRECTORY/NAME"},
	{name: "g10-nested-member", read: "is not DIRECTORY/NAME"},
	{name: "g11-absolute-member", read: "is not DIRECTORY/NAME"},
	{name: "g12-no-gpkg-1", read: "no member \"gpkg-1\""},
	{name: "g13-manifest-first"},
	{name: "g14-metadata-uncompressed", read: "the metadata is not compressed"}, // aborts emaint
	{name: "g14d-metadata-lz4"},
	{name: "g14f-metadata-gz-but-named-zst"}, // zstd reads gzip
	{name: "g15b-metadata-outside-prefix", read: "is not below metadata/"},
	{name: "g15c-metadata-symlink", read: "is not a plain file"}, // aborts emaint
	{name: "g15d-metadata-dir-entry", read: "is not below metadata/"},
	{name: "g15e-metadata-duplicate-key", check: "is there twice"},
	{name: "g16b-image-absolute", check: "is absolute"},
	// Portage writes outside the image
	{name: "g17b-image-symlink-then-write", check: "below the symbolic link"},
	{name: "g18b-prefix-other-than-filename"},
	{name: "g19b-manifest-only-sha512", read: "lacks BLAKE2B or SHA512"}, // aborts emaint
	{name: "g19c-manifest-blake2b-wrong-sha512-ok", read: "does not have the sums"},
	{name: "g19d-manifest-uppercase-hex-crlf"},
	{name: "g21-garbage-sig", read: "not an OpenPGP signature"},
	{name: "g22-pax-format"},
	{name: "g24-empty-file", read: "empty file"},
	{name: "g25-no-image", check: "no image"},
	{name: "g26-BUILD_ID-2-in-file-1"},
	{name: "g29-gpkg-2-version", read: "no member \"gpkg-1\""},
	{name: "x00-good"},
	{name: "x05-indexsize-too-large", read: "outside the data"},                    // aborts emaint
	{name: "x06-indexsize-too-small", read: "the XPAK index ends inside an entry"}, // aborts emaint
	{name: "x07-datasize-wrong"},
	{name: "x08-entry-beyond-data", read: "outside the data"}, // Portage takes what is there
	{name: "x10-duplicate-key"},
	{name: "x11-traversal-key", read: "leaves its directory"}, // endless loop at install
	{name: "x12-no-CATEGORY", read: "no CATEGORY"},
	{name: "x13-no-SLOT", read: "no SLOT"},
	{name: "x17-BUILD_ID-text", read: "is not a number"},
	{name: "x21-trailing-garbage", read: "no XPAK at the end"},
	{name: "x24-bitflip-image", check: "image: "},
	{name: "x26-gpkg-named-tbz2", read: "no XPAK at the end"},
}

// caseFile returns the package of a case and its path below PKGDIR.
func caseFile(t testing.TB, name string) (data []byte, path string) {
	t.Helper()
	root := filepath.Join(golden, "corrupt", name)
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !HasPackageSuffix(e.Name()) {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		path = filepath.ToSlash(rel)
		data, err = os.ReadFile(p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if path == "" {
		t.Fatalf("no package below %s", root)
	}
	return data, path
}

func TestVerdicts(t *testing.T) {
	for _, v := range verdicts {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			data, path := caseFile(t, v.name)
			r := bytes.NewReader(data)
			_, err := Read(r, r.Size(), path)
			wantReason(t, "Read", err, path, v.read)
			if v.check == "" {
				v.check = v.read
			}
			wantReason(t, "Check", check(t.Context(), r, r.Size(), path), path, v.check)
		})
	}
}

// wantReason wants an *InvalidError for path with reason in it, or no error if
// reason is empty.
func wantReason(t *testing.T, what string, err error, path, reason string) {
	t.Helper()
	var invalid *InvalidError
	switch {
	case reason == "" && err != nil:
		t.Errorf("%s refuses it: %v", what, err)
	case reason == "":
	case err == nil:
		t.Errorf("%s accepts it, want %q", what, reason)
	case !errors.As(err, &invalid):
		t.Errorf("%s: error of type %T: %v", what, err, err)
	case invalid.Path != path || !strings.Contains(invalid.Reason, reason):
		t.Errorf("%s: %q, want %q about %q", what, err, reason, path)
	}
}

// TestVerdictsAreComplete: a case without a row would not be tested.
func TestVerdictsAreComplete(t *testing.T) {
	rows := make(map[string]bool)
	for _, v := range verdicts {
		rows[v.name] = true
	}
	entries, err := os.ReadDir(filepath.Join(golden, "corrupt"))
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, e := range entries {
		if e.IsDir() {
			cases++
			if !rows[e.Name()] {
				t.Errorf("case %s has no row", e.Name())
			}
		}
	}
	if cases != len(verdicts) {
		t.Errorf("%d cases, %d rows", cases, len(verdicts))
	}
}
