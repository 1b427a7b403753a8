package state

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"pkgsneak/manifest"
)

// # An origin under a new name
//
// An origin whose serials ran away, after an export with a clock far ahead, goes on under a new
// name, with serials that start anew. The file renewed remembers it, on the host (the key is "-":
// whichever it signs with) and on each client that has taken the new name over:
//
//	pkgsneak renewed 1
//	FINGERPRINT OR -, BLANK, FORMER NAME<TAB>NAME NOW<TAB>UNIX SECONDS
//	end<TAB>1
//
// The host writes it before memory; whoever opens the state directory for writing finishes what a
// killed process began. A program that does not read it lacks no more than the connection.
var renewedTable = table{kind: "pkgsneak renewed", version: 1, fields: 3}

// A Renewal reports that an origin goes on under another name.
type Renewal struct {
	Former OriginID // the key is "" for an origin of this machine
	Name   string
	// whole seconds: by the host's clock, or as the first generation under Name was signed
	At time.Time
}

const ownRenewal = "-"

// Renewals returns the renewals that are remembered, in the order of the former key and name.
func Renewals(st *Dir) ([]Renewal, error) {
	data, err := st.read(renewedName, maxText)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, line, err := parseRenewals(string(data))
	if err != nil {
		return nil, st.odd(renewedName, line, err)
	}
	return list, nil
}

func parseRenewals(text string) ([]Renewal, int, error) {
	var list []Renewal
	line, err := renewedTable.parse(text, func(f []string) error {
		key, name, ok := strings.Cut(f[0], " ")
		if !ok || name == "" || f[1] == "" || name == f[1] {
			return fmt.Errorf("%.140q as %.140q makes no sense", f[0], f[1])
		}
		r := Renewal{Former: OriginID{Name: name}, Name: f[1]}
		if key != ownRenewal {
			fpr, err := canonical(key)
			if err != nil {
				return err
			}
			r.Former.Key = fpr
		}
		seconds, err := parseInt(f[2])
		if err != nil {
			return err
		}
		r.At = time.Unix(seconds, 0).UTC()
		list = append(list, r)
		return nil
	})
	if err != nil {
		return nil, line, err
	}
	return list, 0, nil
}

func (r Renewal) id() string {
	return cmp.Or(string(r.Former.Key), ownRenewal) + " " + r.Former.Name
}

func writeRenewals(w io.Writer, list []Renewal) error {
	list = slices.SortedFunc(slices.Values(list), func(a, b Renewal) int {
		return strings.Compare(a.id(), b.id())
	})
	return renewedTable.write(w, len(list), func(b []byte, i int) []byte {
		b = append(append(b, escape(list[i].id())...), '\t')
		b = append(append(b, escape(list[i].Name)...), '\t')
		return strconv.AppendInt(b, list[i].At.Unix(), 10)
	})
}

// addRenewals remembers that origins of one key go on as name. An origin that became one of them
// before goes on as name too.
func addRenewals(st *Dir, key manifest.Fingerprint, former []string, name string,
	at time.Time) error {
	had, err := Renewals(st)
	if err != nil {
		return err
	}
	at = at.UTC().Truncate(time.Second)
	list := make(map[OriginID]Renewal)
	for _, r := range had {
		if r.Former.Key == key && slices.Contains(former, r.Name) {
			r.Name = name
		}
		list[r.Former] = r
	}
	for _, f := range former {
		id := OriginID{key, f}
		if r, ok := list[id]; f != name && (!ok || r.Name != name) {
			list[id] = Renewal{id, name, at}
		}
	}
	delete(list, OriginID{key, name})
	next := slices.SortedFunc(maps.Values(list), func(a, b Renewal) int {
		return strings.Compare(a.id(), b.id())
	})
	if slices.Equal(had, next) {
		return nil
	}
	return st.write(renewedName, 0o644, func(w io.Writer) error { return writeRenewals(w, next) })
}

// RenewedAs returns the name under which an origin goes on; "" if it was not renewed. The key is ""
// for an origin of this machine.
func RenewedAs(st *Dir, id OriginID) (string, error) {
	list, err := Renewals(st)
	for _, r := range list {
		if r.Former == id {
			return r.Name, err
		}
	}
	return "", err
}

// FormerNames returns the names that an origin of this machine had before, the latest first.
func FormerNames(st *Dir, name string) ([]string, error) {
	list, err := Renewals(st)
	slices.SortStableFunc(list, func(a, b Renewal) int { return b.At.Compare(a.At) })
	var names []string
	for _, r := range list {
		if r.Former.Key == "" && r.Name == name {
			names = append(names, r.Former.Name)
		}
	}
	return names, err
}

// RenewExported gives what this machine exports as old the name next, with serials that start anew,
// and believes no time that is later than at any more. After a crash at any moment the whole of it
// happens or nothing.
func RenewExported(st *Dir, old, next string, at time.Time) error {
	e, ok := st.Exported(old)
	if !ok {
		return fmt.Errorf("renewing origin %q: %w", old, fs.ErrNotExist)
	}
	former, err := RenewedAs(st, OriginID{Name: next})
	if _, taken := st.Exported(next); err == nil && (taken || former != "" || old == next) {
		err = fs.ErrExist
	}
	if err != nil {
		return fmt.Errorf("renewing origin %q of %q as %q: %w", old, e.PKGDIR, next, err)
	}
	if err := addRenewals(st, "", []string{old}, next, at); err != nil {
		return err
	}
	return finishRenewing(st)
}

// finishRenewing takes into memory the entries in the file renewed of this machine's origins.
func finishRenewing(st *Dir) error {
	list, err := Renewals(st)
	if err != nil {
		return err
	}
	for _, r := range list {
		e, ok := st.Exported(r.Former.Name)
		if r.Former.Key != "" || !ok {
			continue
		}
		err := st.remember(func(m *memory) {
			delete(m.exported, r.Former.Name)
			if _, done := m.exported[r.Name]; !done {
				// later than that of any other name of this PKGDIR
				m.exported[r.Name] = Exported{PKGDIR: e.PKGDIR, Serial: r.At.Unix()}
			}
			if m.highest.After(r.At) {
				m.highest = r.At
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// TimeWithout is HighestTime without the times that only signatures of some origins bore: those
// under a name that was given up because its time was wrong.
func TimeWithout(st *Dir, former []OriginID) time.Time {
	var theirs, others time.Time
	for id, s := range st.memory.seen {
		if slices.Contains(former, id) {
			theirs = later(theirs, s.Highest)
		} else {
			others = later(others, s.Highest)
		}
	}
	if theirs.IsZero() || !theirs.Equal(st.memory.highest) {
		return st.memory.highest
	}
	return others
}

// SaveRenewed remembers that origins go on as id, whose generation was signed at a time, and gives
// up the time that only they bore.
func SaveRenewed(st *Dir, id OriginID, former []OriginID, signed time.Time) error {
	names := make(map[manifest.Fingerprint][]string)
	for _, f := range former {
		names[f.Key] = append(names[f.Key], f.Name)
	}
	for _, key := range slices.Sorted(maps.Keys(names)) {
		if err := addRenewals(st, key, names[key], id.Name, signed); err != nil {
			return err
		}
	}
	return LowerTime(st, later(TimeWithout(st, former), signed.UTC()))
}

// LowerTime gives up what was remembered of a later time, from signatures whose time was wrong.
func LowerTime(st *Dir, t time.Time) error {
	if !st.memory.highest.After(t) {
		return nil
	}
	return st.remember(func(m *memory) { m.highest = t.UTC() })
}
