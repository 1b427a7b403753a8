package pkgdir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// ForeignIndexError reports that the file where the index belongs is that of another packaging
// system. It is left alone: its directory is no PKGDIR.
type ForeignIndexError struct {
	Path string
	Like string // "a Debian or opkg index"
}

func (e *ForeignIndexError) Error() string {
	return fmt.Sprintf("%q is %s, not one of Portage's: it is not replaced; if this is to be a PKGDIR, move the file away first", e.Path, e.Like)
}

// Ready returns an error if the index could not be written in the end, whatever is brought in:
// Packages is a link out of the directory, or another packaging system's.
func (d *Dir) Ready() error {
	for _, name := range []string{indexName, indexName + gzSuffix} {
		file, err := d.indexFile(name)
		if err != nil {
			return err
		}
		if name != indexName {
			continue
		}
		if err := d.checkForeign(file); err != nil {
			return err
		}
	}
	return nil
}

// sniffSize is how much of a file tells whose it is, in bytes.
const sniffSize = 64 << 10

func (d *Dir) checkForeign(name string) error {
	f, _, err := d.OpenFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the index of %q: %w", d.Path(), err)
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, sniffSize))
	if err != nil {
		return fmt.Errorf("reading the index of %q: %w", d.Path(), err)
	}
	if like := foreignIndex(head); like != "" {
		return &ForeignIndexError{path.Join(d.Path(), name), like}
	}
	return nil
}

// Keys that Portage's index has and the others' do not, and the other way round (deb822: dpkg, apt,
// opkg, Cydia).
var (
	portageKeys = []string{"CPV", "VERSION", "TIMESTAMP", "PACKAGES", "PROFILE",
		"BUILD_TIME", "MTIME"}
	debianKeys = []string{"Version", "Architecture", "Filename", "Depends", "Maintainer",
		"Description"}
)

// foreignIndex reports what the beginning of a file looks like if it is the index of another
// system, else "". A file that is nothing at all, as a crash may leave it, is nobody's.
func foreignIndex(head []byte) string {
	keys := map[string]bool{}
	for line := range bytes.Lines(head) {
		if key, _, ok := strings.Cut(string(line), ":"); ok {
			keys[key] = true
		}
	}
	has := func(key string) bool { return keys[key] }
	if !slices.ContainsFunc(portageKeys, has) && keys["Package"] &&
		slices.ContainsFunc(debianKeys, has) {
		return "a Debian or opkg index"
	}
	return ""
}
