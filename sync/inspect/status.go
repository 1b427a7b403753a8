package inspect

import (
	"context"
	"errors"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/clients"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/ebuilds"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
	"pkgsneak/sync/volume"
)

// StatusOptions states what to look at.
type StatusOptions struct {
	Drive string // "" looks at this machine only
}

// StatusReport is what a drive carries and what this machine remembers.
type StatusReport struct {
	Drive   *DriveStatus  `json:"drive,omitempty"`
	Machine MachineStatus `json:"machine"`
	// Receipts are those of the last imports, if they were asked for.
	Receipts []Receipt `json:"receipts"`
}

// DriveStatus is what lies on a drive.
type DriveStatus struct {
	Mount    string         `json:"mount"`
	Device   string         `json:"device,omitempty"`
	FS       string         `json:"fs"`
	ReadOnly bool           `json:"read_only"`
	Free     int64          `json:"free"`
	Total    int64          `json:"total"`
	Origins  []OriginStatus `json:"origins"`
	// of clients, according to the keys beside them
	Requests []clients.Lying `json:"requests"`
	fsName   string          // of one that no drive has
}

// FSName is the name of the file system as mount(8) has it, where that is known.
func (d *DriveStatus) FSName() string {
	if d.fsName != "" {
		return d.fsName
	}
	return d.FS
}

// OriginStatus is the newest generation of one origin on a drive. If nothing could be verified,
// Problem tells why and the rest is empty.
type OriginStatus struct {
	Dir         string    `json:"dir"` // below pkgsneak/
	Name        string    `json:"origin,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"`
	UserID      string    `json:"user_id,omitempty"`
	Trusted     bool      `json:"trusted"`
	Mine        bool      `json:"mine"`                   // signed with a key of this machine
	SignerState string    `json:"signer_state,omitempty"` // trust.State
	Serial      int64     `json:"serial,omitempty"`
	Signed      time.Time `json:"signed,omitzero"`
	// seconds since it was signed, as far as is known here
	Age       int64         `json:"age,omitempty"`
	Packages  payload.Tally `json:"packages"`
	Distfiles payload.Tally `json:"distfiles"`
	Catalogue int           `json:"catalogue"` // packages the origin has, carried or not
	Trees     []TreeStatus  `json:"repositories"`
	Profile   string        `json:"profile,omitempty"`
	CHOST     string        `json:"chost,omitempty"`
	Imported  int64         `json:"imported,omitempty"` // the highest generation imported here
	// Unfit to Other are the verdicts of import, doctor and serve on its packages on the drive
	// (forecast.Fit).
	Unfit    string              `json:"unfit,omitempty"`
	Unusable map[string]int      `json:"unusable,omitempty"`
	First    string              `json:"first,omitempty"`
	Masked   []forecast.Mismatch `json:"masked"`
	Other    []string            `json:"other"`
	Fit      forecast.Fit        `json:"-"`
	Problem  string              `json:"problem,omitempty"`
	Err      error               `json:"-"` // the same, for the exit code
	Record   *layout.Record      `json:"-"`
	Signer   trust.Signer        `json:"-"`
}

// TreeStatus is an ebuild repository that a drive carries.
type TreeStatus struct {
	Name      string    `json:"name"`
	Timestamp time.Time `json:"timestamp,omitzero"` // of the tree
	Count     int       `json:"count"`              // files and directories
	Bytes     int64     `json:"bytes"`              // unpacked
}

// MachineStatus is this machine's part.
type MachineStatus struct {
	PKGDIR   string       `json:"pkgdir"`
	DISTDIR  string       `json:"distdir"`
	StateDir string       `json:"state_dir"`
	Key      string       `json:"key,omitempty"`         // fingerprint of the signing key
	KeyErr   string       `json:"key_problem,omitempty"` // why a key of this machine cannot be read
	KeyFault error        `json:"-"`                     // the same, for the hints
	Trusted  []TrustedKey `json:"trusted"`
	Exports  []string     `json:"exports_as"` // names of this machine's origins
	Runs     []state.Run  `json:"runs"`       // newest last
	Undo     *UndoStatus  `json:"undo,omitempty"`

	// Auto and AutoLog are filled in by the command line: PKGSNEAK_AUTO, and the line that shows
	// the log of automatic runs.
	Auto    string `json:"auto,omitempty"`
	AutoLog string `json:"auto_log,omitempty"`
}

