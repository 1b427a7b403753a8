package requester

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/depend"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/request"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// Options states what to ask for, and where to write it.
type Options struct {
	Drive   string   // where the drive is mounted; "" with File
	File    string   // write a tar archive instead, to be unpacked on a drive
	Wishes  []string // atoms that shall come
	Name    string   // the client's name; "": its last name, else the host's name
	Minimal bool     // neither the installed packages nor settings
	// NoDistfiles names none of the distfiles that could be compiled from.
	NoDistfiles bool
	// AnyDirectory: Drive need not be a mounted file system of its own.
	AnyDirectory bool
	Pretend      bool // write nothing
}

// Report is what was, or would be, told.
type Report struct {
	Client string `json:"client"`
	// below pkgsneak/clients on the drive
	Dir string `json:"dir,omitempty"`
	// "": the key is made by the first request
	Fingerprint manifest.Fingerprint `json:"fingerprint,omitempty"`
	Serial      int64                `json:"serial"`
	Record      *request.Record      `json:"request"`
	Text        []byte               `json:"-"` // the same, as it is written
	// of the request and its list, as they are carried
	Bytes    int64    `json:"bytes"`
	File     string   `json:"file,omitempty"`
	NewKey   bool     `json:"new_key"` // made just now: a host has to accept it
	Problems []string `json:"problems"`

	previous int64 // the serial of the request before this one, 0: not known
}

// Request gathers what this machine has and lacks, and writes it.
func Request(ctx context.Context, m machine.Machine, o Options,
	watch progress.Watcher) (*Report, error) {
	for _, w := range o.Wishes {
		if a, err := depend.ParseAtom(w); err != nil || a.Block != depend.NoBlock {
			return nil, &AtomError{w, o.File}
		}
	}
	st, err := state.Open(ctx, m.StateDir,
		state.Options{ReadOnly: o.Pretend, LockWait: m.LockWait, Hook: m.Hook,
			OnWait: func() { watch.Notice("waiting for another pkgsneak") }})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	r := &Report{File: o.File}
	d, err := openDrive(m, o)
	if err != nil {
		return nil, err
	}
	if d != nil {
		defer d.Close()
	}
	key, err := identify(m, st, o, r)
	if err != nil {
		return nil, err
	}
	if err := r.place(d, key, m, st, watch); err != nil {
		return nil, err
	}
	list, err := gather(ctx, m, st, d, o, r)
	if err != nil {
		return nil, err
	}
	if o.Pretend {
		return r, nil
	}
	return r, send(ctx, m, st, d, o, r, key, list)
}

// AtomError is a wish that is none.
type AtomError struct {
	Text string
	File string // where the request should go; "" for a drive
}

func (e *AtomError) Error() string { return fmt.Sprintf("%q is not a package atom", e.Text) }

// Class is that of a wrong command line.
func (e *AtomError) Class() fault.Class { return fault.Usage }

// Hints show what one looks like.
func (e *AtomError) Hints(drive string) []string {
	return []string{"with its category: pkgsneak request " + target(e.File, drive) +
		" app-editors/vim"}
}

// target is the part of a command line that names the place of a request. Of one with a file the
// first argument is a wish, and no drive.
func target(file, drive string) string {
	if file != "" {
		return "--file " + fault.Quote(file)
	}
	return drive
}

// NameError is a name that no client can have.
type NameError struct {
	Name string
	File string // where the request should go; "" for a drive
	Err  error
}

func (e *NameError) Error() string {
	return fmt.Sprintf("%q cannot be the name of a client: it has to be one of a directory", e.Name)
}

// Unwrap gives the reason.
func (e *NameError) Unwrap() error { return e.Err }

// Hints name the flag.
func (e *NameError) Hints(drive string) []string {
	return []string{"give this client another one: pkgsneak request " + target(e.File, drive) +
		" --name NAME"}
}

// openDrive opens the drive; one without a tree gets one. It is nil where a file is written.
func openDrive(m machine.Machine, o Options) (*drive.Drive, error) {
	if o.Drive == "" {
		return nil, checkFile(o.File)
	}
	if err := machine.NeedDirectory("request", o.Drive); err != nil {
		return nil, err
	}
	if err := checkMounted(m, o); err != nil {
		return nil, err
	}
	if !o.Pretend {
		return drive.Create(o.Drive)
	}
	return drive.OpenToPlan(o.Drive)
}

// checkMounted refuses a drive that is not mounted: nobody would carry the request. A directory
// with an origin is what it looks like.
func checkMounted(m machine.Machine, o Options) error {
	if o.AnyDirectory {
		return nil
	}
	if d, err := drive.Open(o.Drive); err == nil {
		origins, err := d.Origins()
		d.Close()
		if err == nil && len(origins) > 0 {
			return nil
		}
	}
	return drive.CheckDrive("request", o.Drive, m.PKGDIR)
}

