package exporter

import (
	"cmp"
	"slices"
	"time"

	"pkgsneak/sync/ebuilds"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/portage"
)

// NoRepos is the value of ExportOptions.Repos for which the drive carries no repository.
const NoRepos = "none"

// TreePlan is what becomes of one ebuild repository.
type TreePlan struct {
	Name      string    `json:"name"`
	Action    string    `json:"action"` // keep, pack or remove
	Bytes     int64     `json:"bytes"`  // of its files
	Count     int       `json:"count"`  // files and directories
	Timestamp time.Time `json:"timestamp,omitzero"`
	Packed    int64     `json:"packed,omitempty"` // bytes of the archive, once it is packed
}

// The actions of a TreePlan.
const (
	TreeKeep   = "keep"
	TreePack   = "pack"
	TreeRemove = "remove"
)

// trees are the host's ebuild repositories on their way to the drive.
type trees struct {
	notes   *ebuilds.Notes
	jobs    []*treeJob
	carried map[string]*layout.Tree // what next.current has of them, by name
	packed  []ebuilds.Packed
	// room is set aside for those that are to be packed
	reserved bool
	changed  bool // the next generation carries other ones than the one on the drive
}

// treeJob is one of them.
type treeJob struct {
	plan *TreePlan
	repo portage.Repo
	dir  string
	seal string
}

// packs reports whether a repository is to be packed.
func (t *trees) packs() bool {
	return slices.ContainsFunc(t.jobs, func(j *treeJob) bool { return j.plan.Action == TreePack })
}

// describe puts what the drive carries of each repository into the record.
func (t *trees) describe(record *layout.Record, current map[payload.Key]*layout.Item) {
	if t == nil {
		return
	}
	record.Repositories = slices.Clone(record.Repositories)
	for i := range record.Repositories {
		r := &record.Repositories[i]
		tree := t.carried[r.Name]
		if r.Tree = nil; tree != nil &&
			current[payload.Key{Kind: payload.Repository, Path: tree.File}] != nil {
			r.Tree = tree
		}
	}
}

// save remembers the digests of what was packed.
func (t *trees) save(none bool) error {
	if t == nil || none {
		return nil
	}
	slices.SortFunc(t.packed, func(a, b ebuilds.Packed) int {
		return cmp.Compare(a.Location, b.Location)
	})
	return t.notes.SavePacked(t.packed)
}

// again packs a repository once more whose archive is damaged on the drive, or gone from it.
func (t *trees) again(current map[payload.Key]*layout.Item, file string) {
	delete(current, payload.Key{Kind: payload.Repository, Path: file})
	for name, tree := range t.carried {
		if tree.File != file {
			continue
		}
		delete(t.carried, name)
		for _, j := range t.jobs {
			if j.plan.Name == name {
				j.plan.Action, t.changed = TreePack, true
			}
		}
	}
}