// UndoStatus means that the last import can be taken back, and what is kept for that.
type UndoStatus struct {
	Imported time.Time `json:"when,omitzero"` // zero: ebuild repositories alone came
	// it did not come to its end, or its undo did not
	Ended bool          `json:"ended,omitempty"`
	Kept  payload.Tally `json:"kept"`
	// ebuild repositories that go back, too, and the bytes that their replaced trees take
	Repositories []string `json:"repositories"`
	TreeBytes    int64    `json:"tree_bytes,omitempty"`
}

// undoStatus is nil where there is nothing to take back, or what is remembered cannot be used.
func undoStatus(stateDir string, st *state.Dir) *UndoStatus {
	s := &UndoStatus{}
	u, err := state.ReadUndo(st)
	if err != nil {
		return nil
	}
	change := ""
	if u.Change != nil {
		change = u.Change.ID
	}
	if notes, err := ebuilds.ReadNotes(stateDir, nil); err == nil {
		for _, n := range notes.Reverts(change) {
			s.Repositories = append(s.Repositories, n.Name)
		}
		for _, t := range notes.KeptTrees() {
			s.TreeBytes += t.Bytes
		}
	}
	if u.Change == nil && len(s.Repositories) == 0 {
		return nil
	}
	if u.Change != nil {
		s.Imported, s.Ended = u.Change.When, u.Change.State != state.Imported
		s.Kept.Files, s.Kept.Bytes = u.Change.Keeps()
	}
	return s
}

// TrustedKey is a key whose exports are imported here.
type TrustedKey struct {
	Fingerprint string `json:"fingerprint"`
	UserID      string `json:"user_id"`
	Problem     string `json:"problem,omitempty"` // expired or revoked
}

// Status looks at a drive and at this machine. It changes nothing and works for ordinary users. An
// origin that cannot be verified is part of the report, not an error.
func Status(ctx context.Context, m machine.Machine, o StatusOptions) (*StatusReport, error) {
	st, err := state.Open(ctx, m.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	k, err := trust.Read(st, m.Now())
	if err != nil {
		return nil, err
	}
	r := &StatusReport{Machine: machineStatus(m, st, k)}
	if o.Drive != "" {
		r.Drive, err = driveStatus(ctx, st, k, o.Drive,
			forecast.NewJudge(forecast.ReadGates(m.Settings, m.CPUInfo), forecast.GateOptions{}))
	}
	return r, err
}

func machineStatus(m machine.Machine, st *state.Dir, k trust.View) MachineStatus {
	s := MachineStatus{PKGDIR: m.PKGDIR, DISTDIR: m.DISTDIR, StateDir: m.StateDir,
		Key:     string(k.Own),
		Trusted: []TrustedKey{}, Exports: st.Origins(), Runs: st.Runs(),
		Undo: undoStatus(m.StateDir, st)}
	if k.Damaged != nil {
		s.KeyErr, s.KeyFault = fault.Text(k.Damaged), k.Damaged
	}
	for _, key := range k.Ring {
		if key.Fingerprint() == k.Own {
			continue
		}
		t := TrustedKey{Fingerprint: string(key.Fingerprint()), UserID: key.UserID()}
		if err := key.Check(k.Now); err != nil {
			t.Problem = fault.Text(err)
		}
		s.Trusted = append(s.Trusted, t)
	}
	return s
}

func driveStatus(ctx context.Context, st *state.Dir, k trust.View, mount string,
	j *forecast.Judge) (*DriveStatus, error) {
	d, err := drive.OpenFor("status", mount)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	s := &DriveStatus{Mount: mount, Device: d.Device(), FS: d.FSType().String(),
		ReadOnly: d.ReadOnly(), Origins: []OriginStatus{}}
	if d.FSType() == volume.Unknown {
		s.fsName = volume.NameAt(mount)
	}
	if space, err := d.Space(); err == nil {
		s.Free, s.Total = space.Free, space.Total
	}
	dirs, err := d.Origins()
	if err != nil {
		return nil, err
	}
	offered, err := trust.Offers(d)
	if err != nil {
		return nil, err
	}
	if _, err := k.ApplyRevocations(d); err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		o, err := originStatus(st, k, d, dir, offered, j)
		if err != nil {
			return nil, err
		}
		s.Origins = append(s.Origins, o)
	}
	if s.Requests, _, err = clients.LookAt(d, k.Now); err != nil {
		return nil, err
	}
	return s, nil
}

