package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/clients"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
	"pkgsneak/sync/volume"
)

// VerifyOptions states what to read.
type VerifyOptions struct {
	Drive   string
	Origin  string // the directory of one origin; "" reads all
	Workers int    // files read at the same time; 0 chooses
}

// OriginVerify is what reading one origin from end to end has shown.
type OriginVerify struct {
	Dir         string         `json:"dir"`
	Name        string         `json:"origin,omitempty"`
	Fingerprint string         `json:"fingerprint,omitempty"`
	UserID      string         `json:"user_id,omitempty"`
	Trusted     bool           `json:"trusted"`
	SignerState string         `json:"signer_state,omitempty"` // trust.State
	Serial      int64          `json:"serial,omitempty"`
	Signed      time.Time      `json:"signed,omitzero"`
	Files       payload.Tally  `json:"files"` // read
	Bad         []payload.Item `json:"bad"`   // damaged, missing or unreadable
	// derived files of an older generation: the next export renews them
	Stale      []string `json:"stale"`
	Undeclared []string `json:"undeclared"`
	// directories that could not be looked through: most likely left by a pull
	Unreadable []payload.Item `json:"unreadable"`
	// of the two manifest copies, those that are not valid
	Copies []string `json:"slots"`
	// files whose name something else has, which is to be moved away
	InTheWay []string `json:"in_the_way"`
	// why the generation is not to be believed, or cannot be read at all
	Problem string `json:"problem,omitempty"`
	Err     error  `json:"-"`
	// PassedOver means that nothing was read, because nobody here wants what this key signs.
	PassedOver bool `json:"passed_over,omitempty"`
}

// VerifyReport is what verify found.
type VerifyReport struct {
	Origins  []*OriginVerify `json:"origins"`
	Requests []clients.Lying `json:"requests"` // unless one origin was named
}

