package drivewriter

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/request"
)

// A client's directory has two pairs of files and two copies of the signed list, one for each pair:
// the list with the higher serial counts. A request overwrites the other pair in place and then
// that pair's list, so that nothing is allocated, no name changes, and a pull leaves the request
// before. Only the first request on a drive, and one that has outgrown its files, allocate: all
// names and all room before any contents, and nothing at all if an operation on the drive was left
// unfinished (checkFinished).
//
//	1 look      both copies, what is free, and for what is to be allocated checkFinished; what
//	            first requests left whose drives were pulled is removed
//	2 allocate  directories, files of newlines; syncfs and a flush
//	3 write     the pair that does not count, in place, each fsynced; read back from the medium
//	4 commit    that pair's list in place, fsync
//	5 remove    each pair that neither list names now, fsync of its directory

// ClientOptions states what is written for a client.
type ClientOptions struct {
	Name   string               // the client's
	Key    *manifest.PrivateKey // signs
	Serial int64
	Record []byte // the request, JSON
	List   []byte // the installed list, zstd
	Now    time.Time
	// Hook is shown each change before it is made; nil outside of tests.
	Hook durable.Hook
}

// ClientStanding is what a drive has of a client.
type ClientStanding struct {
	Dir    string // below ClientsDir: where its requests lie, or will
	Serial int64  // of the newest, 0 if there is none
	// another directory of this client's in which no request can be read, for a person to remove;
	// nil if there is none
	Damaged *drive.RequestError
}

// ClientKeyError reports that a client's key does not lie beside its requests any more. A host that
// has not accepted the key could read none of them.
type ClientKeyError struct {
	Dir string // below ClientsDir
	Err error
}

func (e *ClientKeyError) Error() string {
	return fmt.Sprintf("%q on the drive is not this client's key any more: %v",
		path.Join(layout.TreeDir, drive.ClientDir(e.Dir), layout.ClientKeyFile), e.Err)
}

// Unwrap gives the reason.
func (e *ClientKeyError) Unwrap() error { return e.Err }

// Class is that of a drive that does not hold what it should.
func (e *ClientKeyError) Class() fault.Class { return fault.Failing }

// Hints name the way out.
func (e *ClientKeyError) Hints(d string) []string { return []string{drive.RemovalOf(e.Dir, d)} }

// clientWriter is the writing of one request.
type clientWriter struct {
	*session
	o           ClientOptions
	dirs        *directories
	best, other drive.ManifestCopy
	exists      bool
	keyFile     []byte // the key as it lies in the directory
	damaged     *drive.RequestError
	lost        bool // the directory is this key's, and has no list that can be read
	pair        int  // that is written
}

// FindClient returns where the requests of a key lie on a drive: in the directory of the client's
// name, or in the one with the fingerprint if another key or somebody's file has that.
func FindClient(d *drive.Drive, name string, key *manifest.PublicKey,
	now time.Time) (ClientStanding, error) {
	w := &clientWriter{session: newSession(d, layout.ClientsDir, nil),
		o: ClientOptions{Name: name, Now: now}}
	err := w.find(key)
	return ClientStanding{path.Base(w.dir), w.best.State.Serial, w.damaged}, err
}

// WriteClient writes a request to the drive. The error is an *UnfinishedError where nothing may be
// allocated, durable.ErrLocked if another process writes there, or the drive's.
func WriteClient(ctx context.Context, d *drive.Drive, o ClientOptions) (ClientStanding, error) {
	if d.ReadOnly() {
		return ClientStanding{}, &drive.ReadOnlyError{Op: "writing to", Path: d.Mount(),
			Err: unix.EROFS}
	}
	w := &clientWriter{session: newSession(d, layout.ClientsDir, nil), o: o}
	w.dirs = newDirectories(w.session, &layout.Namespace{})
	if o.Hook != nil {
		w.hook = func(op, name string) error {
			return o.Hook(durable.Change{Op: durable.Op(op), Root: d.Mount(), Name: name})
		}
	}
	defer w.release()
	err := w.run(ctx)
	return ClientStanding{path.Base(w.dir), o.Serial, w.damaged}, err
}

