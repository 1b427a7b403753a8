package clients

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/request"
	"pkgsneak/sync/state"
)

const (
	clientsDir    = "clients" // below the state directory, as the next two
	drivesDir     = "drives"
	cataloguesDir = "catalogues"
	clientFile    = "client" // below a client's
	keyFile       = "key.asc"

	// MaxDrives bounds the drives that are remembered; the oldest are forgotten.
	MaxDrives = 1_000
	// MaxCatalogues is how many catalogues of an origin are remembered for receipts.
	MaxCatalogues = 20

	maxFile = 256 << 20 // bytes of a state file
)

// allDirs are all of them. Those that are missing are made with the first, so that who may read
// them can be granted once.
var allDirs = []string{clientsDir, drivesDir, cataloguesDir, offersDir, forgottenDir}

// FileError reports which file of the state directory cannot be used, and why. It is left as it is.
type FileError struct {
	Path string
	Err  error
	id   string
}

func (e *FileError) Error() string { return fmt.Sprintf("state file %q: %v", e.Path, e.Err) }

func (e *FileError) Unwrap() error { return e.Err }

// Hints gives the way out.
func (e *FileError) Hints(string) []string {
	if hints := fault.NewerHints(e.Err); hints != nil {
		return hints
	}
	if errors.Is(e.Err, fs.ErrPermission) {
		return nil // nothing is lost
	}
	return []string{"bring it back from a copy of the state directory",
		"without one: pkgsneak clients forget " + fault.Quote(strings.TrimPrefix(e.id, nameID)) +
			", and accept the client again when its next request is here"}
}

// Store is the part of the state directory that is about clients.
type Store struct {
	root     *durable.Root // nil: there is no such directory
	dir      string
	readOnly bool
	shown    Shown
}

// Open opens it below the state directory, for a caller that holds its lock unless it only reads.
// Nothing is made before something is remembered.
func Open(stateDir string, readOnly bool, hook durable.Hook) (*Store, error) {
	root, err := durable.OpenRoot(stateDir, hook, allDirs...)
	if readOnly && errors.Is(err, fs.ErrNotExist) {
		return &Store{dir: stateDir, readOnly: true}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", err)
	}
	return &Store{root: root, dir: stateDir, readOnly: readOnly}, nil
}

// Close closes it.
func (s *Store) Close() error {
	if s.root == nil {
		return nil
	}
	return s.root.Close()
}

// Clients returns the clients, by name. One whose file cannot be used is a *FileError beside the
// others.
func (s *Store) Clients() ([]*Client, error) {
	ids, err := s.names(clientsDir)
	if err != nil {
		return nil, err
	}
	var all []*Client
	var errs []error
	for _, id := range ids {
		c, err := s.client(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a directory that a killed run left before the client was in it
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b *Client) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID(), b.ID()))
	})
	return s.shown.counted(all), errors.Join(errs...)
}

func (s *Store) client(id string) (*Client, error) {
	name := path.Join(clientsDir, id, clientFile)
	data, err := s.read(name)
	if err != nil {
		return nil, err
	}
	var c Client
	if err := cmp.Or(fault.CheckNewer(data, format), decode(data, &c)); err != nil {
		return nil, &FileError{path.Join(s.dir, name), err, id}
	}
	if err := c.check(id); err != nil {
		return nil, &FileError{path.Join(s.dir, name), err, id}
	}
	return &c, nil
}

// Means reports whether somebody who typed a name or a fingerprint means what has these. A text
// that is a fingerprint is no name: anybody can give that to a directory on a drive.
func Means(text, name string, key manifest.Fingerprint) bool {
	if typed, err := manifest.ParseFingerprint(text); err == nil && key != "" {
		return typed == key
	}
	return text == name
}

// Word is what people type to name a client: its name, and its fingerprint where the name would be
// taken for a flag or a fingerprint.
func Word(name string, key manifest.Fingerprint) string {
	_, err := manifest.ParseFingerprint(name)
	if key != "" && (err == nil || strings.HasPrefix(name, "-")) {
		return string(key)
	}
	return fault.Quote(name)
}

// Find returns the client of a name or fingerprint, nil if there is none. Of several of one name it
// is the one without a key, which can be named in no other way; without that it is an error.
func (s *Store) Find(nameOrKey string) (*Client, error) {
	all, err := s.Clients()
	if err != nil {
		return nil, err
	}
	var named []*Client
	for _, c := range all {
		switch {
		case !Means(nameOrKey, c.Name, c.Key):
		case c.Key == "":
			return c, nil
		default:
			named = append(named, c)
		}
	}
	switch len(named) {
	case 0:
		return nil, nil
	case 1:
		return named[0], nil
	}
	return nil, fmt.Errorf("several clients are called %q: name the fingerprint", nameOrKey)
}

