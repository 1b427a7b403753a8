package clients

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/request"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func key(t *testing.T, name string) *manifest.PublicKey {
	t.Helper()
	k, err := manifest.GenerateKey(name, now)
	if err != nil {
		t.Fatal(err)
	}
	return k.Public()
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func sums(b ...byte) (all []request.Sum) {
	for _, x := range b {
		all = append(all, request.Sum{x})
	}
	return all
}

var origin = Origin{Key: "62F8A9B1C2D3E4F5061728394A5B6C7D8E9F0A1B", Name: "bighost"}

// found makes a request of a client that has the first, second ... package of the catalogue.
func found(t *testing.T, c *Client, serial int64, has ...int) *Found {
	t.Helper()
	lacks := request.NewBitmap(4)
	for i := range 4 {
		if !contains(has, i) {
			lacks.Set(i)
		}
	}
	list, counts, err := request.PackList([]pkgindex.Entry{}, serial)
	if err != nil {
		t.Fatal(err)
	}
	r := &request.Record{Format: request.Format, Role: request.Role, Client: c.Name,
		Fingerprint: c.Key, Serial: serial, Created: now, Installed: counts,
		Machine: &request.Machine{}, Roots: &request.Roots{},
		Receipts: []request.Receipt{{Origin: origin.Name, Key: origin.Key, Serial: 7, Entries: 4,
			Lacks: lacks}}}
	f := &Found{Dir: c.Name, Client: c, Record: r, List: list,
		Sum: [64]byte{byte(serial), byte(len(has))}}
	f.State = c.standing(serial, f.Sum)
	return f
}

func contains(list []int, n int) bool {
	for _, x := range list {
		if x == n {
			return true
		}
	}
	return false
}

func TestAcceptTakeForget(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Accept(key(t, "bighost"), "bighost", now); err == nil {
		t.Error("the key of an origin was accepted as a client's")
	}
	k := key(t, manifest.ClientUserID("attic"))
	c, err := s.Accept(k, "attic", now)
	if err != nil {
		t.Fatal(err)
	}
	if ring, err := s.keys(); err != nil || len(ring) != 1 ||
		ring[0].Fingerprint() != k.Fingerprint() {
		t.Fatalf("%v, %v", ring, err)
	}
	if err := s.SaveCatalogue(origin, 7, sums(1, 2, 3, 4)); err != nil {
		t.Fatal(err)
	}
	catalogues := func(o Origin, serial int64) []request.Sum {
		sums, err := s.Catalogue(o, serial)
		if err != nil {
			t.Fatal(err)
		}
		return sums
	}
	take := func(f *Found, want Standing) {
		t.Helper()
		if f.State != want {
			t.Fatalf("%v, want %v", f.State, want)
		}
		if err := s.Take(f, catalogues, now); err != nil {
			t.Fatal(err)
		}
	}
	has := func(want ...bool) {
		t.Helper()
		again, err := s.Find("attic")
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			if got := again.HasPackage(origin, request.Sum{byte(i + 1)}, now); got != w {
				t.Errorf("package %d: %v", i, got)
			}
		}
	}
	take(found(t, c, 100, 0, 2), New)
	has(true, false, true, false)
	take(found(t, c, 99, 0, 1, 2, 3), Older)
	has(true, false, true, false)
	take(found(t, c, 100, 0, 2), Known)
	clone := found(t, c, 100, 0, 1, 3)
	take(clone, Cloned)
	has(true, false, false, false) // what either lacks
	take(found(t, c, 101, 0, 1, 2, 3), New)
	has(true, true, true, true)
	r, err := s.Record(c)
	if err != nil || r.Serial != 101 || !s.HasList(c, r) {
		t.Fatalf("%v, %v", r, err)
	}
	if list, err := s.List(c, r); err != nil || list == nil {
		t.Fatalf("%v, %v", list, err)
	}
	if names, err := os.ReadDir(filepath.Join(dir, clientsDir, c.ID())); err != nil ||
		len(names) != 4 {
		t.Errorf("%v, %v", names, err)
	}
	far := found(t, c, 102, 0)
	far.Record.Receipts[0].Serial = 6
	take(far, New)
	if has(false, false); len(c.Unread) != 1 {
		t.Errorf("%+v", c.Unread)
	}
	if err := s.Forget("../x", "x", now); err == nil {
		t.Error("a path was taken for a client")
	}
	if err := s.Forget(c.ID(), c.Name, now); err != nil {
		t.Fatal(err)
	}
	if all, err := s.Clients(); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// Two machines with one key each tell what their request follows: that is told however the drives