func (w *clientWriter) run(ctx context.Context) error {
	if err := CheckKey(w.o.Key, w.o.Now, w.o.Serial-1); err != nil {
		return err
	}
	if err := w.takeLock(); err != nil {
		return err
	}
	if err := w.find(w.o.Key.Public()); err != nil {
		return err
	}
	if w.o.Serial <= w.best.State.Serial {
		return fmt.Errorf("writing to %q: there is a request of %s already", w.dir,
			fault.Serial(w.best.State.Serial))
	}
	if err := w.choose(ctx); err != nil {
		return err
	}
	return w.write()
}

// find chooses the directory.
func (w *clientWriter) find(key *manifest.PublicKey) error {
	names := []string{w.o.Name, layout.Qualified(w.o.Name, key.Fingerprint())}
	free := ""
	for i, name := range names {
		p, err := w.lookAt(name, key, i == 1)
		switch {
		case err != nil && w.exists && !drive.Unanswered(err):
			continue // nothing is written to that one
		case err != nil:
			return err
		case w.exists:
		case p.best.Signed != nil:
			w.dir, w.best, w.other, w.exists = drive.ClientDir(name), p.best, p.other, true
		case free == "" && p.free: // what is damaged there is made anew
			free, w.lost = drive.ClientDir(name), p.there && i == 1
			continue
		}
		if w.damaged == nil {
			w.damaged = p.damaged
		}
	}
	if w.exists {
		return w.readKey(key)
	}
	if free == "" {
		return fmt.Errorf("writing to %q: %q and %q there are another client's, or somebody's files; move one of them away, or give this client another name with --name",
			path.Join(layout.TreeDir, layout.ClientsDir), names[0], names[1])
	}
	w.dir = free
	return nil
}

// clientPlace is a directory in which a client's requests may lie.
type clientPlace struct {
	there       bool
	best, other drive.ManifestCopy  // valid, if best is, for the client's key
	free        bool                // a request can be written there that is the first one
	damaged     *drive.RequestError // it is the client's, and no request can be read there
}

// lookAt looks at a directory; own is the one that has the key in its name.
func (w *clientWriter) lookAt(name string, key *manifest.PublicKey, own bool) (p clientPlace,
	err error) {
	if err := layout.CheckOriginName(name); err != nil {
		return p, err
	}
	if info, err := w.d.Root().Lstat(layout.ClientsDir); err == nil && !info.IsDir() {
		return p, &drive.InTheWayError{Path: layout.ClientsDir}
	}
	dir := drive.ClientDir(name)
	info, err := w.d.Root().Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && w.d.Present():
		return clientPlace{free: true}, nil
	case err != nil:
		return p, w.d.PullDamage("opening", dir, err)
	}
	if p.there = true; !info.IsDir() {
		return p, nil
	}
	p.best, p.other, err = w.d.ClientCopies(name, manifest.Ring{key}, w.o.Now)
	for _, c := range []drive.ManifestCopy{p.best, p.other} {
		if drive.Failing(c.State.Err) {
			return p, w.d.PullDamage("reading", path.Join(dir, c.State.Name),
				fault.Bare(c.State.Err))
		}
	}
	if err == nil || drive.Unanswered(err) {
		return p, err
	}
	if isDamaged(w.d, name, key, own, p.best, p.other) {
		p.damaged = &drive.RequestError{Dir: name, Err: err}
	}
	pulled, err := findPulled(w.d, name, own)
	p.free = pulled != nil
	return p, err
}

