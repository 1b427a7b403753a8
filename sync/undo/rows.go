package undo

import (
	"slices"

	"pkgsneak/sync/payload"
	"pkgsneak/sync/state"
)

// rows is what is remembered of the origins' files here. It changes with the files: the rows are
// noted before a name does (state.Pending) and settled after, as by an import.
type rows struct {
	u    *undo
	have map[rowsKey]map[string]state.Import
}

type rowsKey struct {
	state.OriginID
	kind payload.Kind
}

func newRows(u *undo) *rows { return &rows{u: u, have: make(map[rowsKey]map[string]state.Import)} }

// catchUp settles what an import noted that was ended: the rows are as the files are, before they
// are noted anew.
func (r *rows) catchUp() error {
	noted := make(map[rowsKey]bool)
	for i := range r.u.files {
		f := &r.u.files[i]
		for _, o := range f.Owners {
			id := r.u.c.Origins[o.Origin].OriginID
			key := rowsKey{id, f.Kind}
			if _, looked := noted[key]; !looked {
				pending, err := r.u.st.Pending(id, f.Kind).Rows()
				if err != nil {
					return err
				}
				noted[key] = len(pending) > 0
			}
			if !noted[key] {
				continue
			}
			rows, err := r.of(id, f.Kind)
			if err != nil {
				return err
			}
			switch {
			case f.is == came:
				rows[o.Path] = state.Import{Local: f.Local, Size: f.at.Size, Sum: f.at.Sum}
			case f.is == old && o.Before != nil:
				rows[o.Path] = *o.Before
			}
		}
	}
	for key, open := range noted {
		if !open {
			continue
		}
		if err := r.u.st.Pending(key.OriginID, key.kind).Settle(r.have[key]); err != nil {
			return err
		}
	}
	return nil
}

// note notes the rows of a kind as they are about to be.
func (r *rows) note(kind payload.Kind) error {
	notes := make(map[state.OriginID]map[string]state.Import)
	for i := range r.u.files {
		f := &r.u.files[i]
		if f.Kind != kind || f.act == nothing || f.act == stay {
			continue
		}
		for _, o := range f.Owners {
			id, known, err := r.owner(f, o)
			if err != nil {
				return err
			}
			if !known {
				continue
			}
			if notes[id] == nil {
				notes[id] = make(map[string]state.Import)
			}
			notes[id][o.Path] = f.rowOf(o)
		}
	}
	for id, list := range notes {
		if err := r.u.st.Pending(id, kind).Save(list); err != nil {
			return err
		}
	}
	return nil
}

// rowOf is the row of an origin's file after the undo; one without a sum is to be removed.
func (f *file) rowOf(o state.ChangedOwner) state.Import {
	if o.Before == nil {
		return state.Import{Local: f.Local}
	}
	row := *o.Before
	if f.act != remove && row.Local == f.Local {
		row.Local = f.local
	}
	return row
}

// owner is the origin of a file under the name and key that it has now.
func (r *rows) owner(f *file, o state.ChangedOwner) (state.OriginID, bool, error) {
	id := r.u.c.Origins[o.Origin].OriginID
	for _, now := range append([]state.OriginID{id}, r.u.st.Importers(f.Kind)...) {
		if now != id && now.Name != id.Name {
			continue
		}
		rows, err := r.of(now, f.Kind)
		if err != nil {
			return id, false, err
		}
		row, known := rows[o.Path]
		if known && row.Local == f.Local || !known && now == id &&
			slices.Contains(r.u.st.Importers(f.Kind), id) {
			return now, true, nil
		}
	}
	return id, false, nil
}

func (r *rows) of(id state.OriginID, kind payload.Kind) (map[string]state.Import, error) {
	key := rowsKey{id, kind}
	if r.have[key] == nil {
		rows, err := r.u.st.Imports(id, kind)
		if err != nil {
			return nil, err
		}
		r.have[key] = rows
	}
	return r.have[key], nil
}

// settle remembers what lies there now.
func (r *rows) settle() error {
	touched := make(map[rowsKey]bool)
	for i := range r.u.files {
		f := &r.u.files[i]
		// The work of an ended undo is settled here, too. By its bytes alone somebody's own file
		// would stay the origin's.
		if f.act == stay && !f.own || f.act != stay && f.act != nothing && !f.done {
			continue
		}
		for _, o := range f.Owners {
			id, known, err := r.owner(f, o)
			if err != nil {
				return err
			}
			if !known {
				continue
			}
			key := rowsKey{id, f.Kind}
			if touched[key] = true; o.Before == nil {
				delete(r.have[key], o.Path)
			} else {
				r.have[key][o.Path] = f.rowOf(o)
			}
		}
	}
	for key := range r.have {
		pending := r.u.st.Pending(key.OriginID, key.kind)
		noted, err := pending.Rows()
		if err != nil {
			return err
		}
		if !touched[key] && len(noted) == 0 {
			continue
		}
		if err := pending.Settle(r.have[key]); err != nil {
			return err
		}
	}
	return nil
}
