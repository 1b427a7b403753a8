// Package state is what this machine remembers: its signing key, the keys it trusts, per origin the
// highest serial it has seen and what it brought in as what, what it exported, the last runs, and
// the digests of files it has read.
//
// # The state directory
//
//	STATE/                     0755, usually /var/lib/pkgsneak
//	  lock                     held by the one pkgsneak that may write here (durable.Acquire)
//	  signing.asc              0600, the origin's key; made once, never replaced
//	  retired/FINGERPRINT.asc  0600, the keys that signing.asc took the place of
//	  trusted/FINGERPRINT.asc  public keys the administrator trusts; every *.asc here counts
//	  decisions                the keys that are not to be trusted, or no longer (Decisions)
//	  damaged                  files that verify found wrong on drives of this machine (Damaged)
//	  replacing                one key is about to take the place of another (Replace)
//	  renewed                  the origins that go on under another name (Renewals)
//	  client.asc               0600, the key with which this machine signs its requests (ClientKey)
//	  client                   its last request (LastAsked)
//	  clients/ drives/ catalogues/ offered/ forgotten/
//	                           what it remembers as a host of clients (package clients)
//	  repositories             the ebuild repositories that import brought (package ebuilds)
//	  exclude-N                names for the line to type, where they are many (package importer)
//	  undo                     what the last import changed, and which generations were taken back (Undo)
//	  memory                   serials, exports, runs (below)
//	  imports/KEY.NAME.KIND    what came from the origin NAME of the key KEY; KIND is packages or distfiles
//	  pending/KEY.NAME.KIND    the same of an import that has not ended (below)
//	  accepted/KEY.NAME.xs     what the newest generation of an origin lists that was imported (AcceptedList)
//	  digests/HEX              one for each directory whose files were read
//	  refused/HEX              one for each directory that has files which were refused (Refusals)
//
// Every file of this package is text, is replaced as a whole, begins with its format and version
// and ends with a line that counts the lines before it, so that a file which lost its end is not
// taken for a shorter one. Anything odd, unreadable or lost is an error that names the file:
// forgetting the highest serial would let an old generation in, and forgetting what was imported
// would turn the origin's packages into local ones. Only the digests are a cache; an odd one starts
// empty. So do refused, damaged and, for an import, undo. Something that is no file in the place of
// one is an error too, but for digests and refused, which are not saved then.
//
// memory is JSON, one object a line, each with one key:
//
//	{"format":{"name":"pkgsneak memory","version":1}}
//	{"highest":"2026-03-01T12:00:00Z"}
//	{"seen":{"key":"B1C9…","name":"bighost","serial":1772366400,"manifest":"9cb2…","highest":"2026-03-01T12:00:00Z"}}
//	{"imports":{"key":"B1C9…","name":"bighost","kind":"packages","file":"imports/B1C9….bighost.packages"}}
//	{"exported":{"name":"bighost","pkgdir":"/var/cache/binpkgs","serial":1772366400}}
//	{"run":{"when":"2026-03-01T12:00:05Z","verb":"import","by":"auto","origin":"bighost","drive":"/mnt/usb","result":"done","serial":1772366400,"files":3,"bytes":12345}}
//	{"end":6}
//
// An imports line for a file that is not there is an error, and so is a directory imports/ with
// files but without memory.
//
// imports/*, pending/*, digests/* and refused/* are lines of fields with a tab between. A
// backslash, tab, line feed or carriage return in a name or reason is written \\, \t, \n or \r.
// Lines are in bytewise order of the name, each name once:
//
//	pkgsneak imports 1<TAB>KEY<TAB>NAME<TAB>packages
//	ORIGIN'S PATH<TAB>PATH HERE<TAB>SIZE<TAB>BLAKE2B-512 in hex
//	end<TAB>1
//
// pending/* is the same under the heading "pkgsneak pending 1": it is written before a name
// changes, and removed when imports/* is saved. Until then a file is the origin's if its digest is
// that of either; a digest of zeros stands for a file that is to be removed. A program that does
// not read it takes such a file for a local one.
//
//	pkgsneak digests 2<TAB>DIRECTORY
//	NAME<TAB>SIZE<TAB>MTIME<TAB>CTIME<TAB>INODE<TAB>MD5<TAB>SHA1<TAB>BLAKE2B-512<TAB>RULES
//	end<TAB>1
//
// Times there are nanoseconds since 1970; a digest that is not known is "-". RULES is the number of
// the rules that the file has passed (Cache.Approve), or "-". A file of another version is one that
// is lost.
//
//	pkgsneak refused 1<TAB>DIRECTORY
//	NAME<TAB>REASON<TAB>SIZE<TAB>MTIME<TAB>CTIME<TAB>INODE<TAB>BLAKE2B-512<TAB>RULES
//	end<TAB>1
//
// is the same of files that did not pass those rules, with the reason. It is a file of its own so
// that an older program goes on with the digests.
//
// A Dir and its Caches are for one goroutine.
package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
)