// Verify reads everything on a drive and compares it with what was signed. It does not write to the
// drive, and works for ordinary users. The faults of an origin are in the report; the error is the
// drive's. If this machine exported what is damaged, and the user may write its state directory,
// that is remembered: the next export writes it again.
func Verify(ctx context.Context, m machine.Machine, o VerifyOptions,
	w progress.Watcher) (*VerifyReport, error) {
	d, err := drive.OpenFor("verify", o.Drive)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	st, err := state.Open(ctx, m.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	k, err := trust.Read(st, m.Now())
	if err != nil {
		return nil, err
	}
	if k.Damaged != nil {
		w.Notice(k.DamagedText())
	}
	have, err := d.Origins()
	if err != nil {
		return nil, err
	}
	dirs, err := drive.Choose(have, o.Origin)
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
	if o.Workers <= 0 {
		o.Workers = volume.MediumOf(o.Drive).Readers
	}
	r := &VerifyReport{Origins: []*OriginVerify{}}
	for _, dir := range dirs {
		v, err := verifyOrigin(ctx, k, d, dir, offered, o, w)
		if err != nil {
			return r, err
		}
		r.Origins = append(r.Origins, v)
	}
	if o.Origin == "" {
		if r.Requests, _, err = clients.LookAt(d, k.Now); err != nil {
			return r, err
		}
	}
	if err := rememberDamage(ctx, m, st, r.Origins); err != nil {
		w.Notice(fmt.Sprintf("the next export cannot be told what is damaged: %v", err))
	}
	return r, nil
}

// Damaged are those of Bad that are not what was signed.
func (v *OriginVerify) Damaged() []payload.Item {
	return slices.DeleteFunc(slices.Clone(v.Bad), isForbidden)
}

// Forbidden are those of Bad of which nothing is known but that this user may not read them.
func (v *OriginVerify) Forbidden() []payload.Item {
	return slices.DeleteFunc(slices.Clone(v.Bad),
		func(it payload.Item) bool { return !isForbidden(it) })
}

func isForbidden(it payload.Item) bool { return it.Hint == drive.MayRead }

// rememberDamage notes for the next export what is damaged in the origins of this machine. An
// ordinary user cannot, and where another pkgsneak is at work nobody waits for it: export --repair
// finds the same.
func rememberDamage(ctx context.Context, m machine.Machine, st *state.Dir,
	origins []*OriginVerify) error {
	mine := ownKeys(st)
	origins = slices.DeleteFunc(slices.Clone(origins), func(v *OriginVerify) bool {
		return len(v.Damaged()) == 0 || !mine[v.Fingerprint]
	})
	if len(origins) == 0 {
		return nil
	}
	w, err := state.Open(ctx, m.StateDir, state.Options{Hook: m.Hook})
	if errors.Is(err, durable.ErrLocked) || errors.Is(err, fs.ErrPermission) ||
		errors.Is(err, unix.EROFS) {
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Close()
	for _, v := range origins {
		var paths []string
		for _, it := range v.Damaged() {
			paths = append(paths, it.Path)
		}
		if err := state.SetDamaged(w, v.Name, v.Serial, v.Serial, paths); err != nil {
			return err
		}
	}
	return nil
}

// ownKeys are the fingerprints of the keys that this machine signs and signed with, as far as this
// user may read them.
func ownKeys(st *state.Dir) map[string]bool {
	mine := make(map[string]bool)
	if key, err := st.SigningKey(); err == nil {
		mine[string(key.Public().Fingerprint())] = true
	}
	retired, _ := st.Retired()
	for _, key := range retired {
		mine[string(key.Public().Fingerprint())] = true
	}
	return mine
}

func verifyOrigin(ctx context.Context, k trust.View, d *drive.Drive, dir string,
	offered manifest.Ring, o VerifyOptions, w progress.Watcher) (*OriginVerify, error) {
	v := &OriginVerify{Dir: dir, Bad: []payload.Item{}, Stale: []string{}, Undeclared: []string{},
		Unreadable: []payload.Item{}, Copies: []string{},
		InTheWay: append([]string{}, drive.InTheWay(d, dir)...)}
	seen, err := k.Load(d, dir, offered)
	switch {
	case drive.Unanswered(err):
		return nil, err
	case err != nil:
		s := signerOf(err)
		v.Err, v.Problem, v.SignerState, v.Fingerprint, v.UserID = err, fault.Text(err),
			s.State.String(), string(s.Key), s.UserID
		return passOver(v, o), nil
	}
	defer seen.Gen.Close()
	g := seen.Gen
	v.SignerState = seen.Signer.State.String()
	v.Name, v.Fingerprint, v.Serial, v.Signed, v.Trusted = g.Record.Origin, string(g.Signed.Signer),
		g.Serial(), g.Signed.SignedAt, seen.Err == nil
	if seen.Key != nil {
		v.UserID = seen.Key.UserID()
	}
	if v.Err = seen.Err; trust.IsFormer(v.Err) {
		v.Err = nil // of this machine, which has another key by now
	}
	if v.Err != nil {
		v.Problem = fault.Text(v.Err)
	}
	if passOver(v, o).PassedOver {
		return v, nil
	}
	rep, err := g.Verify(ctx, drive.VerifyOptions{Workers: o.Workers,
		Progress: verifyProgress(g, w)})
	if err != nil {
		return nil, err
	}
	for _, b := range rep.Bad {
		f, _ := g.Signed.Find(b.Path)
		bad := payload.Item{Kind: "file", Path: b.Path, Size: f.Size, Reason: b.Reason}
		if b.Forbidden {
			bad.Hint = drive.MayRead
		}
		v.Bad = append(v.Bad, bad)
	}
	v.Files = payload.Tally{Files: rep.Files, Bytes: rep.Bytes}
	v.Stale, v.Undeclared = append(v.Stale, rep.Stale...), append(v.Undeclared, rep.Undeclared...)
	for _, b := range rep.Unreadable {
		v.Unreadable = append(v.Unreadable, payload.Item{Kind: "directory", Path: b.Path,
			Reason: b.Reason})
	}
	for _, slot := range rep.Copies {
		v.Copies = append(v.Copies, fmt.Sprintf("%s: %v", slot.Name, slot.Err))
	}
	return v, nil
}

// passOver takes the problem from an origin that nobody here wants, unless it was named.
func passOver(v *OriginVerify, o VerifyOptions) *OriginVerify {
	if o.Origin == "" && trust.Unwanted(v.Err) {
		v.PassedOver, v.Err, v.Problem = true, nil, ""
	}
	return v
}

// verifyProgress counts what several readers have read.
func verifyProgress(g *drive.Generation, w progress.Watcher) func(string, int64) {
	if w == nil {
		return nil
	}
	var total payload.Tally
	for _, f := range g.Signed.Files {
		total.Add(f.Size)
	}
	var mu sync.Mutex
	var done int64
	return func(path string, n int64) {
		mu.Lock()
		defer mu.Unlock()
		done += n
		w.Tell(progress.Event{Phase: progress.PhaseVerify, Path: path, Done: done,
			Total: total.Bytes, FilesTotal: total.Files})
	}
}
