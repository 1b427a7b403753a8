package forecast

import (
	"context"
	"fmt"

	"pkgsneak/sync/ebuilds"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/resolve"
)

// Tree is an ebuild repository on a drive that is not here, or is older here: its advisories count.
type Tree struct {
	Name string
	// Comes: an import brings it, so that its news will be this machine's.
	Comes bool
	// Read gives those files of it to take for which want is true. They count only if the error is
	// nil.
	Read func(want func(name string, size int64) bool, take func(name string, data []byte)) error
}

// maxCarried is how many bytes of advisories and news of one tree are kept in memory: those that
// are about a package that changes, and all news. ::gentoo has less than one MiB of them.
const maxCarried = 32 << 20

// TreesOf are the repositories of an import's plan that are to be looked into where they lie.
func TreesOf(ctx context.Context, here []portage.Repo, steps ...*ebuilds.Step) []Tree {
	var list []Tree
next:
	for _, step := range steps {
		o := step.Offer()
		for _, r := range here {
			undated := o.Tree.Timestamp.IsZero() && r.Timestamp.IsZero() // an overlay
			if r.Name == step.Name && (step.Action == ebuilds.Unchanged ||
				!undated && !o.Tree.Timestamp.After(r.Timestamp)) {
				continue next
			}
		}
		list = append(list, Tree{Name: step.Name, Comes: step.Action != ebuilds.LeftAlone &&
			step.Action != ebuilds.Refused,
			Read: func(want func(string, int64) bool, take func(string, []byte)) error {
				return ebuilds.Read(ctx, o, want, take)
			}})
	}
	return list
}

// read finds the advisories that the merges close, and the unread news, in the repositories that
// are here and in those that travel.
func (f *Forecast) read(m *Machine, r *resolve.Result, trees []Tree) {
	if m.settings == nil {
		return
	}
	found := newAdvisories(m.ARCH, m.appliedAdvisory, r.Merges)
	found.here(m.settings)
	news := newNewsReader(m)
	if repos, err := m.settings.Repos(); err == nil {
		for _, repo := range repos {
			news.repository(m, repo.Name)
			if !news.off {
				repo.News(func(item string, text []byte) { news.item(repo.Name, item, text) })
			}
		}
	}
	for _, t := range trees {
		news.repository(m, t.Name)
		if err := t.into(found, news); err != nil {
			f.Problem = append(f.Problem,
				fmt.Sprintf("security fixes and news in the repository %q on the drive are not known: %v", t.Name, err))
		}
	}
	f.Security, f.News = found.sorted(), news.count()
}

// carried is a file of a tree that travels.
type carried struct {
	name string // of the news item, or the advisory's ID
	data []byte
}

// into reads a tree that travels. Its files are parsed when it has turned out to be the one that
// was signed.
func (t *Tree) into(found *advisories, news *newsReader) error {
	wantsNews := t.Comes && !news.off
	if len(found.changes) == 0 && !wantsNews {
		return nil
	}
	var glsa, items []carried
	bytes, seen := int64(0), 0
	want := func(name string, size int64) bool {
		_, isAdvisory := portage.AdvisoryID(name)
		_, isNews := portage.NewsName(name)
		if isAdvisory = isAdvisory && len(found.changes) > 0 &&
			size <= portage.MaxAdvisory; !isAdvisory &&
			!(isNews && wantsNews && size <= portage.MaxNews) {
			return false
		}
		seen++
		return seen <= portage.MaxAdvisories && bytes+size <= maxCarried
	}
	take := func(name string, data []byte) {
		if id, ok := portage.AdvisoryID(name); ok {
			if found.mayClose(data) {
				glsa, bytes = append(glsa, carried{id, data}), bytes+int64(len(data))
			}
			return
		}
		item, _ := portage.NewsName(name)
		items, bytes = append(items, carried{item, data}), bytes+int64(len(data))
	}
	if err := t.Read(want, take); err != nil {
		return err
	}
	for _, c := range glsa {
		found.add(c.name, c.data)
	}
	for _, c := range items {
		news.item(t.Name, c.name, c.data)
	}
	return nil
}