// identify finds the client's name and key; the first request makes the key.
func identify(m machine.Machine, st *state.Dir, o Options,
	r *Report) (*manifest.PrivateKey, error) {
	last, err := state.LastAsked(st)
	if err != nil {
		return nil, err
	}
	name := o.Name
	if name == "" {
		name = last.Name
	}
	if name == "" {
		if name, err = layout.OriginName(m.Hostname); err != nil {
			return nil, &NameError{m.Hostname, o.File, err}
		}
	}
	if err := layout.CheckNewOrigin(name); err != nil {
		return nil, &NameError{name, o.File, err}
	}
	r.Client = name
	key, err := state.ClientKey(st)
	switch {
	case err == nil:
		r.Fingerprint = key.Public().Fingerprint()
		return key, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case o.Pretend:
		return nil, nil
	}
	if key, err = manifest.GenerateKey(manifest.ClientUserID(name), m.Now()); err != nil {
		return nil, fmt.Errorf("making this client's key: %w", err)
	}
	if err := state.SaveClientKey(st, key); err != nil {
		return nil, err
	}
	r.Fingerprint, r.NewKey = key.Public().Fingerprint(), true
	return key, nil
}

// place finds the directory on the drive, and the serial. A damaged one of this client's beside it
// is told: nothing is ever written to that.
func (r *Report) place(d *drive.Drive, key *manifest.PrivateKey, m machine.Machine,
	st *state.Dir, watch progress.Watcher) error {
	last, err := state.LastAsked(st)
	if err != nil {
		return err
	}
	r.Serial, r.Dir = max(m.Now().Unix(), last.Serial+1), r.Client
	r.previous = last.Serial
	if d == nil || key == nil {
		return nil
	}
	at, err := drivewriter.FindClient(d, r.Client, key.Public(), m.Now())
	if at.Damaged != nil {
		watch.Notice(wayOut(m, d, at.Damaged))
	}
	if err != nil {
		return err
	}
	r.Dir, r.Serial = at.Dir, max(r.Serial, at.Serial+1)
	return nil
}

// wayOut is the notice of a request that stays damaged. Nobody finds the place where auto has
// mounted a drive.
func wayOut(m machine.Machine, d *drive.Drive, e *drive.RequestError) string {
	at := fault.Quote(d.Mount())
	if m.Unattended {
		at = "DRIVE"
	}
	return fmt.Sprintf("%s; it stays damaged until a person removes it: %s", fault.Text(e),
		drive.RemovalOf(e.Dir, at))
}

// gather makes the record, and packs the installed list.
func gather(ctx context.Context, m machine.Machine, st *state.Dir, d *drive.Drive, o Options,
	r *Report) ([]byte, error) {
	here, err := forecast.ReadMachine(m.Settings, m.CPUInfo)
	if err != nil {
		return nil, err
	}
	view, err := trust.Read(st, m.Now())
	if err != nil {
		return nil, err
	}
	g := &gatherer{m: m, st: st, o: o, r: r, here: here, view: view, index: &pkgindex.Index{}}
	g.record = &request.Record{Format: request.Format, Role: request.Role, Client: r.Client,
		Fingerprint: r.Fingerprint, Serial: r.Serial, Previous: r.previous,
		Created: m.Now().UTC().Truncate(time.Second), Tool: g.text("pkgsneak " +
			m.Version), Minimal: o.Minimal}
	if g.record.Fingerprint == "" {
		g.record.Fingerprint = pretended
	}
	g.readIndex()
	if d != nil {
		if err := g.readDrive(ctx, d); err != nil {
			return nil, err
		}
	}
	g.receipts()
	g.forecast(ctx)
	var entries []pkgindex.Entry
	if !o.Minimal {
		entries = g.installed()
		g.settings()
		g.failures()
	}
	list, counts, err := request.PackList(entries, r.Serial)
	if err != nil {
		return nil, err
	}
	g.record.Installed = counts
	text, err := g.record.Marshal()
	if err != nil {
		return nil, fmt.Errorf("writing the request: %w", err)
	}
	r.Record, r.Text, r.Bytes = g.record, text, int64(len(text)+len(list))
	return list, nil
}

// pretended stands for the key that the first request will make.
const pretended = "0000000000000000000000000000000000000000"

// send writes the request, and remembers the serial before anything is on the drive: a number that
// is used twice would look like two machines.
func send(ctx context.Context, m machine.Machine, st *state.Dir, d *drive.Drive, o Options,
	r *Report, key *manifest.PrivateKey, list []byte) error {
	if err := state.SaveAsked(st, state.Asked{Name: r.Client, Serial: r.Serial}); err != nil {
		return err
	}
	if d == nil {
		return writeArchive(m, o.File, r, key, r.Text, list)
	}
	at, err := drivewriter.WriteClient(ctx, d, drivewriter.ClientOptions{Name: r.Client, Key: key,
		Serial: r.Serial, Record: bytes.TrimRight(r.Text, "\n"),
		List: list, Now: m.Now(), Hook: m.Hook})
	if err != nil {
		return err
	}
	r.Dir = at.Dir
	return nil
}