// isDamaged reports whether a directory in which neither list is valid has had a request of a key:
// its name tells that, the key that lies there, or a list with that key's signature. Neither are
// the remains of a pulled first request one, nor lists that were signed before the key expired, nor
// those that this user may not read.
func isDamaged(d *drive.Drive, name string, key *manifest.PublicKey, own bool,
	copies ...drive.ManifestCopy) bool {
	if d.ClientUnfinished(name) {
		return false
	}
	if there, err := d.ClientKey(name); err == nil {
		own = own || there.Fingerprint() == key.Fingerprint()
	}
	for _, c := range copies {
		var unknown *manifest.UnknownKeyError
		var expired *manifest.KeyError
		var signature *manifest.SignatureError
		if errors.As(c.State.Err, &unknown) || errors.As(c.State.Err, &expired) ||
			errors.Is(c.State.Err, fs.ErrPermission) {
			return false
		}
		own = own || errors.As(c.State.Err, &signature)
	}
	return own
}

// readKey reads the key that lies in the client's directory, as it was written at first.
func (w *clientWriter) readKey(key *manifest.PublicKey) error {
	name := path.Base(w.dir)
	there, err := w.d.ClientKey(name)
	if err == nil {
		w.keyFile, err = w.d.ReadAll(w.d.Root(), path.Join(w.dir, layout.ClientKeyFile),
			manifest.MaxKey)
	}
	switch {
	case err == nil && there.Fingerprint() == key.Fingerprint():
		return nil
	case err == nil:
		err = fmt.Errorf("it is the key %s", there.Fingerprint().Grouped())
	case drive.Unanswered(err) || drive.Failing(err) || errors.Is(err, fs.ErrPermission):
		return w.d.PullDamage("reading", path.Join(w.dir, layout.ClientKeyFile), err)
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("it is gone")
	}
	return &ClientKeyError{Dir: name, Err: err}
}