const (
	lockName    = "lock"
	signingName = "signing.asc"
	trustedDir  = "trusted"
	retiredDir  = "retired"
	importsDir  = "imports"
	pendingDir  = "pending"
	acceptedDir = "accepted" // accepted/KEY.NAME.xs, JSON
	digestsDir  = "digests"
	refusedDir  = "refused"
	memoryName  = "memory"
	undoName    = "undo"
	keySuffix   = ".asc"

	// clientKeyName is the key with which this machine signs its requests. It is none of an origin,
	// and lies apart from that.
	clientKeyName = "client.asc"

	// maxText bounds what is read of a state file, in bytes.
	maxText = 512 << 20
)

// ErrReadOnly is returned by everything that writes when the state was opened with
// Options.ReadOnly.
var ErrReadOnly = errors.New("the state directory was opened for reading only")

// A FileError reports which state file cannot be used and why. The file is left as it is.
type FileError struct {
	Path string
	Line int // 0: the file as a whole
	Err  error
	// Exports is set where the machine has a key that signs exports.
	Exports bool
}

func (e *FileError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("state file %q, line %d: %v", e.Path, e.Line, e.Err)
	}
	return fmt.Sprintf("state file %q: %v", e.Path, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// Hints gives the way out: a copy, or to begin anew without what the file held.
func (e *FileError) Hints(string) []string {
	if hints := fault.NewerHints(e.Err); hints != nil {
		return hints
	}
	const copied = "bring it back from a copy of the state directory"
	dir, name := path.Split(e.Path)
	state, below := path.Split(strings.TrimSuffix(dir, "/"))
	switch {
	case name == memoryName:
		below, state = "", dir
		fallthrough
	case below == importsDir:
		hints := []string{copied,
			fmt.Sprintf("without one: rm -rf %s %s; the keys stay, what was imported before counts as this machine's own from then on, and the next drive may be older than the last one was",
				fault.Quote(state+memoryName), fault.Quote(state+importsDir))}
		if e.Exports {
			hints = append(hints,
				"the names and numbers of the exports of this machine are forgotten with it; where a drive has them, the next export names them: pkgsneak export DRIVE --name ORIGIN goes on with one")
		}
		return hints
	case below == trustedDir:
		return []string{copied,
			fmt.Sprintf("without one: rm %s, and \"pkgsneak trust\" the key again",
				fault.Quote(e.Path))}
	case below == pendingDir:
		return []string{copied,
			fmt.Sprintf("without one: rm %s; what an import that was killed had just replaced may count as this machine's own from then on",
				fault.Quote(e.Path))}
	case below == retiredDir:
		return []string{copied,
			fmt.Sprintf("without one: mv %s %s.damaged; a drive on which nothing newer than what that key signed lies is somebody else's to this machine from then on",
				fault.Quote(e.Path), fault.Quote(e.Path))}
	case name == clientKeyName:
		return []string{copied,
			fmt.Sprintf("without one: mv %s %s.damaged; the next request makes a new key, and on the host it has to be accepted anew: pkgsneak clients accept NAME", fault.Quote(e.Path), fault.Quote(e.Path))}
	case name == decisionsName:
		return []string{copied,
			fmt.Sprintf("without one: rm %s; nothing becomes trusted by that, and keys that were refused count as unknown again",
				fault.Quote(e.Path))}
	case name == replacingName:
		return []string{copied,
			fmt.Sprintf("without one: rm %s; the next import asks again whether the new key may take the place of the old one",
				fault.Quote(e.Path))}
	case name == renewedName:
		return []string{copied,
			fmt.Sprintf("without one: rm %s; an origin that goes on under another name counts as a new one from then on",
				fault.Quote(e.Path))}
	case name == undoName:
		return []string{fmt.Sprintf("the last import cannot be taken back then: rm %s",
			fault.Quote(e.Path))}
	case name == signingName:
		return []string{copied,
			fmt.Sprintf("without one: mv %s %s.damaged; the next export makes a new key, and says what to do about the drives and clients of the old one", fault.Quote(e.Path), fault.Quote(e.Path))}
	}
	return []string{copied}
}

// Options for Open. The zero value opens for writing and does not wait for another pkgsneak.
type Options struct {
	ReadOnly bool          // no lock, nothing is created, an absent directory is an empty state
	LockWait time.Duration // durable.ErrLocked after this long
	OnWait   func()        // called once after a second of waiting
	Hook     durable.Hook  // shown each change of a file; nil outside of tests
}

// A Dir is an open state directory.
type Dir struct {
	dir    string
	root   *durable.Root // nil: read only, and there is no such directory
	lock   *durable.Lock
	memory memory
	rows   map[importsID]map[string]Import // as they were read, until they are written
}

// Open opens the state directory dir, and creates it (not with ReadOnly). The error is
// durable.ErrLocked if another pkgsneak uses it, and a *FileError if its memory cannot be used.
func Open(ctx context.Context, dir string, o Options) (*Dir, error) {
	st, err := open(ctx, dir, o)
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", err)
	}
	return st, nil
}