// keys returns the keys of the accepted clients, as many as can be read; the error is about the
// others.
func (s *Store) keys() (manifest.Ring, error) {
	all, err := s.Clients()
	errs := []error{err}
	var ring manifest.Ring
	for _, c := range all {
		if c.Key == "" {
			continue
		}
		key, err := keyOf(s, c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ring = append(ring, key)
	}
	return ring, errors.Join(errs...)
}

// keyOf reads the key of a client that has one.
func keyOf(s *Store, c *Client) (*manifest.PublicKey, error) {
	name := path.Join(clientsDir, c.ID(), keyFile)
	data, err := s.read(name)
	var key *manifest.PublicKey
	if err == nil {
		key, err = manifest.ReadPublicKey(data)
	}
	if err == nil && key.Fingerprint() != c.Key {
		err = errors.New("another key")
	}
	if err != nil {
		return nil, s.odd(name, c, err)
	}
	return key, nil
}

// Accept remembers a client by its key.
func (s *Store) Accept(key *manifest.PublicKey, name string, now time.Time) (*Client, error) {
	if !key.IsClient() {
		return nil, fmt.Errorf("accepting a client: the key %s is none of a client", key)
	}
	c := &Client{Format: format, Name: name, Key: key.Fingerprint(),
		Accepted: now.UTC().Truncate(time.Second)}
	if old, err := s.client(c.ID()); err == nil {
		return old, nil
	}
	if err := s.mayAdd(c); err != nil {
		return nil, err
	}
	if err := s.write(path.Join(clientsDir, c.ID(), keyFile), key.Armor()); err != nil {
		return nil, err
	}
	return c, s.save(c)
}

// NameError reports that a client cannot have a name: on a drive it would be that of a directory.
type NameError struct{ Name, Why string }

func (e *NameError) Error() string { return e.Why }

// Class is that of a wrong command line.
func (e *NameError) Class() fault.Class { return fault.Usage }

// Add remembers a client without a key, whose receipts are typed.
func (s *Store) Add(name string, now time.Time) (*Client, error) {
	if err := layout.CheckNewOrigin(name); err != nil {
		return nil, &NameError{name, strings.Replace(err.Error(), "of an origin", "of a client", 1)}
	}
	c := &Client{Format: format, Name: name, Accepted: now.UTC().Truncate(time.Second)}
	if err := s.mayAdd(c); err != nil {
		return nil, err
	}
	all, err := s.Clients()
	if err != nil {
		return nil, err
	}
	for _, o := range all {
		if o.Name == name {
			return nil, &NameTakenError{name}
		}
	}
	return c, s.save(c)
}

// NameTakenError reports that a client cannot be added, because there is one of the name.
type NameTakenError struct{ Name string }

func (e *NameTakenError) Error() string {
	return fmt.Sprintf("adding a client: there is one called %q", e.Name)
}

// Class is that of no particular error.
func (e *NameTakenError) Class() fault.Class { return fault.Failed }

// Hints tell what can be done with the one that there is.
func (e *NameTakenError) Hints(string) []string {
	word := fault.Quote(e.Name)
	return []string{"what it has and lacks: pkgsneak clients " + word,
		"to begin anew with it: pkgsneak clients forget " + word + ", then pkgsneak clients add " +
			word}
}

func (s *Store) mayAdd(c *Client) error {
	if err := c.check(c.ID()); err != nil {
		return fmt.Errorf("adding a client: %w", err)
	}
	ids, err := s.names(clientsDir)
	if err != nil {
		return err
	}
	if len(ids) >= request.MaxClients {
		return fmt.Errorf("adding a client: more than %d: pkgsneak clients forget NAME",
			request.MaxClients)
	}
	return nil
}

// Forget removes a client and what is remembered of it. id is Client.ID. Its requests from before
// now do not offer it again.
func (s *Store) Forget(id, name string, now time.Time) error {
	if s.readOnly {
		return state.ErrReadOnly
	}
	dir := path.Join(clientsDir, id)
	if !fs.ValidPath(dir) || path.Dir(dir) != clientsDir {
		return fmt.Errorf("forgetting the client %q: no such client", id)
	}
	if err := noteForgotten(s, manifest.Fingerprint(id), name, now); err != nil {
		return err
	}
	if err := s.root.RemoveAll(dir); err != nil {
		return fmt.Errorf("forgetting a client: %w", err)
	}
	return s.root.SyncDir(clientsDir)
}

// Broken returns the IDs of the clients whose file cannot be used, so that they can be forgotten.
func (s *Store) Broken() ([]string, error) {
	ids, err := s.names(clientsDir)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(ids, func(id string) bool {
		_, err := s.client(id)
		var odd *FileError
		return !errors.As(err, &odd)
	}), nil
}

func (s *Store) save(c *Client) error {
	return s.writeJSON(path.Join(clientsDir, c.ID(), clientFile), c)
}

// Record returns the newest request of a client, nil if none was read.
func (s *Store) Record(c *Client) (*request.Record, error) {
	if c.Serial == 0 {
		return nil, nil
	}
	if f, err := s.shown[c.ID()].read(); f != nil || err != nil {
		if err != nil {
			return nil, err
		}
		return f.Record, nil
	}
	name := path.Join(clientsDir, c.ID(), recordName(c.Serial))
	data, err := s.read(name)
	if err != nil {
		return nil, s.odd(name, c, err)
	}
	r, err := request.Parse(data)
	if err != nil {
		return nil, s.odd(name, c, err)
	}
	return r, nil
}

// HasList reports whether there is an installed list with a client's newest request: not if that
// was minimal, or another host had taken it from the drive.
func (s *Store) HasList(c *Client, r *request.Record) bool {
	if s.root == nil || r == nil || r.Minimal {
		return false
	}
	if x := s.shown[c.ID()]; x != nil && x.drive != nil {
		return x.listed
	}
	_, err := s.root.Lstat(path.Join(clientsDir, c.ID(), listName(c.Serial)))
	return err == nil
}

// List returns the installed list of a client's newest request, which HasList.
func (s *Store) List(c *Client, r *request.Record) (*pkgindex.Index, error) {
	if f, err := s.shown[c.ID()].read(); f != nil || err != nil {
		if err != nil {
			return nil, err
		}
		return request.UnpackList(f.List, r.Installed)
	}
	name := path.Join(clientsDir, c.ID(), listName(c.Serial))
	data, err := s.read(name)
	if err != nil {
		return nil, s.odd(name, c, err)
	}
	list, err := request.UnpackList(data, r.Installed)
	if err != nil {
		return nil, s.odd(name, c, err)
	}
	return list, nil
}

func (s *Store) odd(name string, c *Client, err error) error {
	return &FileError{path.Join(s.dir, name), err, c.ID()}
}

func recordName(serial int64) string { return strconv.FormatInt(serial, 10) + ".json" }
func listName(serial int64) string   { return strconv.FormatInt(serial, 10) + ".Packages.zst" }

// Drives returns the drives that were written, in a fixed order. An odd file counts as none.
func (s *Store) Drives() ([]Drive, error) {
	names, err := s.names(drivesDir)
	if err != nil {
		return nil, err
	}
	var all []Drive
	for _, name := range names {
		data, err := s.read(path.Join(drivesDir, name))
		if err != nil {
			return nil, err
		}
		var d Drive
		if decode(data, &d) == nil && d.check() == nil && d.file() == name {
			all = append(all, d)
		}
	}
	return all, nil
}

// file carries the first digits of the key: two origins of one name may be on one drive.
func (d *Drive) file() string { return d.ID + "." + originFile(Origin{Key: d.Key, Name: d.Origin}) }

func originFile(o Origin) string { return string(o.Key[:8]) + "." + o.Name }

// hasName reports whether originFile has a name for what is remembered of an origin.
func hasName(o Origin) bool {
	_, err := manifest.ParseFingerprint(string(o.Key))
	return err == nil && layout.CheckOriginName(o.Name) == nil
}

// SaveDrive remembers what is on a drive now, in the place of what was on it before.
func (s *Store) SaveDrive(d Drive) error {
	d.Format, d.When, d.Packages = format, d.When.UTC().Truncate(time.Second),
		request.SortSums(slices.Clone(d.Packages))
	if err := d.check(); err != nil {
		return fmt.Errorf("remembering a drive: %w", err)
	}
	if err := s.writeJSON(path.Join(drivesDir, d.file()), d); err != nil {
		return err
	}
	all, err := s.Drives()
	if err != nil || len(all) <= MaxDrives {
		return err
	}
	slices.SortFunc(all, func(a, b Drive) int { return a.When.Compare(b.When) })
	for _, old := range all[:len(all)-MaxDrives] {
		if err := s.root.Remove(path.Join(drivesDir, old.file())); err != nil {
			return fmt.Errorf("forgetting a drive: %w", err)
		}
	}
	return nil
}

type catalogue struct {
	Format int    `json:"format"`
	Sums   string `json:"sums"`
}

// SaveCatalogue remembers the sums of a catalogue (request.CatalogueSums), and forgets the oldest
// of more than MaxCatalogues of that origin.
func (s *Store) SaveCatalogue(o Origin, serial int64, sums []request.Sum) error {
	text, err := request.Sums(sums).MarshalText()
	if err != nil {
		return err
	}
	if err := s.writeJSON(path.Join(cataloguesDir, originFile(o)+"."+strconv.FormatInt(serial, 10)),
		catalogue{format, string(text)}); err != nil {
		return err
	}
	serials, err := s.serials(o)
	if err != nil || len(serials) <= MaxCatalogues {
		return err
	}
	for _, old := range serials[:len(serials)-MaxCatalogues] {
		if err := s.root.Remove(path.Join(cataloguesDir, originFile(o)+"."+strconv.FormatInt(old,
			10))); err != nil {
			return fmt.Errorf("forgetting a catalogue: %w", err)
		}
	}
	return nil
}

// DropCatalogue forgets a catalogue of a generation that has a successor on the same drive.
func (s *Store) DropCatalogue(o Origin, serial int64) error {
	if s.readOnly {
		return state.ErrReadOnly
	}
	err := s.root.Remove(path.Join(cataloguesDir, originFile(o)+"."+strconv.FormatInt(serial, 10)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting a catalogue: %w", err)
	}
	return nil
}

// serials are those of the catalogues of an origin, lowest first. An origin that may not be known,
// because nothing was exported from this PKGDIR or the key cannot be read, has none.
func (s *Store) serials(o Origin) ([]int64, error) {
	if !hasName(o) {
		return nil, nil
	}
	names, err := s.names(cataloguesDir)
	if err != nil {
		return nil, err
	}
	var serials []int64
	for _, name := range names {
		if digits, ok := strings.CutPrefix(name, originFile(o)+"."); ok {
			if n, err := strconv.ParseInt(digits, 10, 64); err == nil && n > 0 {
				serials = append(serials, n)
			}
		}
	}
	slices.Sort(serials)
	return serials, nil
}

// Catalogue returns the sums of a catalogue, nil if it is not remembered.
func (s *Store) Catalogue(o Origin, serial int64) ([]request.Sum, error) {
	if !hasName(o) {
		return nil, nil
	}
	data, err := s.read(path.Join(cataloguesDir, originFile(o)+"."+strconv.FormatInt(serial, 10)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var c catalogue
	var sums request.Sums
	if decode(data, &c) != nil || c.Format != format || sums.UnmarshalText([]byte(c.Sums)) != nil {
		return nil, nil
	}
	return sums, nil
}

// names returns what lies in a directory of the state; nothing if there is none.
func (s *Store) names(dir string) ([]string, error) {
	if s.root == nil {
		return nil, nil
	}
	names, err := durable.Names(s.root, dir)
	if err != nil {
		return nil, fmt.Errorf("reading state: %w", err)
	}
	return slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, ".") }), nil
}

func (s *Store) read(name string) ([]byte, error) {
	if s.root == nil {
		return nil, fs.ErrNotExist
	}
	f, info, err := s.root.OpenRegular(name)
	if err != nil {
		return nil, fmt.Errorf("reading state below %q: %w", s.dir, err)
	}
	defer f.Close()
	if info.Size() > maxFile {
		return nil, fmt.Errorf("reading state below %q: %q is longer than %d bytes", s.dir,
			name, maxFile)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("reading state below %q: %w", s.dir, err)
	}
	return data, nil
}

func (s *Store) writeJSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing state: %w", err)
	}
	return s.write(name, append(data, '\n'))
}

func (s *Store) write(name string, data []byte) error {
	if s.readOnly {
		return state.ErrReadOnly
	}
	for _, dir := range append(allDirs, path.Dir(name)) {
		if err := s.root.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("writing state: %w", err)
		}
	}
	if err := s.root.Sweep(path.Dir(name)); err != nil {
		return fmt.Errorf("writing state: %w", err)
	}
	err := s.root.WriteFile(name, durable.Attr{Mode: 0o644, UID: -1, GID: -1},
		func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		})
	if err != nil {
		return fmt.Errorf("state directory %q: %w", s.dir, err)
	}
	return nil
}

// Digest writes a digest as Client and Drive have it.
func Digest(sum [64]byte) string { return hex.EncodeToString(sum[:]) }
