package state

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/payload"
)

// replaced makes a state directory in which two origins came in under one key.
func replaced(t *testing.T, dir string) (old, next *manifest.PublicKey) {
	t.Helper()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	keys := make([]*manifest.PublicKey, 2)
	for i, name := range []string{"old", "next"} {
		k, err := manifest.GenerateKey(name, at)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = k.Public()
	}
	st := openDir(t, dir, Options{})
	defer st.Close()
	var errs []error
	for _, name := range []string{"host", "chroot"} {
		id := OriginID{keys[0].Fingerprint(), name}
		errs = append(errs, st.saveImports(id, payload.Package, map[string]Import{"a/a-1.tbz2": {
			Local: "a/a-1.tbz2", Size: 1}, "b/b-1.tbz2": {Local: "b/b-1.tbz2", Size: 2}}),
			st.saveImports(id, payload.Distfile,
				map[string]Import{"a.tar": {Local: "a.tar", Size: 3}}),
			st.SaveSeen(id, Seen{Serial: 7, Highest: at}))
	}
	// The administrator trusted the new key before, and imported: its own row is the newer one.
	errs = append(errs, st.saveImports(OriginID{keys[1].Fingerprint(), "host"}, payload.Package,
		map[string]Import{"a/a-1.tbz2": {Local: "a/a/a-1-1.xpak", Size: 9}}),
		st.SaveSeen(OriginID{keys[1].Fingerprint(), "host"},
			Seen{Serial: 9, Highest: at}), st.Trust(keys[0]))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return keys[0], keys[1]
}

// checkReplaced holds a state directory against what it has to hold once the new key has the place
// of the old one.
func checkReplaced(t *testing.T, st *Dir, old, next *manifest.PublicKey) {
	t.Helper()
	ring, err := st.Trusted()
	if err != nil || len(ring) != 1 || ring[0].Fingerprint() != next.Fingerprint() {
		t.Errorf("trusted: %v, %v", ring, err)
	}
	for _, id := range SeenOrigins(st) {
		if id.Key != next.Fingerprint() {
			t.Errorf("%q is remembered under the old key", id.Name)
		}
	}
	host, chroot := OriginID{next.Fingerprint(), "host"}, OriginID{next.Fingerprint(), "chroot"}
	rows, err := st.Imports(host, payload.Package)
	if want := map[string]Import{"a/a-1.tbz2": {Local: "a/a/a-1-1.xpak", Size: 9}, "b/b-1.tbz2": {
		Local: "b/b-1.tbz2", Size: 2}}; err != nil || !maps.Equal(rows, want) {
		t.Errorf("rows of host: %v, %v", rows, err)
	}
	if rows, err := st.Imports(chroot, payload.Distfile); err != nil || len(rows) != 1 {
		t.Errorf("rows of chroot: %v, %v", rows, err)
	}
	if s, _ := st.Seen(host); s.Serial != 9 {
		t.Errorf("host's serial is %d", s.Serial)
	}
	if s, _ := st.Seen(chroot); s.Serial != 7 {
		t.Errorf("chroot's serial is %d", s.Serial)
	}
	names, err := st.names(importsDir)
	for _, name := range names {
		if strings.Contains(name, string(old.Fingerprint())) {
			t.Errorf("%s is left", name)
		}
	}
	decisions, derr := Decisions(st)
	d := decisions[old.Fingerprint()]
	if err != nil || derr != nil || d.Verdict != Replaced || d.By != next.Fingerprint() ||
		d.UserID != "old" {
		t.Errorf("decision %+v, %v, %v", d, err, derr)
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	old, next := replaced(t, dir)
	st := openDir(t, dir, Options{})
	if err := Replace(st, old.Fingerprint(), next, time.Unix(1_772_452_800, 0)); err != nil {
		t.Fatal(err)
	}
	checkReplaced(t, st, old, next)
	if err := Replace(st, next.Fingerprint(), next, time.Now()); err == nil {
		t.Error("a key replaced itself")
	}
}

var errStopped = errors.New("stopped")

// The process ends before each change of a file in turn. The next one trusts one key and one only,
// and finishes what was begun.
func TestReplaceStopped(t *testing.T) {
	whole, none := 0, 0
	for n := 0; ; n++ {
		dir := t.TempDir()
		old, next := replaced(t, dir)
		left := n
		st := openDir(t, dir, Options{Hook: func(durable.Change) error {
			if left--; left < 0 {
				return errStopped
			}
			return nil
		}})
		err := Replace(st, old.Fingerprint(), next, time.Unix(1_772_452_800, 0))
		st.Close()
		reader := openDir(t, dir, Options{ReadOnly: true})
		ring, rerr := reader.Trusted()
		if rerr != nil || len(ring) != 1 {
			t.Fatalf("stopped at change %d: a reader trusts %v, %v", n, ring, rerr)
		}
		reader.Close()
		st = openDir(t, dir, Options{})
		if _, ok := st.Seen(OriginID{old.Fingerprint(), "host"}); ok {
			none++
			if ring, _ := st.Trusted(); len(ring) != 1 ||
				ring[0].Fingerprint() != old.Fingerprint() {
				t.Fatalf("stopped at change %d: half of it happened: %v", n, ring)
			}
		} else {
			whole++
			checkReplaced(t, st, old, next)
		}
		st.Close()
		if err == nil {
			break
		}
		if t.Failed() {
			t.Fatalf("stopped at change %d", n)
		}
	}
	if whole < 10 || none < 2 {
		t.Errorf("%d ends of it and %d beginnings are too few to be all", whole, none)
	}
}

// A key that its owner revoked stays where its revocation is remembered.
func TestReplaceRevoked(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	k, err := manifest.GenerateKey("old", at)
	if err == nil {
		k, err = k.Revoked(at)
	}
	next, err2 := manifest.GenerateKey("next", at)
	st := openDir(t, t.TempDir(), Options{})
	if err := errors.Join(err, err2, st.Trust(k.Public()), Replace(st, k.Public().Fingerprint(),
		next.Public(), at)); err != nil {
		t.Fatal(err)
	}
	ring, err := st.Trusted()
	if old, ok := ring.Find(k.Public().Fingerprint()); err != nil || !ok || !old.Revoked() {
		t.Errorf("trusted: %v, %v", ring, err)
	}
}

func TestDecisionsOdd(t *testing.T) {
	const fpr = "0123456789ABCDEF0123456789ABCDEF01234567"
	row := func(s string) string { return "pkgsneak decisions 1\n" + s + "\nend\t1\n" }
	if _, _, err := parseDecisions(row(fpr + "\ta\tnever\t-\t5")); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":           "",
		"another verdict": row(fpr + "\ta\tmaybe\t-\t5"),
		"small letters":   row(strings.ToLower(fpr) + "\ta\tnever\t-\t5"),
		"next of never":   row(fpr + "\ta\tnever\t" + fpr + "\t5"),
		"no next":         row(fpr + "\ta\treplaced\t-\t5"),
		"no time":         row(fpr + "\ta\tnever\t-\t"),
		"cut off":         "pkgsneak decisions 1\n" + fpr + "\ta\tnever\t-\t5\n",
	} {
		if _, _, err := parseDecisions(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
