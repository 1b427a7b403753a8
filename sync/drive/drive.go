package drive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/listing"
	"pkgsneak/sync/volume"
)

// Limits of what is read before anything is verified.
const (
	maxOrigins = 1_000
	maxKeys    = 256
)

// Drive is an opened tree. It is not safe for use by several goroutines at
// once, except for reading the files of its generations, and their State.
type Drive struct {
	mount    string
	top      *os.File // the mount point: for statfs, and for syncfs from before the first write
	outer    *os.Root // the mount point
	root     *os.Root // TreeDir
	fs       FSType
	sysfs    string   // of the block device, "" if there is none
	readOnly bool     // when it was opened
	witness  *os.File // a slot, to see whether the medium can be read; nil before one was
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

func openMount(mount string) (*Drive, error) {
	top, err := os.Open(mount)
	if err != nil {
		return nil, fmt.Errorf("opening the drive: %w", err)
	}
	d := &Drive{mount: mount, top: top}
	if d.outer, err = os.OpenRoot(mount); err != nil {
		d.Close()
		return nil, fmt.Errorf("opening the drive: %w", err)
	}
	if err := d.identify(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// identify learns what the tree lies on.
func (d *Drive) identify() error {
	st, err := d.statfs()
	if err != nil {
		return err
	}
	d.fs = volume.OfMagic(uint32(st.Type))
	d.readOnly = int64(st.Flags)&unix.ST_RDONLY != 0
	d.sysfs = volume.BlockDevice(d.top)
	return nil
}

func (d *Drive) openTree() error {
	info, err := d.outer.Lstat(TreeDir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && d.present():
		return fmt.Errorf("opening %q: %w", path.Join(d.mount, TreeDir), ErrNoTree)
	case err != nil:
		return d.explain("opening", path.Join(d.mount, TreeDir), err)
	case !info.IsDir():
		return fmt.Errorf("opening %q: not a directory: %w", path.Join(d.mount, TreeDir), ErrNoTree)
	}
	if d.root, err = d.outer.OpenRoot(TreeDir); errors.Is(err, fs.ErrNotExist) {
		d.awaitGone()
	}
	return d.explain("opening", path.Join(d.mount, TreeDir), err)
}

// awaitGone gives the kernel a second to take a device out of sysfs. It is for
// a name that was there a moment ago: when a drive is pulled the kernel forgets
// its names first, and looks in vain for them on the medium.
func (d *Drive) awaitGone() {
	for range 100 {
		if !d.present() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// makeTree makes the tree's directory if there is none.
func (d *Drive) makeTree() error {
	err := d.openTree()
	if err == nil || !errors.Is(err, ErrNoTree) {
		return err
	}
	if d.readOnly {
		return &ReadOnlyError{Op: "making", Path: path.Join(d.mount, TreeDir), Err: unix.EROFS}
	}
	if err := d.outer.Mkdir(TreeDir, 0o755); err != nil {
		return d.explain("making", path.Join(d.mount, TreeDir), err)
	}
	return d.openTree()
}

// Close closes the tree. Generations of it cannot be read any more.
func (d *Drive) Close() error {
	var errs []error
	for _, root := range []*os.Root{d.root, d.outer} {
		if root != nil {
			errs = append(errs, root.Close())
		}
	}
	for _, f := range []*os.File{d.witness, d.top} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// Mount returns the mount point that was opened.
func (d *Drive) Mount() string { return d.mount }

// FSType returns the kind of file system.
func (d *Drive) FSType() FSType { return d.fs }

// ReadOnly says whether the drive was mounted read-only when it was opened.
func (d *Drive) ReadOnly() bool { return d.readOnly }

// Present says whether the drive is still there. Where it is not, an absent
// file or an empty directory says nothing.
func (d *Drive) Present() bool { return d.present() }

// Origins returns the names of the directories that have a copy of the manifest, or the record of a
// generation without one, sorted. Whether one of them holds anything to be believed, Load says.
func (d *Drive) Origins() ([]string, error) {
	entries, err := d.readDir(d.root, ".", maxOrigins+16)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if !entry.IsDir() || CheckOriginName(entry.Name()) != nil || len(names) == maxOrigins {
			continue
		}
		if hasSlot(d, entry.Name()) || hasRecord(d, entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	if len(names) == 0 && !d.present() {
		return nil, &GoneError{Op: "reading", Path: TreeDir, Vanished: true, Err: fs.ErrNotExist}
	}
	slices.Sort(names)
	return names, nil
}

func hasSlot(d *Drive, origin string) bool {
	for _, slot := range []string{Slot, NextSlot} {
		info, err := d.root.Lstat(path.Join(origin, slot))
		if err == nil && info.Mode().IsRegular() || err != nil && failing(err) {
			return true
		}
	}
	return false
}

// hasRecord tells whether a directory has what no other program makes: an origin whose manifests somebody
// removed shall not be passed over without a word.
func hasRecord(d *Drive, origin string) bool {
	entries, err := d.readDir(d.root, path.Join(origin, GenerationDir), 1024)
	return err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Type().IsRegular() && strings.HasSuffix(e.Name(), ".json") && madeHere(GenerationDir+"/"+e.Name())
	})
}

// readDir reads at most limit names of a directory. What else has its name, a
// FIFO for instance, does not block.
func (d *Drive) readDir(root *os.Root, dir string, limit int) ([]fs.DirEntry, error) {
	f, err := d.openDir(root, dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return d.names(f, dir, limit)
}

func (d *Drive) openDir(root *os.Root, dir string) (*os.File, error) {
	f, err := durable.OpenFile(root, dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	return f, d.explain("reading the directory", dir, err)
}

// names reads the names of an open directory.
func (d *Drive) names(f *os.File, dir string, limit int) ([]fs.DirEntry, error) {
	var entries []fs.DirEntry
	for len(entries) < limit {
		some, err := f.ReadDir(min(1024, limit-len(entries)))
		entries = append(entries, some...)
		if len(some) == 0 {
			if err != nil && !isEOF(err) {
				return nil, d.explain("reading the directory", dir, err)
			}
			break
		}
	}
	return entries, nil
}

// maxEntries is how many names of a directory of an origin are read.
const maxEntries = 1_000_000

// level is an open directory of an origin, with what is in it.
type level struct {
	fd      int
	entries []*listing.Entry
}

func (l *level) close() { unix.Close(l.fd) }

// enter opens a directory and reads the names in it with their types, and the status of regular files if that is wanted: name below the level above, or the origin itself without one. dir is its path,
// for errors. A name of which the drive tells nothing has neither.
func (d *Drive) enter(r *listing.Reader, root *os.Root, above *level, name, dir string, status bool) (*level, error) {
	l := &level{}
	var err error
	if above != nil {
		l.fd, err = listing.Open(above.fd, name, unix.O_DIRECTORY)
	} else {
		l.fd, err = d.openTop(root)
	}
	if err != nil {
		return nil, d.explain("reading the directory", dir, err)
	}
	if l.entries, err = r.Names(l.fd, maxEntries); err != nil {
		l.close()
		return nil, d.explain("reading the directory", dir, err)
	}
	for _, e := range l.entries {
		if e.TypeKnown() && !(status && e.IsRegular()) {
			continue
		}
		// An inode or entry lies beside those of its neighbours.
		if err := e.Lstat(l.fd); err != nil && !d.present() {
			l.close()
			return nil, d.explain("looking at", path.Join(dir, e.Name()), err)
		}
	}
	return l, nil
}

func (d *Drive) openTop(root *os.Root) (int, error) {
	f, err := durable.OpenDir(root, ".")
	if err != nil {
		return -1, err
	}
	defer f.Close()
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
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
	entries, err := d.readDir(d.root, KeysDir, maxKeys)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var keys []Offered
	for _, entry := range entries {
		if !isKeyFile(entry.Name()) || strings.HasSuffix(entry.Name(), revocationSuffix) {
			continue
		}
		offered := Offered{Path: path.Join(KeysDir, entry.Name())}
		data, err := d.readAll(d.root, offered.Path, manifest.MaxKey)
		if err == nil {
			offered.Key, err = manifest.ReadPublicKey(data)
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
// everything else applies what Keys says. Files that cannot be read are left
// out.
func (d *Drive) KeyTexts() ([][]byte, error) {
	entries, err := d.readDir(d.root, KeysDir, maxKeys)
	var gone *GoneError
	if errors.As(err, &gone) && gone.Vanished {
		return nil, err
	}
	var texts [][]byte
	for _, entry := range entries {
		if !isKeyFile(entry.Name()) {
			continue
		}
		if data, err := d.readAll(d.root, path.Join(KeysDir, entry.Name()), manifest.MaxKey); err == nil {
			texts = append(texts, data)
		}
	}
	return texts, nil
}

// FindOrigin returns the directory of the origin that has this key and name:
// the one whose signed record says so, wherever it lies; else the name that a
// first export shall use. held is nil unless a generation was found. What the
// key's own predecessors signed counts as the key's.
func (d *Drive) FindOrigin(key *manifest.PublicKey, name string, now time.Time, earlier ...*manifest.PublicKey) (dir string, held *Generation, err error) {
	if err := CheckOriginName(name); err != nil {
		return "", nil, err
	}
	names, err := d.Origins()
	if err != nil {
		return "", nil, err
	}
	long := qualified(name, key.Fingerprint())
	slices.SortStableFunc(names, func(a, b string) int { return rank(a, name, long) - rank(b, name, long) })
	ring := append(manifest.Ring{key}, earlier...)
	for _, dir := range names {
		g, err := d.loadOwn(dir, ring, now)
		var newer *NewerError
		switch {
		case err == nil && g.Record.Origin == name:
			return dir, g, nil
		case err == nil:
			g.Close()
		case vanished(err), errors.As(err, &newer) && rank(dir, name, long) < 2:
			return "", nil, err
		}
	}
	dir, err = d.freshOrigin(ring, name, long, now)
	return dir, nil, err
}

// loadOwn is Load for the keys of this machine.
func (d *Drive) loadOwn(dir string, ring manifest.Ring, now time.Time) (*Generation, error) {
	best, other, err := d.ownSlots(dir, ring, now)
	if err != nil {
		return nil, err
	}
	g, err := d.generation(dir, best, other)
	var format *FormatError
	if errors.As(err, &format) {
		return nil, &NewerError{path.Join(dir, best.state.Name), err}
	}
	return g, err
}

// rank puts the likely directories first.
func rank(dir, name, long string) int {
	switch dir {
	case name:
		return 0
	case long:
		return 1
	}
	return 2
}

// freshOrigin chooses between the plain name and the one with the fingerprint.
// The plain one is taken unless something stands there that is not this origin's.
func (d *Drive) freshOrigin(ring manifest.Ring, name, long string, now time.Time) (string, error) {
	entries, err := d.readDir(d.root, ".", maxOrigins+16)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		if foldName(entry.Name()) != foldName(name) {
			continue
		}
		if entry.Name() == name && entry.IsDir() {
			switch as, err := mayBegin(d, name, ring, now); {
			case err != nil:
				return "", err
			case as:
				return name, nil
			}
		}
		return long, CheckOriginName(long)
	}
	return name, nil
}

// mayBegin says whether an origin of which there is no generation may begin in a directory. One that
// has a generation of ours and cannot be read belongs to the origin of its name.
func mayBegin(d *Drive, dir string, ring manifest.Ring, now time.Time) (bool, error) {
	as, best, other, err := d.standingOf(dir, ring, now)
	if err != nil || as != committed {
		return as != foreign, err
	}
	g, err := d.generation(dir, best, other)
	if err == nil {
		g.Close() // another origin of this key
	}
	return err != nil, nil
}

func claims(signer string, fpr manifest.Fingerprint) bool {
	return len(signer) >= 16 && strings.HasSuffix(string(fpr), strings.ToUpper(signer))
}
