package importer

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// An origin whose serials ran away goes on under a new name ("key renew" on the host), and with a
// new key where the old one was made by the same wrong clock. Its generations tell the names and
// the keys that it had before: what came in under those is the new name's, their serials are not,
// and neither is a time that only their signatures bore. The rows are copied before they are taken
// away from the former name, so that a run that ends in between has lost nothing; the next one
// copies them again.
//
// A signer that is trusted is believed here: whoever holds its key can bring in anything anyway.

// formerOf are the origins that this one was before, as they may be remembered here: of other keys
// only those that are trusted.
func formerOf(know trust.View, st *state.Dir, rec *layout.Record,
	offered manifest.Ring) []state.OriginID {
	var ids []state.OriginID
	add := func(id state.OriginID) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, id := range claimed(rec) { // the latest last: its rows count
		if id.Key == rec.Fingerprint {
			add(know.Predecessor(st, id, offered))
		}
		if _, trusted := know.Ring.Find(id.Key); trusted || id.Key == rec.Fingerprint {
			add(id)
		}
	}
	return ids
}

// claimed are the origins that a generation names as what it was before, the latest last.
func claimed(rec *layout.Record) []state.OriginID {
	var ids []state.OriginID
	for _, name := range slices.Backward(rec.Formerly) {
		for _, key := range append(slices.Clone(rec.FormerKeys), rec.Fingerprint) {
			ids = append(ids, state.OriginID{Key: key, Name: name})
		}
	}
	return ids
}

// rememberedRows are the files of a kind that came in from an origin, under the names and keys that
// it had one after another.
func rememberedRows(st *state.Dir, kind payload.Kind,
	ids ...state.OriginID) (map[string]state.Import, error) {
	rows := make(map[string]state.Import)
	for _, id := range ids {
		more, err := st.Imports(id, kind)
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 { // mostly there is one, which may have many
			rows = more
			continue
		}
		maps.Copy(rows, more)
	}
	return rows, nil
}

// takenOver are those of an origin's former names and keys under which rows of a kind are
// remembered: they are its own from now on.
func takenOver(st *state.Dir, kind payload.Kind, now state.OriginID,
	former ...state.OriginID) []state.OriginID {
	here := st.Importers(kind)
	return slices.DeleteFunc(former, func(id state.OriginID) bool {
		return id == now ||
			!slices.Contains(here, id)
	})
}

// checkName refuses an origin that goes on under another name here.
func checkName(st *state.Dir, id state.OriginID) error {
	name, err := state.RenewedAs(st, id)
	if err == nil && name != "" {
		err = &RenewedError{Origin: id.Name, Now: name}
	}
	return err
}

// RenewedError reports that what an origin has comes under another name.
type RenewedError struct {
	Origin, Now string
}

func (e *RenewedError) Error() string {
	return fmt.Sprintf("origin %q goes on as %q, which was imported here", e.Origin, e.Now)
}

// Class is fault.Older.
func (e *RenewedError) Class() fault.Class { return fault.Older }

// Hints name the export that brings the new name.
func (e *RenewedError) Hints(drive string) []string {
	return []string{
		fmt.Sprintf("on the build host: pkgsneak export %s; then: pkgsneak forget %s %s", drive,
			fault.Quote(e.Origin), drive),
		fmt.Sprintf("if it exports as %s again: pkgsneak export %s --name %s",
			fault.Quote(e.Origin), drive, fault.Quote(e.Now)),
	}
}

// wrongClock is the hint at a generation whose number no honest one reaches; "" if it may be one.
func wrongClock(serial, have int64) string {
	if time.Unix(have, 0).After(time.Unix(serial, 0).Add(trust.MaxAhead)) {
		return "if the clock of the build host was wrong then, there: pkgsneak key renew, and export again"
	}
	return ""
}
