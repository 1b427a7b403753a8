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
	"time"

	"pkgsneak/manifest"
)

// A Verdict is why a key is not trusted here although it was looked at.
type Verdict string

// The verdicts.
const (
	Never    Verdict = "never"    // the administrator does not want what it signs
	Replaced Verdict = "replaced" // another key took its place
	Removed  Verdict = "removed"  // it was trusted, and the administrator took that back
	// as Removed; its owner had withdrawn it, which no drive makes undone
	Revoked Verdict = "revoked"
)

// A Decision is what was decided about a key that is not trusted.
type Decision struct {
	Key     manifest.Fingerprint
	Verdict Verdict
	By      manifest.Fingerprint // the key that took its place; "" but for Replaced
	At      time.Time            // whole seconds
	UserID  string               // of the key, for display; "" if it was never seen
}

// decisionsTable is the file of decisions (decisionsName):
//
//	pkgsneak decisions 1
//	FINGERPRINT<TAB>USER ID<TAB>VERDICT<TAB>FINGERPRINT OF THE NEXT KEY, or -<TAB>UNIX SECONDS
//	end<TAB>1
//
// Nothing depends on it but the words about a key: without it nothing is trusted that was not
// trusted before.
var decisionsTable = table{kind: "pkgsneak decisions", version: 1, fields: 5}

// Decisions returns what was decided about keys that are not trusted, by fingerprint.
func Decisions(st *Dir) (map[manifest.Fingerprint]Decision, error) {
	data, err := st.read(decisionsName, maxText)
	if errors.Is(err, fs.ErrNotExist) {
		return map[manifest.Fingerprint]Decision{}, nil
	}
	if err != nil {
		return nil, err
	}
	m, line, err := parseDecisions(string(data))
	if err != nil {
		return nil, st.odd(decisionsName, line, err)
	}
	return m, nil
}

func parseDecisions(text string) (map[manifest.Fingerprint]Decision, int, error) {
	m := map[manifest.Fingerprint]Decision{}
	line, err := decisionsTable.parse(text, func(f []string) error {
		d := Decision{UserID: f[1], Verdict: Verdict(f[2])}
		var err error
		if d.Key, err = canonical(f[0]); err != nil {
			return err
		}
		switch d.Verdict {
		case Never, Removed, Revoked:
			if f[3] != "-" {
				return fmt.Errorf("%q has no next key", f[2])
			}
		case Replaced:
			if d.By, err = canonical(f[3]); err != nil {
				return err
			}
		default:
			return fmt.Errorf("unknown verdict %.40q", f[2])
		}
		seconds, err := parseInt(f[4])
		if err != nil {
			return err
		}
		d.At = time.Unix(seconds, 0).UTC()
		m[d.Key] = d
		return nil
	})
	if err != nil {
		return nil, line, err
	}
	return m, 0, nil
}

// canonical accepts a fingerprint only as it is written here, so that each table has one spelling.
func canonical(s string) (manifest.Fingerprint, error) {
	f, err := manifest.ParseFingerprint(s)
	if err == nil && string(f) != s {
		err = fmt.Errorf("fingerprint %.80q is not in capitals", s)
	}
	return f, err
}

// Decide remembers a decision in place of an earlier one about the same key. It does not change who
// is trusted.
func Decide(st *Dir, d Decision) error {
	return changeDecisions(st, func(m map[manifest.Fingerprint]Decision) { m[d.Key] = d })
}

// Undecide forgets what was decided about a key, which is trusted from now on.
func Undecide(st *Dir, fpr manifest.Fingerprint) error {
	return changeDecisions(st, func(m map[manifest.Fingerprint]Decision) { delete(m, fpr) })
}

func changeDecisions(st *Dir, change func(map[manifest.Fingerprint]Decision)) error {
	old, err := Decisions(st)
	if err != nil {
		return err
	}
	m := maps.Clone(old)
	change(m)
	if maps.Equal(m, old) {
		return nil
	}
	return st.write(decisionsName, 0o644, func(w io.Writer) error { return writeDecisions(w, m) })
}

func writeDecisions(w io.Writer, m map[manifest.Fingerprint]Decision) error {
	keys := slices.Sorted(maps.Keys(m))
	return decisionsTable.write(w, len(keys), func(b []byte, i int) []byte {
		d := m[keys[i]]
		b = append(append(b, d.Key...), '\t')
		b = append(append(b, escape(d.UserID)...), '\t')
		b = append(append(b, d.Verdict...), '\t')
		b = append(append(b, cmp.Or(string(d.By), "-")...), '\t')
		return strconv.AppendInt(b, d.At.Unix(), 10)
	})
}