func open(ctx context.Context, dir string, o Options) (_ *Dir, err error) {
	st := &Dir{dir: dir, rows: make(map[importsID]map[string]Import)}
	if !o.ReadOnly {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	st.root, err = durable.OpenRoot(dir, o.Hook)
	if o.ReadOnly && errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			st.Close()
		}
	}()
	if !o.ReadOnly {
		st.lock, err = st.root.Acquire(ctx, lockName, durable.LockOptions{Wait: o.LockWait,
			OnWait: o.OnWait})
		if err != nil {
			return nil, unlockable(err)
		}
		if err := st.sweep(); err != nil {
			return nil, err
		}
	}
	if err := st.readMemory(); err != nil || o.ReadOnly {
		return st, err
	}
	if err := finishReplacing(st); err != nil {
		return nil, err
	}
	return st, finishRenewing(st)
}

// UnlockableError reports a state directory on a file system that has no locks, NFS for instance:
// it belongs on a disk of this machine.
type UnlockableError struct{ *durable.NoLocksError }

// unlockable makes an *UnlockableError of the error of a lock that nobody holds.
func unlockable(err error) error {
	var none *durable.NoLocksError
	if errors.As(err, &none) {
		return &UnlockableError{none}
	}
	return err
}

func (e *UnlockableError) Error() string { return "state directory: " + e.NoLocksError.Error() }

// Unwrap gives the error of the directory.
func (e *UnlockableError) Unwrap() error { return e.NoLocksError }

// Hints name another place, and how to get locks in this one.
func (e *UnlockableError) Hints(drive string) []string {
	return append([]string{fmt.Sprintf("keep it on a local disk: mkdir DIR && cp -a %s DIR, then --state-dir DIR or PKGSNEAK_STATE_DIR=DIR in /etc/conf.d/pkgsneak",
		fault.Quote(e.Dir+"/."))}, e.NoLocksError.Hints(drive)...)
}

