package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
)

// # One key in the place of another
//
// Replace touches trusted/, memory, imports/ and decisions. It first writes down what it is about
// to do, in the file replacing; whoever opens the state directory for writing finishes what a
// killed process began, and whoever reads it meanwhile trusts the new key and not the old one.
//
//	pkgsneak replacing 1<TAB>FINGERPRINT OF THE OLD KEY<TAB>UNIX SECONDS
//	the new key, armored
const replacingHead = "pkgsneak replacing 1\t"

// replacement is the content of the file replacing.
type replacement struct {
	old  manifest.Fingerprint
	next *manifest.PublicKey
	at   time.Time
}

// Replace trusts next in the place of the key old: what came in under the old key is the new one's
// from then on, the highest serials go on, and the old key is trusted no longer. A key that was
// revoked stays in trusted/, because that is where its revocation is remembered. After a crash at
// any moment the whole of it happens or nothing.
func Replace(st *Dir, old manifest.Fingerprint, next *manifest.PublicKey, at time.Time) error {
	if old == next.Fingerprint() {
		return fmt.Errorf("replacing the key %s: by itself", old)
	}
	r := &replacement{old, next, at.UTC().Truncate(time.Second)}
	text := fmt.Appendf(nil, "%s%s\t%d\n", replacingHead, r.old, r.at.Unix())
	if err := st.writeBytes(replacingName, 0o644, append(text, next.Armor()...)); err != nil {
		return err
	}
	return finishReplacing(st)
}

// replacing returns what a killed process has begun; nil if nothing.
func replacing(st *Dir) (*replacement, error) {
	data, err := st.read(replacingName, manifest.MaxKey+1024)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := parseReplacing(data)
	if err != nil {
		return nil, st.odd(replacingName, 0, err)
	}
	return r, nil
}

func parseReplacing(data []byte) (*replacement, error) {
	line, armor, _ := bytes.Cut(data, []byte("\n"))
	fields := strings.Split(string(line), "\t")
	if err := (table{kind: "pkgsneak replacing",
		version: 1}).checkVersion(string(line)); err != nil {
		return nil, err
	}
	if len(fields) != 3 || fields[0]+"\t" != replacingHead {
		return nil, fmt.Errorf("begins with %.80q instead of %.80q", line, replacingHead)
	}
	old, err := canonical(fields[1])
	if err != nil {
		return nil, err
	}
	seconds, err := parseInt(fields[2])
	if err != nil {
		return nil, err
	}
	next, err := manifest.ReadPublicKey(armor)
	if err != nil {
		return nil, err
	}
	if next.Fingerprint() == old {
		return nil, errors.New("a key replaces itself")
	}
	return &replacement{old, next, time.Unix(seconds, 0).UTC()}, nil
}

// finishReplacing carries out the file replacing, or what is left of it. Each step may be done
// again.
func finishReplacing(st *Dir) error {
	r, err := replacing(st)
	if r == nil || err != nil {
		return err
	}
	if err := r.handOver(st); err != nil {
		return err
	}
	if err := st.Trust(r.next); err != nil {
		return err
	}
	if err := r.distrust(st); err != nil {
		return err
	}
	if err := st.root.Remove(replacingName); err != nil {
		return fmt.Errorf("state directory %q: %w", st.dir, err)
	}
	return st.root.SyncDir(".")
}

// handOver makes everything that is remembered of origins of the old key the new key's.
func (r *replacement) handOver(st *Dir) error {
	for id := range maps.Clone(st.memory.imports) { // which grows meanwhile
		if id.Key == r.old {
			if err := r.handOverImports(st, id); err != nil {
				return err
			}
		}
	}
	err := st.remember(func(m *memory) {
		maps.DeleteFunc(m.imports, func(id importsID, _ string) bool { return id.Key == r.old })
		for id, s := range m.seen {
			if id.Key != r.old {
				continue
			}
			delete(m.seen, id)
			id.Key = r.next.Fingerprint()
			m.seen[id] = newerSeen(s, m.seen[id])
		}
	})
	if err != nil {
		return err
	}
	files, err := st.names(importsDir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if !strings.HasPrefix(path.Base(file), string(r.old)+".") {
			continue
		}
		if err := st.root.Remove(file); err != nil {
			return fmt.Errorf("state directory %q: %w", st.dir, err)
		}
	}
	return nil
}

// handOverImports copies one table. If both keys brought in a file of one name, the new key's is
// the one that its origin has now.
func (r *replacement) handOverImports(st *Dir, id importsID) error {
	rows, err := st.Imports(id.OriginID, id.Kind)
	if err != nil {
		return err
	}
	mine := OriginID{Key: r.next.Fingerprint(), Name: id.Name}
	newer, err := st.Imports(mine, id.Kind)
	if err != nil {
		return err
	}
	maps.Copy(rows, newer)
	return st.saveImports(mine, id.Kind, rows)
}

func newerSeen(a, b Seen) Seen {
	highest := later(a.Highest, b.Highest)
	if b.Serial > a.Serial {
		a = b
	}
	a.Highest = highest
	return a
}

func (r *replacement) distrust(st *Dir) error {
	d := Decision{Key: r.old, Verdict: Replaced, By: r.next.Fingerprint(), At: r.at}
	old, err := hidden(st, r.old)
	if err != nil {
		return err
	}
	if old != nil {
		d.UserID = old.UserID()
	}
	if err := changeDecisions(st, func(m map[manifest.Fingerprint]Decision) {
		if was, ok := m[r.old]; ok && d.UserID == "" {
			d.UserID = was.UserID
		}
		m[d.Key] = d
		delete(m, r.next.Fingerprint())
	}); err != nil {
		return err
	}
	if old == nil || old.Revoked() {
		return nil
	}
	if err := st.Distrust(r.old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// hidden returns a key that lies in trusted/, also one that Trusted leaves out; nil if there is
// none.
func hidden(st *Dir, fpr manifest.Fingerprint) (found *manifest.PublicKey, err error) {
	err = st.eachTrusted(func(_ string, k *manifest.PublicKey) error {
		if k.Fingerprint() == fpr {
			found = k
		}
		return nil
	})
	return found, err
}

// SeenOrigins returns the origins of which a generation was accepted here, in the order of key and
// name.
func SeenOrigins(st *Dir) []OriginID {
	return slices.SortedFunc(maps.Keys(st.memory.seen), OriginID.compare)
}
