package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/ebuilds"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
)

// siteOf is this machine as its repositories see it.
func siteOf(m machine.Machine) (*ebuilds.Site, error) {
	notes, err := ebuilds.ReadNotes(m.StateDir, m.Hook)
	if err != nil {
		return nil, err
	}
	return &ebuilds.Site{Settings: m.Settings, Notes: notes, Hook: m.Hook, Proc: m.Proc,
		Dirs: map[string]string{"PKGDIR": m.PKGDIR, "DISTDIR": m.DISTDIR}}, nil
}

// wantsRepo reports whether a repository is to be looked at.
func (o *ImportOptions) wantsRepo(name string) bool {
	if o.Repos == "" {
		return true
	}
	return o.Repos != NoRepos &&
		slices.Contains(append(names(o.Repos), names(o.AdoptRepos)...), name)
}

// planTrees decides what becomes of the repositories that the drives carry.
func (im *importer) planTrees(ctx context.Context) (err error) {
	im.repos = &repositories{o: ebuilds.Options{Adopt: names(im.o.AdoptRepos),
		AllowOlder: im.o.AllowOlder, NoUndo: im.o.NoUndo}}
	site, err := siteOf(im.m)
	switch {
	case err != nil && im.o.Repos == NoRepos:
		im.note("%v", err)
		return nil
	case err != nil:
		return err
	}
	im.repos.site = site
	im.repos.dropped = site.Notes.Unfinished() || goesOn(im.m, im.undo.Change)
	im.repos.o.GoesOn = im.repos.dropped
	if im.undo.Change != nil {
		im.repos.o.Change = im.undo.Change.ID
	}
	if im.o.Repos == NoRepos { // what is kept of them goes all the same
		return nil
	}
	if !im.o.Pretend {
		if err := im.repos.site.Recover(); err != nil {
			return err
		}
	}
	offers := offersOf(im)
	if err := knownRepos(im, offers); err != nil {
		return err
	}
	steps, err := im.repos.site.Plan(ctx, offers, im.repos.o)
	if err != nil {
		return err
	}
	for _, step := range steps {
		t := &TreeImport{Step: step, Origin: step.Offer().Origin, Serial: step.Offer().Serial}
		if step.Action == ebuilds.Take && !mayWrite(filepath.Dir(step.Location)) {
			step.Action, step.Reason = ebuilds.LeftAlone,
				fmt.Sprintf("this user may not write in %q", filepath.Dir(step.Location))
			step.Hints = []string{"as root: pkgsneak import DRIVE --repos-only"}
		}
		im.repos.trees = append(im.repos.trees, t)
	}
	im.report.Trees = im.repos.trees
	return nil
}

// UnknownRepoError reports that a repository was asked for that no drive carries.
type UnknownRepoError struct {
	Name string
	Have []string // what is carried
}

func (e *UnknownRepoError) Error() string {
	return fmt.Sprintf("import: no accepted origin carries the ebuild repository %q", e.Name)
}

// Class is fault.Usage.
func (e *UnknownRepoError) Class() fault.Class { return fault.Usage }

// Hints name those that are carried.
func (e *UnknownRepoError) Hints(drive string) []string {
	if len(e.Have) == 0 {
		return []string{"no repository is carried: on the build host: pkgsneak export " + drive +
			" --repos all"}
	}
	return []string{"name some of those that are carried: " + strings.Join(e.Have, ",")}
}

// knownRepos refuses names that nothing has, before anything is done.
func knownRepos(im *importer, offers []ebuilds.Offer) error {
	carried := carriedNames(im)
	for _, name := range append(names(im.o.Repos), names(im.o.AdoptRepos)...) {
		switch {
		case !slices.Contains(carried, name):
			return &UnknownRepoError{Name: name, Have: carried}
		case !slices.ContainsFunc(offers, func(o ebuilds.Offer) bool { return o.Name == name }):
			im.note("the repository %q comes from the newest state of its origin only, and this drive has an older one (--allow-older)", name)
		}
	}
	return nil
}

// carriedNames are those of all repositories that the accepted origins carry.
func carriedNames(im *importer) (list []string) {
	for _, in := range im.origins {
		for _, r := range in.gen.Record.Repositories {
			if r.Tree != nil && !slices.Contains(list, r.Name) {
				list = append(list, r.Name)
			}
		}
	}
	return list
}

// mayWrite reports whether this process may make names in a directory, or in the deepest one on the
// way to it that is there.
func mayWrite(dir string) bool {
	for {
		err := unix.Access(dir, unix.W_OK|unix.X_OK)
		if !errors.Is(err, syscall.ENOENT) || dir == "/" || dir == "." {
			return err == nil
		}
		dir = filepath.Dir(dir)
	}
}

