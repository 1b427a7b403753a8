package importer

import (
	"pkgsneak/sync/payload"
	"pkgsneak/sync/state"
)

// A file changes its name on the disk and its row in the state at two different moments. The
// change that is going to happen is therefore noted before (state.Pending) and settled after; what
// a run left that ended in between is settled by the next one: by what lies there.

// notes are the rows that are written before names change, of each origin that lists the files.
type notes map[state.OriginID]map[string]state.Import

func (n notes) add(id state.OriginID, path string, i state.Import) {
	if n[id] == nil {
		n[id] = make(map[string]state.Import)
	}
	n[id][path] = i
}

func (n notes) save(st *state.Dir, kind payload.Kind) error {
	for id, rows := range n {
		if err := st.Pending(id, kind).Save(rows); err != nil {
			return err
		}
	}
	return nil
}

// lies is what has the name of a pending row.
type lies struct {
	unknown bool // it cannot be looked at
	exists  bool
	sum     [64]byte // where its size is the row's
}

// settleRows brings the rows of an origin up to date with what an interrupted run had noted.
func settleRows(pending, mine map[string]state.Import,
	look func(state.Import) (lies, error)) error {
	for path, p := range pending {
		at, err := look(p)
		if err != nil {
			return err
		}
		switch removed := p.Sum == [64]byte{}; {
		case at.unknown:
		case removed && !at.exists && mine[path].Local == p.Local:
			delete(mine, path)
		case !removed && at.exists && at.sum == p.Sum:
			mine[path] = p
		}
	}
	return nil
}