func originStatus(st *state.Dir, k trust.View, d *drive.Drive, dir string, offered manifest.Ring,
	j *forecast.Judge) (OriginStatus, error) {
	o := OriginStatus{Dir: dir}
	seen, err := k.Load(d, dir, offered)
	switch {
	case drive.Unanswered(err):
		return o, err
	case err != nil:
		o.Err = err
		o.signer(signerOf(err))
	default:
		defer seen.Gen.Close()
		o.fill(seen)
		o.Age = int64(max(0, k.Now.Sub(o.Signed)) / time.Second)
		if o.Err = seen.Err; trust.IsFormer(o.Err) {
			o.Err = nil // of this machine, which has another key by now
		}
		if o.Trusted && !o.Mine {
			o.Err = o.judge(seen.Gen, j)
		}
		if drive.Unanswered(o.Err) {
			return o, o.Err
		}
		id := state.OriginID{Key: seen.Gen.Signed.Signer, Name: o.Name}
		if s, ok := st.Seen(k.Predecessor(st, id, offered)); ok {
			o.Imported = s.Serial
		}
	}
	if o.Err != nil {
		o.Problem = fault.Text(o.Err)
	}
	return o, nil
}

// signerOf is the signer of an origin of which nothing is to be had.
func signerOf(err error) trust.Signer {
	var refusal *trust.Refusal
	if errors.As(err, &refusal) {
		return refusal.Signer
	}
	return trust.Signer{}
}

func (o *OriginStatus) signer(s trust.Signer) {
	o.Signer, o.SignerState, o.UserID, o.Fingerprint = s, s.State.String(), s.UserID, string(s.Key)
	o.Mine = s.State == trust.Mine || s.State == trust.Former
}

func (o *OriginStatus) fill(seen trust.Loaded) {
	g := seen.Gen
	o.signer(seen.Signer)
	o.Name, o.Fingerprint, o.Serial, o.Signed, o.Trusted = g.Record.Origin, string(g.Signed.Signer),
		g.Serial(), g.Signed.SignedAt, seen.Err == nil
	if seen.Key != nil {
		o.UserID = seen.Key.UserID()
	}
	o.Packages, o.Distfiles = tally(g.Packages()), tally(g.Distfiles())
	o.Catalogue, o.Profile, o.CHOST = g.Record.Counts.Catalogue, g.Record.Profile, g.Record.CHOST
	for _, r := range g.Record.Carried() {
		o.Trees = append(o.Trees, TreeStatus{Name: r.Name, Timestamp: r.Tree.Timestamp,
			Count: r.Tree.Count, Bytes: r.Tree.Bytes})
	}
	o.Record = g.Record
}

// judge tells what its packages are for this machine. A catalogue that cannot be read is a problem
// of the origin.
func (o *OriginStatus) judge(g *drive.Generation, j *forecast.Judge) error {
	offer, err := forecast.OfferOf(g)
	if err != nil {
		return err
	}
	o.Fit = j.Fit(offer)
	o.Unfit, o.First, o.Unusable = o.Fit.Unfit, o.Fit.First, forecast.KindNames(o.Fit.Unusable)
	o.Masked, o.Other = o.Fit.Masked, o.Fit.Other
	return nil
}

func tally(items []layout.Item) payload.Tally {
	t := payload.Tally{Files: len(items)}
	for _, it := range items {
		t.Bytes = payload.Plus(t.Bytes, it.Size)
	}
	return t
}
