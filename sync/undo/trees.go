package undo

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"pkgsneak/sync/ebuilds"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/state"
)

// Repository is an ebuild repository that the import replaced or brought.
type Repository struct {
	Name     string `json:"name"`
	Location string `json:"location"`
	// why it stays as it is; "": it is as before the import
	Reason string   `json:"reason,omitempty"`
	Hints  []string `json:"hints"`
}

// trees are the ebuild repositories that can be taken back. Their notes are their own (package
// ebuilds).
type trees struct {
	site   *ebuilds.Site
	notes  []*ebuilds.Note
	change string // state.Changed.ID of the import; "": it brought repositories alone
}

// readTrees reads which there are; where something may change, what a run left that was ended is
// finished first.
func readTrees(m machine.Machine, o Options, change string) (trees, error) {
	notes, err := ebuilds.ReadNotes(m.StateDir, m.Hook)
	if err != nil {
		return trees{}, err
	}
	site := &ebuilds.Site{Settings: m.Settings, Notes: notes, Hook: m.Hook, Proc: m.Proc,
		Dirs: map[string]string{"PKGDIR": m.PKGDIR, "DISTDIR": m.DISTDIR}}
	if !o.Pretend {
		if err := site.Recover(); err != nil {
			return trees{}, err
		}
	}
	return trees{site, notes.Reverts(change), change}, nil
}

// places are the directories in which repositories change places, those included in which an undo
// that was ended has left something: Recover looks at all of them.
func (t trees) places() (dirs []string) {
	for _, n := range t.site.Notes.All() {
		dirs = append(dirs, filepath.Dir(n.Location))
	}
	return dirs
}

// origins are the generations from which they came, as the last import of each origin saw them: one
// that had nothing new for this machine brought them, too.
func (t trees) origins(st *state.Dir) (list []state.ChangedOrigin) {
	for _, id := range state.SeenOrigins(st) {
		seen, _ := st.Seen(id)
		if slices.ContainsFunc(t.notes, func(n *ebuilds.Note) bool {
			return n.Here.Origin == id.Name
		}) {
			list = append(list, state.ChangedOrigin{OriginID: id, Serial: seen.Serial})
		}
	}
	return list
}

func (t trees) list() []Repository {
	list := []Repository{}
	for _, n := range t.notes {
		list = append(list, Repository{Name: n.Name, Location: n.Location})
	}
	return list
}

// run lets them change places again. One that was changed since, or that is in use, stays, with the
// reason.
func (t trees) run(ctx context.Context, list []Repository) error {
	for i := range list {
		err := t.site.GoBack(ctx, list[i].Name)
		var refused *ebuilds.Refusal
		switch {
		case errors.As(err, &refused):
			list[i].Reason, list[i].Hints = refused.Reason, refused.Hints
		case errors.Is(err, ebuilds.ErrRunning):
			list[i].Reason, list[i].Hints = fault.Text(err),
				[]string{"when it has ended: pkgsneak undo"}
		case err != nil:
			return err
		}
	}
	// what the import unpacked and did not come to exchange is no use to anybody
	if err := t.site.GiveUp(); err != nil {
		return err
	}
	if err := t.site.DropPast(t.change); err != nil {
		return err
	}
	return t.site.Notes.End()
}
