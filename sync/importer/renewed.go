package importer

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/ledger"
	"pkgsneak/sync/trust"
)

// An origin whose serials ran away goes on under a new name ("key renew" on the host). Its generations tell the names
// that it had before, under the same key: what came in under those is the new name's, their serials are not, and neither is a time that
// only their signatures bore. The rows are copied before they are taken away from the former name, so that a run that
// ends in between has lost nothing; the next one copies them again.

// formerOf are the origins that this one was before, as they may be remembered here.
func formerOf(im *importer, in *incoming) []ledger.OriginID {
	var ids []ledger.OriginID
	for _, name := range slices.Backward(in.gen.Record.Formerly) { // the latest last: its rows count
		id := ledger.OriginID{Key: in.id.Key, Name: name}
		for _, id := range []ledger.OriginID{im.know.Predecessor(im.l, id, im.offered), id} {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// rememberedRows are the files of a kind that came in from an origin: under its own name and key, and under those that
// it had before.
func rememberedRows(l *ledger.Ledger, in *incoming, kind ledger.Kind) (map[string]ledger.Import, error) {
	rows := make(map[string]ledger.Import)
	for _, id := range append(slices.Clone(in.former), in.known, in.id) {
		more, err := l.Imports(id, kind)
		if err != nil {
			return nil, err
		}
		maps.Copy(rows, more)
	}
	return rows, nil
}

// takenOver are the origins whose rows of a kind are this one's from now on.
func takenOver(in *incoming, l *ledger.Ledger, kind ledger.Kind) []ledger.OriginID {
	here := l.Importers(kind)
	var ids []ledger.OriginID
	for _, id := range append(slices.Clone(in.former), in.known) {
		if id != in.id && slices.Contains(here, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// refusedOrigin is an origin that was not accepted.
type refusedOrigin struct {
	dir string
	in  *incoming // nil: whose it is is not certain
	err error
}

// withoutFormer leaves out the origins that go on under another name which is accepted in this run: there is nothing to
// be had of them. It returns the refused ones that remain.
func withoutFormer(im *importer, refused []refusedOrigin) []refusedOrigin {
	now := make(map[ledger.OriginID]string)
	for _, in := range im.origins {
		for _, id := range in.former {
			now[id] = in.Plan.Origin
		}
	}
	if len(now) == 0 {
		return refused
	}
	gone := func(id ledger.OriginID, dir string) bool {
		name, ok := now[id]
		if ok {
			im.note("origin %q goes on as %q: %q on the drive is not used any more (on the build host: pkgsneak forget %s DRIVE)", id.Name, name, dir, fault.Quote(id.Name))
		}
		return ok
	}
	im.origins = slices.DeleteFunc(im.origins, func(in *incoming) bool {
		if !gone(in.id, in.Plan.Dir) {
			return false
		}
		in.gen.Close()
		im.report.Origins = slices.DeleteFunc(im.report.Origins, func(o *OriginImport) bool { return o == in.OriginImport })
		return true
	})
	return slices.DeleteFunc(refused, func(r refusedOrigin) bool { return r.in != nil && gone(r.in.id, r.dir) })
}

// checkName refuses an origin that goes on under another name here.
func checkName(im *importer, in *incoming) error {
	name, err := ledger.RenewedAs(im.l, in.id)
	if err == nil && name != "" {
		err = &RenewedError{Origin: in.Plan.Origin, Now: name}
	}
	return err
}

// RenewedError says that what an origin has comes under another name.
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
	return []string{fmt.Sprintf("on the build host: pkgsneak export %s; then: pkgsneak forget %s %s", drive, fault.Quote(e.Origin), drive)}
}

// timeFor is the latest time that is certain without the signatures of the names that an origin gave up.
func timeFor(im *importer, in *incoming) time.Time {
	if im.o.AcceptClock || len(in.former) == 0 {
		return im.know.Now
	}
	return trust.Latest(im.m.Now(), ledger.TimeWithout(im.l, in.former))
}

// judgeClock lets the clock decide if that is wanted, and tells of a remembered time that no clock explains.
func judgeClock(im *importer) {
	clock := im.m.Now()
	if im.o.AcceptClock {
		im.know.Now = clock
		return
	}
	if im.know.ClockBehind() {
		im.note("a signature that was verified here is of %s, more than a year after this machine's clock, %s: keys and ages are judged by it; if the clock is right: pkgsneak import %s --accept-clock",
			im.know.Now.UTC().Format(time.RFC3339), clock.UTC().Format(time.RFC3339), fault.Quote(im.o.Drive))
	}
}

// wrongClock is the hint at a generation whose number no honest one reaches; "" if it may be one.
func wrongClock(serial, have int64) string {
	if time.Unix(have, 0).After(time.Unix(serial, 0).Add(trust.MaxAhead)) {
		return "if the clock of the build host was wrong then, there: pkgsneak key renew, and export again"
	}
	return ""
}
