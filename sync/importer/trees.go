package importer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/ebuilds"
	"pkgsneak/sync/fault"
)

// NoRepos is the value of ImportOptions.Repos for which no repository is looked at.
const NoRepos = "none"

// TreeImport is an ebuild repository that a drive carries, and what was done about it.
type TreeImport struct {
	*ebuilds.Step
	Origin string `json:"origin"`
	Serial int64  `json:"serial"`
	Taken  bool   `json:"taken,omitempty"` // it is here now
	// it is unpacked, and gets its name when Portage does not run
	Waiting bool   `json:"waiting,omitempty"`
	Before  string `json:"before,omitempty"` // where the user's own lies now
}

// Missed reports whether the tree should be here and is not.
func (t *TreeImport) Missed() bool { return t.Waiting || t.Action == ebuilds.Refused }

// repositories are the ebuild repositories of an import.
type repositories struct {
	site  *ebuilds.Site
	o     ebuilds.Options
	trees []*TreeImport
	// what an import before this one kept is gone; what is kept is this one's
	dropped bool
}

// pass marks the trees that an import before this one replaced, before anything of this one is
// noted.
func (r *repositories) pass(op *operation, change string) {
	if r == nil || r.site == nil || r.dropped {
		return
	}
	noted := ""
	if c := op.undo.Change; c != nil {
		noted = c.ID
	}
	if err := r.site.Notes.Pass(change, noted); err != nil {
		op.note("%v", err)
	}
}

// dropOld deletes the trees that an import before this one replaced, after they were marked (pass):
// that takes its time. One that cannot be deleted is told, and the next import tries again.
func (r *repositories) dropOld(op *operation) {
	if r == nil || r.site == nil || r.dropped {
		return
	}
	r.dropped = true
	if err := r.site.DropKept(); err != nil {
		op.note("an ebuild repository that the last import replaced, and that is kept for the undo of that, cannot be removed: %v",
			err)
	}
}

// old are the trees that an import before this one replaced.
func (r *repositories) old() []ebuilds.KeptTree {
	if r == nil || r.site == nil || r.dropped {
		return nil
	}
	return r.site.Notes.KeptTrees()
}

// names are those of a list with commas or blanks between.
func names(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// taking reports whether a repository will be brought in.
func (r *repositories) taking() bool {
	return r != nil && slices.ContainsFunc(r.trees, func(t *TreeImport) bool {
		return t.Action == ebuilds.Take
	})
}

// taken reports whether a repository was brought in.
func (r *repositories) taken() bool {
	return r != nil && slices.ContainsFunc(r.trees, func(t *TreeImport) bool { return t.Taken })
}

// note tells what came of it. Only what is no tree's fault is an error: a drive that is gone, a
// full disk.
func (t *TreeImport) note(ctx context.Context, done ebuilds.Taken, err error) error {
	var refused *ebuilds.Refusal
	var gone *drive.GoneError
	switch {
	case err == nil:
		t.Taken, t.Before = true, done.Before
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &gone), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return err
	case errors.Is(err, ebuilds.ErrRunning):
		t.Waiting, t.Reason = true, err.Error()
		t.Hints = []string{"when it has ended: pkgsneak import DRIVE --repos-only"}
	case errors.As(err, &refused):
		t.Action, t.Reason, t.Hints = ebuilds.Refused, refused.Reason, refused.Hints
	default:
		t.Action, t.Reason = ebuilds.Refused, fault.Text(err)
	}
	return nil
}
