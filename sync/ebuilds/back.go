package ebuilds

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
)

// Reverts lists the repositories that GoBack could take back: those that the import replaced or
// brought which is to be taken back (state.Changed.ID, "" where that brought repositories alone),
// by name.
func (n *Notes) Reverts(change string) []*Note {
	var list []*Note
	for _, note := range n.All() {
		if note.Kept.isWayBack(change) && note.Here != nil {
			list = append(list, note)
		}
	}
	return list
}

// GoBack puts the tree back that the last import replaced, and deletes the one that it brought;
// where there was none, there is none again. The error is a *Refusal if the tree was changed here
// since, or if Portage could not work with the old one any more; ErrRunning if Portage runs. It can
// be killed like Take, and Recover goes on.
func (s *Site) GoBack(ctx context.Context, name string) error {
	note := s.Notes.Note(name)
	if note == nil || note.Kept == nil || note.Kept.Going || note.Here == nil {
		return refusal(fmt.Sprintf("of the repository %q nothing is kept that an import replaced",
			name))
	}
	p, err := s.open(note)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.recover(); err != nil {
		return err
	}
	if err := p.giveUp(); err != nil {
		return err
	}
	switch err := p.checkBack(ctx); {
	case errors.Is(err, errIsBack):
		return nil
	case err != nil:
		return err
	}
	return p.goBack()
}

// errIsBack reports that somebody has let the two trees change places by hand.
var errIsBack = errors.New("the old tree has its place already")

// byHand looks at a place beside which the tree that was replaced is not kept any more: it has its
// place again, as a refusal of GoBack tells how, or is gone. Nothing is left to take back then.
func (p *place) byHand(ctx context.Context) error {
	k := p.note.Kept
	old := filepath.Join(p.root.Name(), k.Dir)
	isBack := false
	if k.Own != nil {
		same, _, err := untouched(ctx, p.note.Location, k.Own)
		if err != nil {
			return err
		}
		isBack = same
	}
	same, _, err := untouched(ctx, p.note.Location, p.note.Here)
	if err != nil {
		return err
	}
	switch {
	case isBack:
		p.note.Here = k.Own
	case !same:
		p.note.Here = nil // the user's
	}
	p.note.Kept = nil
	if err := p.saveOrForget(); err != nil {
		return err
	}
	if isBack || !same && k.Own == nil {
		return errIsBack
	}
	return refusal(fmt.Sprintf("the tree that was replaced is gone (%q): there is nothing to take back any more", old))
}

// checkBack makes sure that neither tree was changed, and that Portage works with the old one.
func (p *place) checkBack(ctx context.Context) error {
	k := p.note.Kept
	if k.Dir != "" && p.inode(k.Dir) == 0 {
		return p.byHand(ctx)
	}
	same, why, err := untouched(ctx, p.note.Location, p.note.Here)
	if err != nil {
		return err
	}
	if !same {
		r := refusal("the repository was changed here since import brought it (" + why + ")")
		if k.Dir != "" { // kept until the next import brings one
			at := p.note.Location
			r.Hints = []string{fmt.Sprintf("mv %s %s && mv %s %s", fault.Quote(at),
				fault.Quote(at+".edited"), fault.Quote(filepath.Join(p.root.Name(),
					k.Dir)), fault.Quote(at))}
		}
		return r
	}
	if k.Dir == "" {
		return p.running()
	}
	old := filepath.Join(p.root.Name(), k.Dir)
	if k.Own != nil {
		if same, why, err = untouched(ctx, old, k.Own); err == nil && !same {
			err = refusal("the tree that was replaced was changed since (" + why + ")")
		}
		if err != nil {
			return err
		}
	}
	if refused := checkTree(p.site.Settings, p.note.Name, p.note.Location, old,
		nil); refused != nil {
		return refused
	}
	return p.running()
}

func (p *place) running() error {
	if running := runningPortage(p.site.proc()); running != "" {
		return fmt.Errorf("%w: %s", ErrRunning, running)
	}
	return nil
}

// goBack is the exchange, in the other direction.
func (p *place) goBack() (err error) {
	k := p.note.Kept
	c := &Coming{Dir: k.Dir, Complete: true, Exchanging: true, Back: true}
	if k.Dir == "" {
		if c.Dir, err = p.freeName("." + p.base + comingInfix +
			strconv.FormatInt(p.note.Here.Serial, 10)); err != nil {
			return err
		}
	}
	c.Inode = p.inode(k.Dir)
	if k.Dir == "" {
		c.Inode = 0 // nothing has the name afterwards
	}
	p.note.Coming = c
	if err := p.save(); err != nil {
		return err
	}
	if k.Dir == "" {
		err = p.root.MoveNew(p.base, c.Dir)
	} else {
		err = durable.Exchange(p.root, p.base, c.Dir)
	}
	if err == nil {
		err = p.root.SyncDir(".")
	}
	if err != nil {
		if p.inode(p.base) != c.Inode {
			p.note.Coming = nil
			_ = p.save()
		}
		return err
	}
	return p.settleBack()
}

// settleBack notes what is here again, and deletes the tree that was taken back.
func (p *place) settleBack() error {
	p.note.Here = p.note.Kept.Own
	p.note.Kept = nil
	p.note.Coming.Complete, p.note.Coming.Exchanging, p.note.Coming.Back = false, false, false
	if err := p.save(); err != nil {
		return err
	}
	return p.giveUp()
}