// come back, and of one machine it is never told.
func TestForks(t *testing.T) {
	type asks struct {
		client           string
		serial, previous int64
	}
	a := []asks{{"a", 100, 0}, {"a", 110, 100}, {"a", 120, 110}}
	for _, tt := range []struct {
		name string
		list []asks
		want string // the forks, a word for each request
	}{
		{"one machine", a, "- - -"},
		{"one machine, a drive was lost", []asks{a[0], a[2]}, "- -"},
		{"one machine, drives in any order", []asks{a[2], a[0], a[1]}, "- - -"},
		{"one machine under another name", []asks{a[0], {"b", 105, 100}, {"b", 106, 105}}, "- - -"},
		{"of a program that does not tell", []asks{a[0], {"b", 105, 0}, {"a", 110, 0}}, "- - -"},
		{"two machines in turn", []asks{a[0], {"b", 105, 100}, a[1], {"b", 115, 105}},
			"- - b105+a110 a110+b115"},
		{"the older one comes late", []asks{a[0], {"b", 115, 100}, a[1]}, "- - a110+b115"},
		{"one name", []asks{a[0], {"a", 105, 100}, a[1]}, "- - a105+a110"},
		{"set back to a copy once", []asks{a[0], a[1], {"a", 130, 100}, {"a", 140, 130}},
			"- - a110+a130 -"},
	} {
		s := open(t, t.TempDir())
		c, err := s.Accept(key(t, manifest.ClientUserID("attic")), "attic", now)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, x := range tt.list {
			f := found(t, c, x.serial, 0)
			f.Record.Client, f.Record.Previous, f.Record.Receipts = x.client, x.previous, nil
			if err := s.Take(f, nil, now); err != nil {
				t.Fatal(err)
			}
			word := "-"
			if k := f.Forked; k != nil {
				word = fmt.Sprintf("%s%d+%s%d", k.One.Client, k.One.Serial, k.Two.Client,
					k.Two.Serial)
			}
			got = append(got, word)
			again, err := s.Find("attic")
			if err != nil || f.Forked != nil && !f.Forked.same(again.Forked) {
				t.Errorf("%s: remembered is %+v, %v", tt.name, again, err)
			}
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, text, tt.want)
		}
	}
}

// Of the keys that were forgotten a bounded number is remembered, the last ones.
func TestForgottenAreBounded(t *testing.T) {
	s := open(t, t.TempDir())
	fpr := func(i int) manifest.Fingerprint {
		return manifest.Fingerprint(fmt.Sprintf("%040X", 1<<20-i)) // the oldest have the last names
	}
	for i := range request.MaxClients + 3 {
		at := now.Add(time.Duration(i) * time.Second)
		if err := noteForgotten(s, fpr(i), "attic", at); err != nil {
			t.Fatal(err)
		}
	}
	names, err := s.names(forgottenDir)
	if err != nil || len(names) != request.MaxClients {
		t.Fatalf("%d are remembered, %v", len(names), err)
	}
	for i, want := range map[int]bool{0: false, 2: false, 3: true, request.MaxClients + 2: true} {
		if got := forgottenKey(s, fpr(i)) != nil; got != want {
			t.Errorf("number %d is remembered: %v", i, got)
		}
	}
	if _, key, err := Unforget(s, "nobody"); key != "" || err != nil {
		t.Errorf("%s, %v", key, err)
	}
	if _, _, err := Unforget(s, "attic"); err == nil {
		t.Error("one of many was chosen")
	}
	name, key, err := Unforget(s, string(fpr(7)))
	if name != "attic" || key != fpr(7) || err != nil || forgottenKey(s, key) != nil {
		t.Errorf("%s, %s, %v", name, key, err)
	}
	if err := noteForgotten(s, "name.x", "x", now); err != nil || forgottenKey(s, "name.x") != nil {
		t.Errorf("without a key: %v", err)
	}
}

