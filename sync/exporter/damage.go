package exporter

import (
	"slices"

	"pkgsneak/sync/layout"
	"pkgsneak/sync/state"
)

// damage is what was found wrong in the generation on the drive: with --repair, after everything
// was read, else after those files were read that verify had found wrong in this generation.
type damage struct {
	files     []layout.Item // of the generation, as no client could take them
	paths     []string      // of all that is wrong, below the origin's directory
	committed int64         // the generation that paths are remembered of
}

// has reports whether an item was found damaged before anything was written.
func (d *damage) has(it layout.Item) bool {
	return slices.ContainsFunc(d.files, func(f layout.Item) bool {
		return f.Kind == it.Kind &&
			f.Path == it.Path
	})
}

// drop takes the damaged files out of what the next commit lists, once there is room for the new
// ones.
func (d *damage) drop(next *nextGeneration) {
	for _, it := range d.files {
		delete(next.current, it.Key())
	}
}

// follow remembers, after a commit, which damaged files the new generation still lists: all but
// those of it that were written again by then.
func (d *damage) follow(st *state.Dir, origin string, next *nextGeneration, serial int64) error {
	if d.committed == 0 && len(d.paths) == 0 {
		return nil
	}
	listed := make(map[string]bool)
	for _, it := range next.current {
		for _, f := range it.Stored {
			listed[f.Path] = true
		}
	}
	left := slices.DeleteFunc(slices.Clone(d.paths), func(path string) bool {
		return !listed[path]
	})
	before := d.committed
	d.committed = serial
	return state.SetDamaged(st, origin, before, serial, left)
}