// choose finds the pair that is written, and allocates what is not there.
func (w *clientWriter) choose(ctx context.Context) error {
	if !w.exists {
		return unlessInVain(ctx, w.first(ctx), w.takeBack)
	}
	root, err := w.d.Root().OpenRoot(w.dir)
	if err != nil {
		return w.d.PullDamage("opening", w.dir, err)
	}
	w.root = root
	if info, err := w.root.Lstat(layout.GenerationDir); err == nil && !info.IsDir() {
		return &drive.InTheWayError{Path: path.Join(w.dir, layout.GenerationDir)}
	}
	files, err := clientFiles(w.d, path.Base(w.dir))
	if err != nil {
		return w.d.PullDamage("reading", w.dir, err)
	}
	listed := listedPairs(w.best, w.other)
	if len(listed) == 2 {
		w.pair = listed[1]
	} else if highestPair(files) <= 2 {
		w.pair = 3 - listed[0] // made with the first request, before its list
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	fits, err := w.fits()
	if err != nil || fits {
		return err
	}
	// of a request that was pulled: nobody has allocated anything since
	if err := w.removeFiles(unlisted(files, listed)); err != nil {
		return err
	}
	if err := w.mayAllocate(ctx); err != nil {
		return err
	}
	if err := w.makePairsDir(); err != nil { // somebody has deleted it
		return err
	}
	w.pair = w.newPair(listed)
	if err = w.allocatePair(w.pair); err == nil {
		err = w.resizeList()
	}
	if err == nil {
		err = w.flush()
	}
	return unlessInVain(ctx, err, w.takeBackPair)
}

// unlessInVain is the error of an allocation, which is taken back where the drive is full and where
// the run was cancelled meanwhile: nothing may stay that keeps other clients from asking.
func unlessInVain(ctx context.Context, err error, takeBack func()) error {
	made := err == nil
	if made {
		err = context.Cause(ctx)
	}
	if durable.IsFull(err) || made && err != nil {
		takeBack()
	}
	return err
}

// newPair is the number of a pair that is neither listed nor one of the first two, and whose names
// nobody has.
func (w *clientWriter) newPair(listed []int) int {
	n := max(2, slices.Max(listed)) + 1
	for ; ; n++ {
		record, list := layout.RequestFiles(n)
		_, recordErr := w.root.Lstat(record)
		_, listErr := w.root.Lstat(list)
		if recordErr != nil && listErr != nil {
			return n
		}
	}
}

// removeUnlisted is step 5. Whatever no list names now goes, also what a request before this one
// left that was pulled, and whether this one has allocated anything or not: it would keep the other
// clients from asking.
func (w *clientWriter) removeUnlisted() error {
	files, err := clientFiles(w.d, path.Base(w.dir))
	if err != nil {
		return w.d.PullDamage("reading", w.dir, err)
	}
	return w.removeFiles(unlisted(files, append(listedPairs(w.best), w.pair)))
}

// removeFiles removes files of pairs, durably.
func (w *clientWriter) removeFiles(files []string) error {
	if len(files) == 0 {
		return nil
	}
	if err := removeIn(w.session, w.root, files); err != nil {
		return w.d.PullDamage("removing from", w.dir, err)
	}
	return nil
}

// mayAllocate looks whether something was left unfinished on the drive, and removes it where it is
// of no use to anybody.
func (w *clientWriter) mayAllocate(ctx context.Context) error {
	if err := checkFinished(ctx, w.d); err != nil {
		return err
	}
	if err := removePulledRequests(w.d, w.session, path.Base(w.dir), w.lost); err != nil {
		return err
	}
	return removeEmptyDirs(w.d, w.session)
}

// fits reports whether what is to be written has room in the pair's files, which are filled to
// their ends; those that somebody made larger than a host reads fit nothing. Something else in the
// place of one of them is an error, before anything is allocated.
func (w *clientWriter) fits() (bool, error) {
	size, err := w.size(w.other.State.Name)
	if err != nil || !isListRoom(size) || w.pair <= 0 {
		return false, err
	}
	record, list := layout.RequestFiles(w.pair)
	for _, file := range []struct {
		name       string
		need, most int64
	}{{record, int64(len(w.o.Record)), request.MaxRecordFile},
		{list, int64(len(w.o.List) + frameHeader), request.MaxListStored}} {
		size, err := w.size(file.name)
		if err != nil || size < file.need || size > file.most {
			return false, err
		}
	}
	return true, nil
}

// listRoom is the size of each copy of the signed list, which has three lines.
const listRoom = 4 << 10

// isListRoom reports whether a copy of the list need neither grow nor shrink.
func isListRoom(size int64) bool { return size >= listRoom && size <= manifest.MaxManifest }

// firstSize is the size of a file of n bytes when it is made: a quarter more, in whole clusters of
// most drives.
func firstSize(n int) int64 { return int64(n+n/4+4096+4095) / 4096 * 4096 }

// first makes everything for the first request.
func (w *clientWriter) first(ctx context.Context) error {
	if err := w.mayAllocate(ctx); err != nil {
		return err
	}
	if _, err := w.d.Root().Lstat(layout.ClientsDir); errors.Is(err, fs.ErrNotExist) {
		if err := w.dirs.preallocateTree(); err != nil {
			return err
		}
	}
	if err := w.makeDir(layout.ClientsDir, 32); err != nil {
		return err
	}
	if err := w.makeDir(w.dir, 0); err != nil {
		return err
	}
	root, err := w.d.Root().OpenRoot(w.dir)
	if err != nil {
		return w.end("opening", w.dir, err)
	}
	w.root = root
	if err := w.makePairsDir(); err != nil {
		return err
	}
	w.best.State.Name, w.other.State.Name = layout.NextManifestFile, layout.ManifestFile
	for _, name := range []string{layout.ManifestFile, layout.NextManifestFile} {
		if err := w.allocate(name, listRoom); err != nil {
			return err
		}
	}
	w.keyFile = w.o.Key.Public().Armor()
	if err := w.put(layout.ClientKeyFile, w.keyFile); err != nil {
		return err
	}
	for _, pair := range []int{1, 2} {
		if err := w.allocatePair(pair); err != nil {
			return err
		}
	}
	w.pair = 1
	return w.flush()
}

// takeBackPair removes the pair that was allocated. The session may have ended: on a full drive a
// flush fails.
func (w *clientWriter) takeBackPair() {
	record, list := layout.RequestFiles(w.pair)
	w.root.Remove(record)
	w.root.Remove(list)
	_ = durable.SyncDir(w.root, layout.GenerationDir)
}

// takeBack removes the directory that a first request has made which found the drive full, or was
// cancelled: nothing in it was committed, and the next request begins with the same name.
func (w *clientWriter) takeBack() {
	if w.root != nil {
		w.root.Close()
		w.root = nil
	}
	root := w.d.Root()
	if root.RemoveAll(w.dir) == nil {
		root.Remove(layout.ClientsDir) // fails if somebody else has a directory there
	}
}

// makeDir makes a directory of the tree unless it is there, with room for so many names. On vfat
// none may grow that holds committed files.
func (w *clientWriter) makeDir(dir string, names int64) error {
	if info, err := w.d.Root().Lstat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := w.mayHold(path.Dir(dir), path.Base(dir)); err != nil {
		return err
	}
	if err := w.mkdirTree(dir); err != nil {
		return err
	}
	if !w.dirs.vfat || names == 0 {
		return nil
	}
	_, err := w.dirs.extendTo(w.d.Root(), dir, (&dirCapacity{}).wanted(reserve{names, 8}))
	return err
}

// makePairsDir makes the directory of the pairs, unless it is there.
func (w *clientWriter) makePairsDir() error {
	return w.makeDir(path.Join(w.dir, layout.GenerationDir), 4)
}

// mayHold refuses a name that would let a directory grow which holds committed files.
func (w *clientWriter) mayHold(dir, name string) error {
	if !w.dirs.vfat {
		return nil
	}
	f, err := w.d.Root().Open(dir)
	if err != nil {
		return w.end("opening", dir, err)
	}
	defer f.Close()
	entries, err := f.Readdirnames(-1)
	if err != nil {
		return w.end("reading the directory", dir, err)
	}
	size, err := w.dirs.size(w.d.Root(), dir)
	if err != nil {
		return err
	}
	r := &dirCapacity{capacity: size/entrySize - 2}
	for _, e := range entries {
		r.add(e)
	}
	if len(entries) > 0 && !r.fits(name, 1) {
		return fmt.Errorf("making %q: the directory %q has no room for another name without growing, which a pull could make unreadable as a whole: "+
			"take another drive, or pkgsneak request --file FILE", path.Join(dir,
			name), path.Join(layout.TreeDir, dir))
	}
	return nil
}

func (w *clientWriter) allocatePair(n int) error {
	record, list := layout.RequestFiles(n)
	if err := w.allocate(record, firstSize(len(w.o.Record))); err != nil {
		return err
	}
	return w.allocate(list, firstSize(len(w.o.List)))
}

// resizeList makes the copy of the list that does not count again, if somebody has deleted it, and
// gives it the room that it has not when it comes out of an archive. One that somebody made larger
// than any reader takes is cut off.
func (w *clientWriter) resizeList() error {
	size, err := w.size(w.other.State.Name)
	switch {
	case err != nil || isListRoom(size):
		return err
	case size > listRoom:
		return w.shorten(w.other.State.Name, listRoom)
	}
	return w.extend(context.Background(), w.other.State.Name, size, listRoom)
}

// allocate makes a file of newlines. Nothing is flushed.
func (w *clientWriter) allocate(name string, size int64) error {
	return w.put(name, bytes.Repeat([]byte{'\n'}, int(size)))
}

func (w *clientWriter) put(name string, data []byte) error {
	f, err := w.create(w.root, name, 0o644)
	if err != nil {
		return err
	}
	return w.do("write", name, func() error {
		_, err := f.Write(data)
		return errors.Join(err, f.Close())
	})
}

// write is 3 to 5.
func (w *clientWriter) write() error {
	recordName, listName := layout.RequestFiles(w.pair)
	record, list, err := w.padded(recordName, listName)
	if err != nil {
		return err
	}
	l := &manifest.List{Timestamp: time.Unix(w.o.Serial, 0).UTC(),
		Ignore: []string{layout.NextManifestFile},
		Files: []manifest.File{fileOf(listName, list), fileOf(recordName, record),
			fileOf(layout.ClientKeyFile, w.keyFile)}}
	at := w.o.Now
	if made := w.o.Key.Public().Created(); at.Before(made) {
		at = made
	}
	text, err := manifest.Sign(l, w.o.Key, at)
	if err != nil {
		return err
	}
	if int64(len(text)) > listRoom {
		return fmt.Errorf("writing to %q: the signed list has %d bytes, more than %d", w.dir,
			len(text), listRoom)
	}
	for _, file := range []struct {
		name string
		data []byte
	}{{recordName, record}, {listName, list}} {
		if err := w.overwrite(file.name, content(file.data)); err != nil {
			return err
		}
		if err := w.readBack(file.name, file.data); err != nil {
			return err
		}
	}
	if err := w.overwrite(w.other.State.Name, content(text)); err != nil {
		return err
	}
	return w.removeUnlisted()
}

func fileOf(name string, data []byte) manifest.File {
	return manifest.File{Path: name, Size: int64(len(data)), Sum: digest.Bytes(data)}
}

// padded makes both files as long as they are on the drive: JSON with newlines, zstd with a frame
// that readers skip.
func (w *clientWriter) padded(recordName, listName string) (record, list []byte, err error) {
	size, err := w.size(recordName)
	if err != nil {
		return nil, nil, err
	}
	record = append(bytes.Clone(w.o.Record),
		bytes.Repeat([]byte{'\n'}, int(size)-len(w.o.Record))...)
	if size, err = w.size(listName); err != nil {
		return nil, nil, err
	}
	return record, padFrame(w.o.List, int(size)), nil
}

const frameHeader = 8

// padFrame appends a skippable frame (RFC 8878 section 3.1.2) up to a size.
func padFrame(data []byte, size int) []byte {
	out := append(make([]byte, 0, size), data...)
	out = binary.LittleEndian.AppendUint32(out, 0x184D2A50)
	out = binary.LittleEndian.AppendUint32(out, uint32(size-len(data)-frameHeader))
	return append(out, make([]byte, size-len(out))...)
}

// readBack compares a file with what was written, from the medium.
func (w *clientWriter) readBack(name string, want []byte) error {
	m, err := drive.OpenMedium(w.root, name)
	if err != nil {
		return w.end("reading back", name, err)
	}
	defer m.Close()
	buf, at := drive.AlignedBuffer(), 0
	for {
		n, err := m.Read(buf)
		if n > 0 && (at+n > len(want) || !bytes.Equal(buf[:n], want[at:at+n])) {
			return w.ended.with(&drive.ReadBackError{Path: name, Offset: int64(at),
				Reason: "it is not what was written"})
		}
		at += n
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			break
		}
		if err != nil {
			return w.end("reading back", name, err)
		}
	}
	if at != len(want) {
		return w.ended.with(&drive.ReadBackError{Path: name, Offset: int64(at),
			Reason: "it ends too early"})
	}
	return nil
}

// BlankClientLists overwrites the installed lists of a client's requests with newlines, in place:
// the host has read them, and whoever finds the drive need not. Nothing is allocated. A file that
// is larger than a host reads is none of them.
func BlankClientLists(d *drive.Drive, name string, hook durable.Hook) error {
	files, err := clientFiles(d, name)
	if err != nil {
		return err
	}
	s := newSession(d, drive.ClientDir(name), nil)
	if hook != nil {
		s.hook = func(op, name string) error {
			return hook(durable.Change{Op: durable.Op(op), Root: d.Mount(), Name: name})
		}
	}
	defer s.release()
	if err := s.takeLock(); err != nil {
		return err
	}
	if s.root, err = d.Root().OpenRoot(drive.ClientDir(name)); err != nil {
		return d.Classify("opening", drive.ClientDir(name), err)
	}
	for _, file := range files {
		n, ok := layout.RequestPair(file)
		if !ok {
			continue
		}
		if _, list := layout.RequestFiles(n); file != list {
			continue
		}
		if size, err := s.size(file); err != nil || size > request.MaxListStored {
			continue
		}
		if err := s.overwrite(file, content(nil)); err != nil {
			return err
		}
	}
	return nil
}