func TestInTransit(t *testing.T) {
	s := open(t, t.TempDir())
	c, err := s.Accept(key(t, manifest.ClientUserID("attic")), "attic", now)
	if err != nil {
		t.Fatal(err)
	}
	drive := func(id string, when time.Time, b ...byte) {
		t.Helper()
		if err := s.SaveDrive(Drive{ID: strings.Repeat(id, 16), Label: "BLUE", Origin: origin.Name,
			Key: origin.Key, Serial: when.Unix(), When: when,
			Manifest: Digest([64]byte{id[0], 2, 3, 4}), Packages: sums(b...)}); err != nil {
			t.Fatal(err)
		}
	}
	on := func(at time.Time, except string) map[request.Sum]*Drive {
		t.Helper()
		drives, err := s.Drives()
		if err != nil {
			t.Fatal(err)
		}
		return InTransit(c, drives, origin, at, except)
	}
	drive("a", now.Add(time.Hour), 1, 2)
	if got := on(now.Add(2*time.Hour), ""); len(got) != 2 {
		t.Errorf("%v", got)
	}
	if got := on(now.Add(2*time.Hour), strings.Repeat("a", 16)); len(got) != 0 {
		t.Errorf("the drive that is here: %v", got)
	}
	if got := on(now.Add(time.Hour+Transit), ""); len(got) != 0 {
		t.Errorf("after 45 days: %v", got)
	}
	c.Read = now.Add(3 * time.Hour)
	if got := on(now.Add(4*time.Hour), ""); len(got) != 0 {
		t.Errorf("after the next request: %v", got)
	}
	drive("b", now.Add(5*time.Hour), 2, 3)
	if got := on(now.Add(6*time.Hour), ""); len(got) != 2 || got[request.Sum{2}].ID[0] != 'b' {
		t.Errorf("%v", got)
	}
	code := request.Code{Client: request.ClientTag("attic"), Manifest: [4]byte{'b', 2, 3, 4}}
	if _, err := s.TakeCode(c, code, now.Add(7*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := on(now.Add(8*time.Hour), ""); len(got) != 0 ||
		!c.HasPackage(origin, request.Sum{3}, now.Add(8*time.Hour)) {
		t.Errorf("after a receipt was typed: %v", got)
	}
	if c.HasPackage(origin, request.Sum{3}, now.Add(7*time.Hour+Transit)) {
		t.Error("a typed receipt lasts longer than 45 days")
	}
	code.Client++
	if _, err := s.TakeCode(c, code, now); err == nil {
		t.Error("the receipt of another client was taken")
	}
	code = request.Code{Client: request.ClientTag("attic"), Manifest: [4]byte{'z'}}
	if _, err := s.TakeCode(c, code, now); err == nil ||
		len(fault.Hints(err, "/mnt/usb")) != 2 {
		t.Errorf("a receipt about nothing: %v, %q", err, fault.Hints(err, "/mnt/usb"))
	}
	if err := s.SaveDrive(Drive{ID: "../../x", Label: "x", Origin: origin.Name,
		Key: origin.Key}); err == nil {
		t.Error("a path was taken for a drive")
	}
}

func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	c, err := s.Add("attic", now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add("attic", now); err == nil {
		t.Error("two clients of one name were added")
	}
	if _, err := s.Add("../attic", now); err == nil {
		t.Error("a path was taken for a client")
	}
	for _, text := range []string{"", "{",
		`{"format":1,"name":"other","accepted":"2026-03-01T12:00:00Z"}`} {
		if err := os.WriteFile(filepath.Join(dir, clientsDir, c.ID(), clientFile), []byte(text),
			0o644); err != nil {
			t.Fatal(err)
		}
		var odd *FileError
		if _, err := s.Clients(); !errors.As(err, &odd) || len(odd.Hints("")) != 2 {
			t.Errorf("%q: %v", text, err)
		}
	}
	// From a newer program: nothing is to be forgotten.
	if err := os.WriteFile(filepath.Join(dir, clientsDir, c.ID(), clientFile),
		[]byte(`{"format":2}`), 0o644); err != nil {
		t.Fatal(err)
	}
	var newer *fault.NewerError
	if _, err := s.Clients(); !errors.As(err, &newer) || len(fault.Hints(err, "")) != 1 {
		t.Errorf("%v, %q", err, fault.Hints(err, ""))
	}
	if ids, err := s.Broken(); err != nil || len(ids) != 1 || ids[0] != c.ID() {
		t.Errorf("%v, %v", ids, err)
	}
	for n := range int64(MaxCatalogues + 5) {
		if err := s.SaveCatalogue(origin, 10+n, sums(byte(n), 0)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Catalogue(origin, 14); err != nil || got != nil {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := s.Catalogue(origin, 15); err != nil || len(got) != 2 ||
		got[0] != (request.Sum{5}) {
		t.Errorf("%v, %v", got, err)
	}
	name := filepath.Join(dir, cataloguesDir, "62F8A9B1.bighost.15")
	if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Catalogue(origin, 15); err != nil || got != nil {
		t.Errorf("an odd catalogue: %v, %v", got, err)
	}
	empty, err := Open(filepath.Join(dir, "none"), true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := empty.Clients(); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// The report is made where nothing was exported from PKGDIR, and no key tells the origin.
func TestReportWithoutAnOrigin(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Add("attic", now); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveCatalogue(origin, 10, sums(1)); err != nil {
		t.Fatal(err)
	}
	r, err := Look(t.Context(), machine.Machine{StateDir: dir, PKGDIR: filepath.Join(dir, "none"),
		Now: func() time.Time { return now }})
	if err != nil || len(r.Clients) != 1 || len(r.Problems) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// The key of a client that is damaged keeps an export from reading its requests: the report tells,
// and names what helps. A key that may not be read is not lost.
func TestReportOfADamagedKey(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	c, err := s.Accept(key(t, manifest.ClientUserID("attic")), "attic", now)
	if err != nil {
		t.Fatal(err)
	}
	m := machine.Machine{StateDir: dir, PKGDIR: filepath.Join(dir, "none"),
		Now: func() time.Time { return now }}
	if r, err := Look(t.Context(), m); err != nil || len(r.Problems) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, damage := range []func(string) error{
		func(name string) error { return os.Truncate(name, 100) }, os.Remove} {
		if err := damage(filepath.Join(dir, clientsDir, c.ID(), keyFile)); err != nil {
			t.Fatal(err)
		}
		r, err := Look(t.Context(), m)
		if err != nil || len(r.Problems) != 1 || len(r.Hints) != 2 ||
			!strings.Contains(r.Hints[1], "pkgsneak clients forget "+c.ID()) {
			t.Errorf("%+v, %v", r, err)
		}
		if _, err := s.keys(); len(fault.Hints(err, "")) != 2 {
			t.Errorf("%v", err)
		}
	}
	forbidden := &FileError{keyFile, &fs.PathError{Op: "open", Path: keyFile,
		Err: fs.ErrPermission}, c.ID()}
	if hints := fault.Hints(forbidden, ""); hints != nil {
		t.Errorf("%q", hints)
	}
}

// A fingerprint that is typed means a key, whatever the directories of a drive are called; a client
// without a key keeps its name for itself.
func TestFind(t *testing.T) {
	s := open(t, t.TempDir())
	mine, theirs := key(t, manifest.ClientUserID("attic")), key(t, manifest.ClientUserID("x"))
	offer := func(k *manifest.PublicKey, name string) {
		t.Helper()
		if err := s.Offer(&Found{Dir: name, State: Unknown, Signer: k.Fingerprint(), Key: k},
			now); err != nil {
			t.Fatal(err)
		}
	}
	offer(theirs, string(mine.Fingerprint()))
	if o, err := s.FindOffer(mine.Fingerprint().Grouped()); err != nil || o != nil {
		t.Errorf("the directory of another key: %+v, %v", o, err)
	}
	if o, err := s.FindOffer(string(mine.Fingerprint())); err != nil || o != nil {
		t.Errorf("the directory of another key: %+v, %v", o, err)
	}
	offer(mine, "attic")
	o, err := s.FindOffer(mine.Fingerprint().Grouped())
	if err != nil || o == nil || o.Name != "attic" {
		t.Fatalf("%+v, %v", o, err)
	}
	for name, want := range map[string]string{"attic": "attic", "-x": o.Fingerprint.String(),
		string(theirs.Fingerprint()): o.Fingerprint.String()} {
		if got := Word(name, o.Fingerprint); got != want {
			t.Errorf("%s is named by %s", name, got)
		}
	}
	if _, err := s.Add("attic", now); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AcceptOffer(o, now); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Find("attic"); err != nil || c == nil || c.Key != "" {
		t.Errorf("by name: %+v, %v", c, err)
	}
	if c, err := s.Find(string(mine.Fingerprint())); err != nil || c == nil ||
		c.Key != mine.Fingerprint() {
		t.Errorf("by key: %+v, %v", c, err)
	}
	if _, err := s.Accept(theirs, "attic", now); err != nil {
		t.Fatal(err)
	}
	if err := s.Forget("name.attic", "attic", now); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find("attic"); err == nil {
		t.Error("one of two keys was taken by name")
	}
}

// A client whose key is not remembered, because too many others ask, is told so.
func TestTooManyOffers(t *testing.T) {
	s := open(t, t.TempDir())
	for i := range maxOffers + 1 {
		k := key(t, manifest.ClientUserID("x"))
		err := s.Offer(&Found{Dir: "x", State: Unknown, Signer: k.Fingerprint(), Key: k}, now)
		if (err == nil) != (i < maxOffers) {
			t.Fatalf("offer %d: %v", i, err)
		}
	}
}

// Each directory may have something else in its place, and is named then.
func TestSomethingElseInPlaceOfADirectory(t *testing.T) {
	for _, name := range allDirs {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, readOnly := range []bool{false, true} {
			_, err := Open(dir, readOnly, nil)
			var none *durable.NoDirectoryError
			if !errors.As(err, &none) || none.Path != filepath.Join(dir, name) {
				t.Errorf("%s, read-only %v: %v", name, readOnly, err)
			}
		}
	}
}
