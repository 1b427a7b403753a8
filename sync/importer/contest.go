package importer

import (
	"fmt"
	"slices"
	"strings"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// Two origins contend for the name of a distfile for ever where they are one machine's, which made
// another key: the new key has to take the place of the old one ("trust NEW --replaces OLD"). The
// person at the build host sees which is which ("pkgsneak key"). Here is what speaks for either:
//
//   - the newer one states that it had the other's name before ("key renew");
//   - on a drive, the one that came second got a directory with its fingerprint;
//   - its key was made later, by a clock that can be right.
//
// The first is certain. Where the others contradict each other, or neither is known, both ways are
// told. The numbers of the generations are no help: an export with a wrong clock bends them.

// handOver are the commands that end the contest for a name: one for origins that something joins,
// and one for each origin at hand, if it is the one that nobody exports any more.
func (p *placements) handOver(m *missing, l statFile) string {
	ids := []state.OriginID{m.in.id}
	if d := p.taken[l.Local]; d != nil {
		ids = append(ids, d.owners[0].in.id)
	}
	for _, o := range p.owned[l.Local] {
		ids = append(ids, o.id)
	}
	var ways []string
	for _, other := range ids[1:] {
		c := contest{im: p.im, x: m.in.id, y: other}
		if hint := c.hint(fault.Quote(m.in.at)); hint != "" {
			ways = append(ways, hint)
			break
		}
	}
	for _, in := range p.im.origins {
		if slices.Contains(ids, in.id) {
			ways = append(ways, abandoned(in))
		}
	}
	return strings.Join(ways, "; ")
}

// abandoned takes an origin off its drive. Several are in question, so that it is named.
func abandoned(in *incoming) string {
	dir := fault.Quote(in.Plan.Dir)
	return fmt.Sprintf("if nobody exports %s any more: pkgsneak forget %s %s", dir, dir,
		fault.Quote(in.at))
}

// contest is two origins that may be one machine's.
type contest struct {
	im   *importer
	x, y state.OriginID
}

func (c contest) hint(drive string) string {
	first := c.verdict()
	switch {
	case c.x.Key == c.y.Key:
		return ""
	case c.formerly(c.y, c.x):
		return replaces(fmt.Sprintf("if %s goes on as %s", fault.Quote(c.x.Name),
			fault.Quote(c.y.Name)), drive, c.y, c.x)
	case c.formerly(c.x, c.y):
		return replaces(fmt.Sprintf("if %s goes on as %s", fault.Quote(c.y.Name),
			fault.Quote(c.x.Name)), drive, c.x, c.y)
	case c.x.Name != c.y.Name:
		return ""
	}
	lost := fmt.Sprintf("if %s lost its key", fault.Quote(c.x.Name))
	switch {
	case first > 0:
		return replaces(lost, drive, c.x, c.y)
	case first < 0:
		return replaces(lost, drive, c.y, c.x)
	}
	return replaces(lost, drive, c.x, c.y) + "; " + replaces("if it was the other one", drive, c.y,
		c.x)
}

// replaces is the hint that lets a key take the place of another.
func replaces(why, drive string, successor, old state.OriginID) string {
	return fmt.Sprintf("%s, and \"pkgsneak key\" shows %s there: pkgsneak trust %s --fingerprint %s --replaces %s",
		why, successor.Key, drive, successor.Key, old.Key)
}

// formerly reports whether an origin states that it was the other one before.
func (c contest) formerly(id, before state.OriginID) bool {
	return slices.ContainsFunc(c.im.origins, func(in *incoming) bool {
		return in.id == id && slices.Contains(in.gen.Record.Formerly, before.Name)
	})
}

// verdict is positive if x is the later of the two, negative if y is, and 0 if that is not certain.
func (c contest) verdict() int {
	byPlace, byKey := c.byPlace(), c.byKey()
	switch {
	case byPlace == 0:
		return byKey
	case byKey == 0 || byKey == byPlace:
		return byPlace
	}
	return 0
}

// byPlace compares the directories of the two on one drive.
func (c contest) byPlace() int {
	second := func(id state.OriginID) (at string, qualified, found bool) {
		for _, in := range c.im.origins {
			if in.id == id {
				return in.at, in.Plan.Dir != id.Name, true
			}
		}
		return "", false, false
	}
	xAt, x, xFound := second(c.x)
	yAt, y, yFound := second(c.y)
	switch {
	case !xFound || !yFound || xAt != yAt || x == y:
		return 0
	case x:
		return 1
	}
	return -1
}

// byKey compares the times at which the keys were made. A time before this program existed is that
// of a machine whose clock was not set.
func (c contest) byKey() int {
	x, xFound := c.im.trusted.Ring.Find(c.x.Key)
	y, yFound := c.im.trusted.Ring.Find(c.y.Key)
	if !xFound || !yFound || x.Created().Before(trust.NotBefore) ||
		y.Created().Before(trust.NotBefore) {
		return 0
	}
	return x.Created().Compare(y.Created())
}
