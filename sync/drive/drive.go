package drive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
)

// Limits of what is read before anything is verified.
const (
	maxOrigins = 1_000
	maxKeys    = 256
	maxLooked  = 16 * maxOrigins // directories of the tree that are looked into
)

// Drive is an opened tree. It is not safe for use by several goroutines at
// once, except for reading the files of its generations, and their State.
type Drive struct {
	*Mounted
	outer *os.Root // the mount point
	root  *os.Root // TreeDir
}

// Open opens the tree below a mount point for reading. It returns ErrNoTree if
// there is none.
func Open(mount string) (*Drive, error) {
	d, err := openMount(mount)
	if err != nil {
		return nil, err
	}
	if err := d.openTree(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Create is Open for an export: a tree is made if there is none.
func Create(mount string) (*Drive, error) {
	d, err := openMount(mount)
	if err != nil {
		return nil, err
	}
	if err := d.makeTree(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// OpenToPlan opens a tree for a run that only shows what it would do: a drive is refused that the
// run could not write to. The result is nil where the run would make the tree.
func OpenToPlan(mount string) (*Drive, error) {
	d, err := openMount(mount)
	if err != nil {
		return nil, err
	}
	err = d.openTree()
	if err == nil && !d.readOnly {
		return d, nil
	}
	defer d.Close()
	tree := path.Join(d.mount, layout.TreeDir)
	_, statErr := d.outer.Lstat(layout.TreeDir)
	switch {
	case d.readOnly && (err == nil || errors.Is(err, ErrNoTree)):
		return nil, &ReadOnlyError{Op: "writing", Path: tree, Err: unix.EROFS}
	case errors.Is(err, ErrNoTree) && errors.Is(statErr, fs.ErrNotExist):
		return nil, nil
	case errors.As(err, new(noDirectoryError)):
		return nil, &InTheWayError{}
	}
	return nil, err
}

func openMount(mount string) (*Drive, error) {
	m, err := openMounted(mount)
	if err != nil {
		return nil, err
	}
	d := &Drive{Mounted: m}
	if d.outer, err = os.OpenRoot(mount); err != nil {
		d.Close()
		return nil, fmt.Errorf("opening the drive: %w", err)
	}
	return d, nil
}

func (d *Drive) openTree() error {
	info, err := d.outer.Lstat(layout.TreeDir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && d.Present():
		return fmt.Errorf("opening %q: %w", path.Join(d.mount, layout.TreeDir), ErrNoTree)
	case err != nil:
		return d.Classify("opening", path.Join(d.mount, layout.TreeDir), err)
	case !info.IsDir():
		return noDirectoryError{path.Join(d.mount, layout.TreeDir)}
	}
	if d.root, err = d.outer.OpenRoot(layout.TreeDir); errors.Is(err, fs.ErrNotExist) {
		d.awaitGone()
	}
	return d.Classify("opening", path.Join(d.mount, layout.TreeDir), err)
}

// makeTree makes the tree's directory if there is none.
func (d *Drive) makeTree() error {
	switch err := d.openTree(); {
	case err == nil && (!d.fs.StaleDirectories() || d.readOnly || !isEmpty(d.root, ".")):
		return nil
	case err == nil:
		if err := d.removeTree(); err != nil {
			return d.Classify("removing", path.Join(d.mount, layout.TreeDir), err)
		}
	case !errors.Is(err, ErrNoTree):
		return err
	case errors.As(err, new(noDirectoryError)):
		return &InTheWayError{}
	}
	if d.readOnly {
		return &ReadOnlyError{Op: "making", Path: path.Join(d.mount, layout.TreeDir),
			Err: unix.EROFS}
	}
	if err := d.outer.Mkdir(layout.TreeDir, 0o755); err != nil {
		return d.Classify("making", path.Join(d.mount, layout.TreeDir), err)
	}
	if err := durable.SyncDir(d.outer, "."); err != nil { // with a name in it, it is durable
		return d.Classify("making", path.Join(d.mount, layout.TreeDir), err)
	}
	return d.openTree()
}

// removeTree removes the tree's directory, which is empty, and makes that durable.
func (d *Drive) removeTree() error {
	err := d.root.Close()
	d.root = nil
	return errors.Join(err, d.outer.Remove(layout.TreeDir), durable.SyncDir(d.outer, "."))
}

// EmptyDirs returns the directories in the tree that have nothing in them.
func (d *Drive) EmptyDirs() (names []string, err error) {
	looked := 0
	entries, err := d.readDir(d.root, ".", maxOrigins, maxEntries, func(e fs.DirEntry) bool {
		if !e.IsDir() || looked == maxLooked {
			return false
		}
		looked++
		return isEmpty(d.root, e.Name())
	})
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func isEmpty(root *os.Root, dir string) bool {
	f, err := durable.OpenDir(root, dir)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	return errors.Is(err, io.EOF)
}

// Close closes the tree. Generations of it cannot be read any more.
func (d *Drive) Close() error {
	var errs []error
	for _, root := range []*os.Root{d.root, d.outer} {
		if root != nil {
			errs = append(errs, root.Close())
		}
	}
	return errors.Join(append(errs, d.close())...)
}

// Root is the tree's directory, for those who write there.
func (d *Drive) Root() *os.Root { return d.root }

// Origins returns the names of the directories that have a copy of the manifest, or the record of a
// generation without one, sorted. Whether one of them holds anything to be believed, Load decides.
func (d *Drive) Origins() ([]string, error) {
	search := originSearch{d: d, dirs: maxLooked, names: maxEntries}
	entries, err := d.readDir(d.root, ".", maxOrigins, maxEntries, search.finds)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) == 0 && !d.Present() {
		return nil, &GoneError{Op: "reading", Path: layout.TreeDir, Vanished: true,
			Err: fs.ErrNotExist}
	}
	slices.Sort(names)
	return names, nil
}

func hasCopy(d *Drive, origin string) bool {
	for _, name := range []string{layout.ManifestFile, layout.NextManifestFile} {
		info, err := d.root.Lstat(path.Join(origin, name))
		if err == nil && info.Mode().IsRegular() || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return true // what cannot be looked at is told when it is read
		}
	}
	return false
}

// originSearch looks for the directories of origins. There is one limit for all that it looks at: a
// drive may have any number of directories, and each of them any number of names.
type originSearch struct {
	d           *Drive
	dirs, names int
}

// finds reports whether an entry of the tree is the directory of an origin.
func (s *originSearch) finds(e fs.DirEntry) bool {
	if !e.IsDir() || layout.CheckOriginName(e.Name()) != nil || s.dirs == 0 {
		return false
	}
	s.dirs--
	return hasCopy(s.d, e.Name()) || s.hasRecord(e.Name())
}

// hasRecord tells whether a directory has what no other program makes: an origin whose manifests
// somebody removed shall not be passed over without a word, nor one that cannot be looked into.
func (s *originSearch) hasRecord(origin string) bool {
	entries, err := s.d.readDir(s.d.root, path.Join(origin, layout.GenerationDir), 1, s.names,
		func(e fs.DirEntry) bool {
			s.names--
			return e.Type().IsRegular() && isRecord(e)
		})
	return len(entries) > 0 || Unanswered(err) || errors.Is(err, fs.ErrPermission)
}

// isRecord reports whether a name in GenerationDir is that of a record.
func isRecord(e fs.DirEntry) bool {
	name := layout.GenerationDir + "/" + e.Name()
	return strings.HasSuffix(name, ".json") && layout.MadeHere(name)
}

// Offered is a public key that lies on the drive.
type Offered struct {
	Path string // below TreeDir
	Key  *manifest.PublicKey
	Err  error // why it is none
}

// Keys reads the public keys on offer, sorted by path. They are believed no
// more than anything else on the drive.
func (d *Drive) Keys() ([]Offered, error) {
	entries, err := d.readDir(d.root, layout.KeysDir, maxKeys, maxEntries,
		func(e fs.DirEntry) bool {
			return isKeyFile(e.Name()) && !strings.HasSuffix(e.Name(), revocationSuffix)
		})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var keys []Offered
	for _, entry := range entries {
		offered := Offered{Path: path.Join(layout.KeysDir, entry.Name())}
		data, err := d.ReadAll(d.root, offered.Path, manifest.MaxKey)
		if Unanswered(err) {
			return nil, err
		}
		if err == nil {
			offered.Key, err = manifest.ReadPublicKey(data)
		}
		if err == nil {
			err = offered.Key.CheckOrigin()
		}
		if err != nil {
			offered.Key = nil
		}
		offered.Err = err
		keys = append(keys, offered)
	}
	slices.SortFunc(keys, func(a, b Offered) int { return strings.Compare(a.Path, b.Path) })
	return keys, nil
}

// revocationSuffix ends the name of a revocation certificate in KeysDir:
// FINGERPRINT.rev.asc, as gpg calls its own.
const revocationSuffix = ".rev.asc"

func isKeyFile(name string) bool {
	return strings.HasSuffix(name, ".asc") && !strings.HasPrefix(name, ".")
}

// KeyTexts returns what lies in KeysDir: key blocks and revocation
// certificates, as they are. A revocation proves itself, wherever it lies; to
// everything else applies the keys of Keys. Files that cannot be read are left
// out.
func (d *Drive) KeyTexts() ([][]byte, error) {
	entries, err := d.readDir(d.root, layout.KeysDir, maxKeys, maxEntries,
		func(e fs.DirEntry) bool { return isKeyFile(e.Name()) })
	if Unanswered(err) {
		return nil, err
	}
	var texts [][]byte
	for _, entry := range entries {
		data, err := d.ReadAll(d.root, path.Join(layout.KeysDir, entry.Name()), manifest.MaxKey)
		switch {
		case Unanswered(err):
			return nil, err
		case err == nil:
			texts = append(texts, data)
		}
	}
	return texts, nil
}
