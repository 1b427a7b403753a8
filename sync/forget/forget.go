// Package forget takes an origin off a drive: one whose key is lost, whose host is gone, or that
// nobody wants any more.
//
// An export never touches another key's origin, so that without this such an origin stays for ever,
// and clients that trust its key go on importing it. The files of an origin are told by its own
// list: whoever signed it must have a key that lies on the drive, is trusted here, or is or was
// this machine's; whether the key was revoked, has expired or was replaced since does not matter,
// because nothing is brought in. An origin of which nothing valid tells what belongs to it (both
// copies of its manifest are damaged, or nobody has its key) goes only on request, with all that
// has a name of the layout. Leftovers of an export that was pulled go with it; everything else
// stays and is reported. The order in which files go is that of drivewriter.Removal.
package forget

import (
	"cmp"
	"context"
	"slices"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// Options states what to forget.
type Options struct {
	Drive   string
	Origin  string // its directory below the tree
	Pretend bool   // change nothing
	// Unsigned takes an origin, too, of which nothing validly signed tells what belongs to it.
	Unsigned bool
	// Confirm is asked before anything is removed; nil is a yes.
	Confirm func(*Report) (bool, error)
}

// Report is what is, or would be, removed.
type Report struct {
	Drive       string               `json:"drive"`
	Dir         string               `json:"dir"`
	Name        string               `json:"origin,omitempty"` // by the origin's record
	Fingerprint manifest.Fingerprint `json:"fingerprint,omitempty"`
	UserID      string               `json:"user_id,omitempty"`
	Serial      int64                `json:"serial,omitempty"`
	Signed      time.Time            `json:"signed,omitzero"` // when it was last exported
	// another key, that signed the other copy of the manifest
	Beside manifest.Fingerprint `json:"beside,omitempty"`
	// why nothing signed tells what belongs to it
	Unsigned string `json:"unsigned,omitempty"`
	// this machine exports it: the next export writes it all again
	Own       bool          `json:"mine"`
	Pretended bool          `json:"pretended,omitempty"`
	Files     payload.Tally `json:"files"`
	// below Dir: in no list of the origin's, and left alone
	Others []string `json:"undeclared"`
}

// Forget removes an origin. Besides the drive's errors it returns fault.ErrDeclined if the answer
// was no, and what drivewriter.PlanRemoval refuses.
func Forget(ctx context.Context, m machine.Machine, o Options,
	w progress.Watcher) (*Report, error) {
	d, err := drive.OpenFor("forget", o.Drive)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	st, err := state.Open(ctx, m.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	known, err := readKeys(st, d, m.Now())
	if err != nil {
		return nil, err
	}
	w.Tell(progress.Event{Phase: progress.PhaseScan, Path: o.Drive})
	planned := drivewriter.PlanRemoval
	if o.Unsigned {
		planned = drivewriter.PlanUnsigned
	}
	plan, err := planned(ctx, d, o.Origin, known.all)
	if err != nil {
		return nil, err
	}
	r := newReport(o, plan, known)
	if o.Pretend {
		return r, nil
	}
	if o.Confirm != nil {
		switch yes, err := o.Confirm(r); {
		case err != nil:
			return nil, err
		case !yes:
			return nil, fault.ErrDeclined
		}
	}
	var done payload.Tally
	return r, plan.Run(ctx, func(path string, bytes int64) {
		done.Add(bytes)
		w.Tell(progress.Event{Phase: progress.PhaseRemove, Path: path, Done: done.Bytes,
			Total: r.Files.Bytes, Files: done.Files, FilesTotal: r.Files.Files})
	})
}

// keys are those by which a signature can be told.
type keys struct {
	all   manifest.Ring
	own   manifest.Ring // this machine's, former ones too
	names []string      // under which it exports
}

func readKeys(st *state.Dir, d *drive.Drive, now time.Time) (keys, error) {
	view, err := trust.Read(st, now)
	if err = cmp.Or(err, view.Damaged); err != nil {
		return keys{}, err
	}
	k := keys{names: st.Origins()}
	if key, ok := view.Ring.Find(view.Own); ok {
		k.own = append(k.own, key)
	}
	k.own = append(k.own, view.Former...)
	offered, err := trust.Offers(d)
	if err != nil {
		return keys{}, err
	}
	k.all = slices.Concat(k.own, view.Ring, offered)
	return k, nil
}

func newReport(o Options, plan *drivewriter.Removal, k keys) *Report {
	r := &Report{Drive: o.Drive, Dir: plan.Dir, Name: plan.Name, Fingerprint: plan.Signer,
		Serial: plan.Serial,
		Signed: plan.Signed, Beside: plan.Beside, Pretended: o.Pretend, Others: append([]string{},
			plan.Others...)}
	for _, f := range plan.Files {
		r.Files.Add(f.Size)
	}
	if plan.Unsigned != nil {
		r.Unsigned = plan.Unsigned.Error()
	}
	if key, ok := k.all.Find(plan.Signer); ok {
		r.UserID = key.UserID()
	}
	_, own := k.own.Find(plan.Signer)
	r.Own = own && slices.Contains(k.names, plan.Name)
	return r
}
