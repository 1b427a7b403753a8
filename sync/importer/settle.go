package importer

import (
	"pkgsneak/sync/ledger"
)

// A file changes its name on the disk and its row in the ledger at two different moments. The
// change that is going to happen is therefore noted before (ledger.Pending) and settled after; what
// a run left that ended in between is settled by the next one: by what lies there.

// notes are the rows that are written before names change, of each origin that lists the files.
type notes map[ledger.OriginID]map[string]ledger.Import

func (n notes) add(id ledger.OriginID, path string, i ledger.Import) {
	if n[id] == nil {
		n[id] = make(map[string]ledger.Import)
	}
	n[id][path] = i
}

func (n notes) save(l *ledger.Ledger, kind ledger.Kind) error {
	for id, rows := range n {
		if err := l.Pending(id, kind).Save(rows); err != nil {
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
func settleRows(pending, mine map[string]ledger.Import, look func(ledger.Import) (lies, error)) error {
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
