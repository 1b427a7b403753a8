package pkgdir

import (
	"context"
	"errors"
	"strings"
	"testing"

	"pkgsneak/sync/pkgindex"
)

const debianIndex = "Package: hello\nVersion: 2.10-2\nArchitecture: amd64\nFilename: pool/hello.deb\nSize: 2\nSHA256: 11\n\n"

// The index of another system is left as it is, by each way that writes one.
func TestForeignIndexIsLeftAlone(t *testing.T) {
	for _, text := range []string{debianIndex,
		"Package: a\nVersion: 1\nDepends: libc\n\nPackage: b\nVersion: 2\n"} {
		d := openDir(t, t.TempDir())
		writeFile(t, d, "Packages", text)
		change := Change{Add: []Incoming{incoming(t, d, "xpak-classic", screen)}}
		for way, f := range map[string]func() error{
			"reindex": func() error {
				_, err := d.Reindex(context.Background(),
					Options{Now: later})
				return err
			},
			"rebuild": func() error {
				_, err := d.Reindex(context.Background(), Options{Now: later, Rebuild: true})
				return err
			},
			"check": func() error {
				_, err := d.Check(context.Background(), Options{})
				return err
			},
			"commit": func() error {
				_, err := d.Commit(context.Background(), change,
					Options{Now: later})
				return err
			},
			"ready": d.Ready,
		} {
			var foreign *ForeignIndexError
			if err := f(); !errors.As(err, &foreign) || !strings.Contains(err.Error(), "Debian") {
				t.Errorf("%s: %v", way, err)
			}
			if got := readFile(t, d, "Packages"); got != text {
				t.Errorf("%s: replaced by %q", way, got)
			}
		}
	}
}

// Every other file that is no index of Portage's is made anew: one that a crash left, and one that
// is Portage's and lost its VERSION.
func TestRuinsAreReplaced(t *testing.T) {
	for _, text := range []string{"", strings.Repeat("\x00", 4096),
		"CPV: a-b/c-1\nPackage: x\nVersion: 1\n\n", "garbage\n"} {
		d := layoutDir(t, "xpak-classic")
		writeFile(t, d, "Packages", text)
		if err := d.Ready(); err != nil {
			t.Errorf("%.20q: %v", text, err)
		}
		reindex(t, d, Options{Now: later})
		check(t, d)
	}
}

// A line or a block of any length costs its entry, and that only until the package was read again.
func TestIndexWithALongLine(t *testing.T) {
	for name, long := range map[string]string{
		"line": "DESC: " + strings.Repeat("x", pkgindex.MaxLine+1) + "\n",
		"block": strings.Repeat("KEYWORDS: "+strings.Repeat("y", pkgindex.MaxLine/2)+"\n",
			2*pkgindex.MaxBlock/pkgindex.MaxLine+2),
		"header line": "",
	} {
		t.Run(name, func(t *testing.T) {
			d := indexed(t, "xpak-classic")
			want := paths(t, d)
			text := readFile(t, d, "Packages")
			if long == "" {
				text = "FEATURES: " + strings.Repeat("z", pkgindex.MaxLine+1) + "\n" + text
			} else {
				i := strings.Index(text, "\nCPV: app-misc/labhello") + 1
				if i == 0 {
					i = strings.Index(text, "CPV: app-misc/labhello")
				}
				text = text[:i] + long + text[i:]
			}
			writeFile(t, d, "Packages", text)
			r := reindex(t, d, Options{Now: later, Rebuild: name == "block"})
			if got := paths(t, d); strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("indexed are %q, want %q", got, want)
			}
			if len(r.Remarks) == 0 {
				t.Error("nothing is said of it")
			}
			check(t, d)
		})
	}
}
