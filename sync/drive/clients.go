package drive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
)

// MaxClients bounds the directories of clients that are looked at.
const MaxClients = 1_000

// ClientDir is where a client's request lies, below TreeDir.
func ClientDir(name string) string { return path.Join(layout.ClientsDir, name) }

// RequestError reports that the request in a client's directory is damaged.
type RequestError struct {
	Dir string // below layout.ClientsDir
	Err error
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("reading the request in %q: %v", e.Dir, e.Err)
}

// Unwrap gives the reason.
func (e *RequestError) Unwrap() error { return e.Err }

// Hints tell who writes it anew, and the way out where that does not help. Something else helps on
// a drive that fails or could not be looked at, that this user may not read, or that a newer
// program wrote to.
func (e *RequestError) Hints(drive string) []string {
	if Unanswered(e.Err) || Failing(e.Err) || errors.Is(e.Err, fs.ErrPermission) ||
		errors.As(e.Err, new(*fault.NewerError)) {
		return fault.Hints(e.Err, drive)
	}
	return []string{"on that client, which writes it anew: pkgsneak request " + drive,
		"on that client, if it is damaged all the same: " + RemovalOf(e.Dir, drive)}
}

// RemovalOf is the way out of a request that is damaged and stays so: no program removes it, a
// person does. dir is below layout.ClientsDir, drive as in a hint.
func RemovalOf(dir, drive string) string {
	return fmt.Sprintf("rm -r %s/%s/%s, then pkgsneak request %s", strings.TrimRight(drive, "/"),
		layout.TreeDir, fault.Quote(ClientDir(dir)), drive)
}

// ClientNames returns the names of the directories of clients, sorted, and whether there are more
// than MaxClients. Names that no client can have are passed over.
func (d *Drive) ClientNames() (names []string, more bool, err error) {
	info, err := d.root.Lstat(layout.ClientsDir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && d.Present():
		return nil, false, nil
	case err != nil:
		return nil, false, d.PullDamage("reading", layout.ClientsDir, err)
	case !info.IsDir():
		return nil, false, nil
	}
	entries, err := d.readDir(d.root, layout.ClientsDir, 4*MaxClients, maxEntries,
		func(e fs.DirEntry) bool {
			return e.IsDir() && layout.CheckOriginName(e.Name()) == nil
		})
	if err != nil { // on FAT, of a first request whose drive was pulled
		return nil, false, d.PullDamage("reading the directory", layout.ClientsDir, err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	if len(names) > MaxClients {
		return names[:MaxClients], true, nil
	}
	return names, false, nil
}

// ClientKey reads the public key that lies beside a request. It proves nothing by lying there. One
// that is no client's is an error.
func (d *Drive) ClientKey(name string) (*manifest.PublicKey, error) {
	file := path.Join(ClientDir(name), layout.ClientKeyFile)
	data, err := d.ReadAll(d.root, file, manifest.MaxKey)
	if err != nil {
		return nil, err
	}
	key, err := manifest.ReadPublicKey(data)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %q: %w", file, err)
	case !key.IsClient():
		return nil, &DamagedError{Path: file, Reason: "the key is none of a client"}
	}
	return key, nil
}

// ClientCopies reads and verifies both copies of the list of a request. Only keys of clients count.
func (d *Drive) ClientCopies(name string, ring manifest.Ring, now time.Time) (best,
	other ManifestCopy, err error) {
	if err := layout.CheckOriginName(name); err != nil {
		return ManifestCopy{}, ManifestCopy{}, err
	}
	ring = slices.DeleteFunc(slices.Clone(ring), func(k *manifest.PublicKey) bool {
		return !k.IsClient()
	})
	return d.copiesIn(ClientDir(name), ring, now, layout.CheckRequestList)
}

// ReadClientFile reads a listed file of a request, of at most limit bytes, and compares it. The
// bytes are returned with the error that it is another one.
func (d *Drive) ReadClientFile(name string, f manifest.File, limit int64) ([]byte, error) {
	at := path.Join(ClientDir(name), f.Path)
	if f.Size > limit {
		return nil, &DamagedError{Path: at, Reason: fmt.Sprintf("longer than %d bytes", limit)}
	}
	file, info, err := d.openRegular(d.root, at)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info.Size() != f.Size {
		return nil, &DamagedError{Path: at, Reason: "not of the size that was signed"}
	}
	data := make([]byte, f.Size)
	if _, err := io.ReadFull(file, data); err != nil {
		return nil, d.Classify("reading", at, err)
	}
	if digest.Bytes(data) != f.Sum {
		return data, &DamagedError{Path: at, Reason: "its contents are not those that were signed"}
	}
	return data, nil
}

// ClientUnfinished reports whether a client's directory is that of a first request whose drive was
// pulled: neither copy of its list was ever written whole. Its files are nobody's.
func (d *Drive) ClientUnfinished(name string) bool {
	for _, file := range []string{layout.ManifestFile, layout.NextManifestFile} {
		c := d.loadCopy(ClientDir(name), file)
		if c.State.Err != nil && !errors.Is(c.State.Err, fs.ErrNotExist) || c.whole() {
			return false
		}
	}
	return d.Present()
}