// sweep removes what killed runs left.
func (st *Dir) sweep() error {
	for _, dir := range []string{".", trustedDir, retiredDir, importsDir, pendingDir,
		acceptedDir, digestsDir, refusedDir} {
		if err := st.root.Sweep(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Close lets the next pkgsneak in.
func (st *Dir) Close() error {
	var errs []error
	if st.lock != nil {
		errs = append(errs, st.lock.Release())
	}
	if st.root != nil {
		errs = append(errs, st.root.Close())
	}
	st.lock, st.root = nil, nil
	return errors.Join(errs...)
}

// write replaces a state file.
func (st *Dir) write(name string, mode fs.FileMode, fill func(io.Writer) error) error {
	if st.lock == nil {
		return ErrReadOnly
	}
	if dir := path.Dir(name); dir != "." {
		if err := st.root.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("writing state: %w", err)
		}
	}
	err := st.root.WriteFile(name, durable.Attr{Mode: mode, UID: -1, GID: -1}, fill)
	if err != nil {
		return fmt.Errorf("state directory %q: %w", st.dir, err)
	}
	return nil
}

func (st *Dir) writeBytes(name string, mode fs.FileMode, data []byte) error {
	return st.write(name, mode, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// read returns a state file of at most limit bytes; absent is fs.ErrNotExist.
func (st *Dir) read(name string, limit int64) ([]byte, error) {
	if st.root == nil {
		return nil, &fs.PathError{Op: "open", Path: path.Join(st.dir, name), Err: fs.ErrNotExist}
	}
	f, fi, err := st.root.OpenRegular(name)
	if err != nil {
		return nil, fmt.Errorf("reading state below %q: %w", st.dir, err)
	}
	defer f.Close()
	var b bytes.Buffer
	b.Grow(int(min(fi.Size(), limit)) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, fmt.Errorf("reading state below %q: %w", st.dir, err)
	}
	if int64(b.Len()) > limit {
		return nil, st.odd(name, 0, fmt.Errorf("longer than %d bytes", limit))
	}
	return b.Bytes(), nil
}

func (st *Dir) odd(name string, line int, reason error) error {
	_, err := st.root.Lstat(signingName)
	return &FileError{Path: path.Join(st.dir, name), Line: line, Err: reason,
		Exports: err == nil}
}

// SigningKey returns the key this machine signs with; fs.ErrNotExist if it has none.
func (st *Dir) SigningKey() (*manifest.PrivateKey, error) {
	data, err := st.read(signingName, manifest.MaxKey)
	if err != nil {
		return nil, err
	}
	k, err := manifest.ReadPrivateKey(data)
	if err != nil {
		return nil, st.odd(signingName, 0, err)
	}
	return k, nil
}

// SaveSigningKey stores the first key. It returns fs.ErrExist if there is one: a machine that signs
// with another key is another origin to every client, so that step is the administrator's.
func (st *Dir) SaveSigningKey(k *manifest.PrivateKey) error {
	if st.lock == nil {
		return ErrReadOnly
	}
	if err := k.Public().CheckOrigin(); err != nil {
		return fmt.Errorf("saving the signing key %s: %w", k.Public().Fingerprint(), err)
	}
	_, err := st.root.Lstat(signingName)
	if err == nil {
		err = fs.ErrExist
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("saving the signing key %q: %w", path.Join(st.dir, signingName), err)
	}
	return st.writeBytes(signingName, 0o600, k.Armor())
}

// ReplaceSigningKey makes next the key that this machine signs with, and keeps the one it had. A
// machine that has none gets fs.ErrNotExist.
func (st *Dir) ReplaceSigningKey(next *manifest.PrivateKey) error {
	if err := next.Public().CheckOrigin(); err != nil {
		return fmt.Errorf("saving the signing key %s: %w", next.Public().Fingerprint(), err)
	}
	old, err := st.SigningKey()
	if err != nil {
		return err
	}
	if err := st.SaveRetired(old); err != nil {
		return err
	}
	return st.writeBytes(signingName, 0o600, next.Armor())
}

// RenewSigningKey stores the key that is there again, with what was changed about it: its expiry,
// or another certification. A key with another fingerprint is fs.ErrExist.
func (st *Dir) RenewSigningKey(k *manifest.PrivateKey) error {
	old, err := st.SigningKey()
	if err != nil {
		return err
	}
	if old.Public().Fingerprint() != k.Public().Fingerprint() {
		return fmt.Errorf("saving the signing key %q: %w",
			path.Join(st.dir, signingName), fs.ErrExist)
	}
	return st.writeBytes(signingName, 0o600, k.Armor())
}

// RestoreSigningKey makes a key that this machine had, and lost, the one that it signs with again,
// and keeps the one that was made without it. A key that cannot sign at that time is refused.
func RestoreSigningKey(st *Dir, key *manifest.PrivateKey, now time.Time) error {
	public := key.Public()
	if made := public.Created(); now.Before(made) {
		now = made
	}
	if err := public.Check(now); err != nil {
		return fmt.Errorf("restoring a signing key: %w", err)
	}
	retired, err := st.Retired()
	if err != nil {
		return err
	}
	for _, k := range retired {
		if k.Public().Fingerprint() == public.Fingerprint() && k.Public().Revoked() {
			return fmt.Errorf("restoring a signing key: %w", k.Public().Check(now))
		}
	}
	if err := st.ReplaceSigningKey(key); err != nil {
		return err
	}
	err = st.root.Remove(path.Join(retiredDir, string(public.Fingerprint())+keySuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, st.root.SyncDir(retiredDir))
}

// SaveRetired stores a key that signs no longer, or renews the one with the same fingerprint: with
// its revocation.
func (st *Dir) SaveRetired(k *manifest.PrivateKey) error {
	return st.writeBytes(path.Join(retiredDir, string(k.Public().Fingerprint())+keySuffix),
		0o600, k.Armor())
}

// Retired returns the keys that this machine signed with before, in the order of their
// fingerprints.
func (st *Dir) Retired() ([]*manifest.PrivateKey, error) {
	names, err := st.names(retiredDir)
	if err != nil {
		return nil, err
	}
	var keys []*manifest.PrivateKey
	for _, name := range names {
		if strings.HasPrefix(path.Base(name), ".") || !strings.HasSuffix(name, keySuffix) {
			continue
		}
		data, err := st.read(name, manifest.MaxKey)
		if err != nil {
			return nil, err
		}
		k, err := manifest.ReadPrivateKey(data)
		if err != nil {
			return nil, st.odd(name, 0, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// Trusted returns the keys in trusted/, in the order of their file names; first the one that is
// about to take the place of another (Replace), without that other.
func (st *Dir) Trusted() (manifest.Ring, error) {
	pending, err := replacing(st)
	if err != nil {
		return nil, err
	}
	var ring manifest.Ring
	if pending != nil {
		ring = manifest.Ring{pending.next}
	}
	err = st.eachTrusted(func(_ string, k *manifest.PublicKey) error {
		if pending != nil && k.Fingerprint() == pending.old && !k.Revoked() {
			return nil
		}
		if !slices.ContainsFunc(ring, func(o *manifest.PublicKey) bool {
			return o.Fingerprint() == k.Fingerprint()
		}) {
			ring = append(ring, k)
		}
		return nil
	})
	return ring, err
}

func (st *Dir) eachTrusted(f func(name string, k *manifest.PublicKey) error) error {
	names, err := st.names(trustedDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(path.Base(name), ".") || !strings.HasSuffix(name, keySuffix) {
			continue
		}
		data, err := st.read(name, manifest.MaxKey)
		if err != nil {
			return err
		}
		k, err := manifest.ReadPublicKey(data)
		if err != nil {
			return st.odd(name, 0, err)
		}
		if err := f(name, k); err != nil {
			return err
		}
	}
	return nil
}

// names lists a directory below the state directory, sorted; an absent one is empty.
func (st *Dir) names(dir string) ([]string, error) {
	if st.root == nil {
		return nil, nil
	}
	f, err := st.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading state below %q: %w", st.dir, err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("reading state below %q: %w", st.dir, err)
	}
	for i := range names {
		names[i] = path.Join(dir, names[i])
	}
	slices.Sort(names)
	return names, nil
}

// Trust adds a key, or renews the one with the same fingerprint.
func (st *Dir) Trust(k *manifest.PublicKey) error {
	if err := k.CheckOrigin(); err != nil {
		return fmt.Errorf("trusting the key %s: %w", k.Fingerprint(), err)
	}
	return st.writeBytes(path.Join(trustedDir, string(k.Fingerprint())+keySuffix), 0o644, k.Armor())
}

// Distrust removes a key under whatever name it lies in trusted/; fs.ErrNotExist if it is not
// there.
func (st *Dir) Distrust(fpr manifest.Fingerprint) error {
	if st.lock == nil {
		return ErrReadOnly
	}
	found := false
	err := st.eachTrusted(func(name string, k *manifest.PublicKey) error {
		if k.Fingerprint() != fpr {
			return nil
		}
		found = true
		return st.root.Remove(name)
	})
	if err != nil {
		return fmt.Errorf("removing the key %s: %w", fpr, err)
	}
	if !found {
		return fmt.Errorf("removing the key %s: %w", fpr, fs.ErrNotExist)
	}
	return st.root.SyncDir(trustedDir)
}