// offersOf are the repositories that the accepted origins carry: of each name one, that of the
// origin that brought the one here before those of others. A drive with an older state gives none.
func offersOf(im *importer) []ebuilds.Offer {
	var offers []ebuilds.Offer
	for _, in := range im.origins {
		if in.Plan.Older && !im.o.AllowOlder {
			continue
		}
		for _, r := range in.gen.Record.Repositories {
			if r.Tree == nil || !im.o.wantsRepo(r.Name) {
				continue
			}
			it, ok := in.gen.Find(payload.Repository, r.Tree.File)
			if !ok {
				continue
			}
			o := ebuilds.Offer{Name: r.Name, Origin: in.id.Name, Serial: in.gen.Serial(),
				Tree: *r.Tree, Size: it.Size,
				Open: func() (io.ReadCloser, error) { return openArchive(in, it) }}
			mine := false
			if note := im.repos.site.Notes.Note(r.Name); note != nil && note.Here != nil {
				for _, former := range in.former {
					if note.Here.Origin == former.Name {
						o.Origin = former.Name
					}
				}
				mine = note.Here.Origin == o.Origin
			}
			i := slices.IndexFunc(offers, func(other ebuilds.Offer) bool {
				return other.Name == o.Name
			})
			switch {
			case i < 0:
				offers = append(offers, o)
			case mine:
				offers[i] = o
			}
		}
	}
	return offers
}

// openArchive opens a packed repository on the first of the origin's drives that has it.
func openArchive(in *incoming, it layout.Item) (io.ReadCloser, error) {
	r, err := in.gen.Open(it)
	for _, s := range in.further {
		if err == nil {
			break
		}
		if same, ok := s.gen.Find(payload.Repository, it.Path); ok && same.Sum == it.Sum {
			r, err = s.gen.Open(same)
		}
	}
	return r, err
}

// bring unpacks what is to be taken and lets it have its place, after the packages. One that
// is refused leaves all else as it is.
func (r *repositories) bring(ctx context.Context, op *operation, keep *keeping) error {
	if r == nil || r.site == nil {
		return nil
	}
	if op.busy() {
		r.dropOld(op)
	}
	if r.taking() {
		r.site.Notes.Begin()
	}
	var coming []string
	for _, t := range r.trees {
		if t.Action == ebuilds.Take || t.Action == ebuilds.Unchanged {
			coming = append(coming, t.Name)
		}
	}
	for _, t := range r.trees {
		if t.Action != ebuilds.Take {
			continue
		}
		tell := func(files int, bytes int64) {
			op.w.Tell(progress.Event{Phase: progress.PhaseUnpack, Path: t.Name,
				Done: min(bytes, t.Bytes), Total: t.Bytes, Files: files, FilesTotal: t.Count})
		}
		done, err := r.site.Take(ctx, t.Step, coming, r.o, tell)
		if makeRoomFor(op, keep, t.Step, err) {
			done, err = r.site.Take(ctx, t.Step, coming, r.o, tell)
		}
		if err := t.note(ctx, done, err); err != nil {
			return err
		}
		if t.Missed() {
			coming = slices.DeleteFunc(coming, func(name string) bool { return name == t.Name })
		}
	}
	if r.taken() {
		renewOutlook(ctx, op)
	}
	noteTrees(op)
	return r.site.Notes.End()
}

// makeRoomFor gives up what this import keeps so far, where a tree lacks its room, and reports
// whether that is worth another try.
func makeRoomFor(op *operation, keep *keeping, step *ebuilds.Step, err error) bool {
	var refused *ebuilds.Refusal
	if !durable.IsFull(err) && (!errors.As(err, &refused) || refused.Short == 0) {
		return false
	}
	kept := keep.bytesAt(filepath.Dir(step.Location))
	if kept == 0 || refused != nil && refused.Short > kept {
		return false
	}
	keep.giveUp(fmt.Sprintf("its room was needed for the repository %q", step.Name))
	op.repos.o.NoUndo = true
	if err := op.repos.site.DropKept(); err != nil {
		op.note("%v", err)
	}
	return true
}

// renewOutlook reads the machine once more: profile, masks, news and advisories are those of the
// new tree, and so are the words at the end.
func renewOutlook(ctx context.Context, op *operation) {
	settings, err := op.m.Settings.Again(ctx)
	if err != nil {
		op.note("the forecast is that of the tree before: %v", err)
		return
	}
	op.m.Settings, op.repos.site.Settings = settings, settings
	if op.outlook.machine == nil {
		return
	}
	renewed, err := newOutlook(op.m, op.outlook.o)
	if err != nil {
		op.note("the forecast is that of the tree before: %v", err)
		return
	}
	op.outlook = renewed
}

// noteTrees tells what else a new tree asks for.
func noteTrees(op *operation) {
	if !slices.ContainsFunc(op.repos.trees, func(t *TreeImport) bool { return t.Taken }) {
		return
	}
	if _, err := os.Stat("/usr/bin/eix-update"); err == nil {
		op.report.Next = append(op.report.Next, "eix-update")
	}
}
