package request

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/depend"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/resolve"
)

const testKey = manifest.Fingerprint("62F8A9B1C2D3E4F5061728394A5B6C7D8E9F0A1B")

func whole() *Record {
	return &Record{
		Format: Format, Role: Role, Client: "attic", Fingerprint: testKey, Serial: 1767225600,
		Created: time.Unix(1767225600, 0).UTC(), Tool: "pkgsneak test",
		Installed: Counts{Packages: 2, Bytes: 500},
		Machine: &Machine{Portage: "3.0.66", EAPI: 8, ARCH: "amd64", CHOST: "x86_64-pc-linux-gnu",
			AcceptKeywords: "amd64", AcceptLicense: "MIT GPL-2",
			CPU: []string{"avx", "avx2"}, Keywords: []Rule{{"=app-misc/foo-2", []string{"~amd64"}}},
			Licenses: []Rule{{"app-misc/bar", []string{"EULA"}}},
			Masks:    []string{">=dev-libs/lib-3"}, Unmasks: []string{"=dev-libs/lib-3.1"},
			Room: Room{1, -1, 0},
			Repositories: []Repository{{Name: "gentoo", Revision: "abc",
				Timestamp: time.Unix(1767220000, 0).UTC()}}},
		Roots: &Roots{World: []string{"app-misc/foo", "dev-lang/python:3.12"},
			Sets: map[string][]string{"desktop": {
				"app-misc/bar"}}, System: []string{"sys-apps/portage"},
			Provided: []string{"sys-kernel/gentoo-sources-6.6.1"}},
		Receipts: []Receipt{{Origin: "bighost", Key: testKey, Serial: 1767139200, Entries: 9,
			Lacks: Bitmap{1, 1}},
			{Origin: "other", Key: testKey, Serial: 5, Has: Sums{{1}, {2}}},
			{Origin: "third", Key: testKey, Serial: 5, Entries: 9}},
		Wants: []Want{{Atom: "dev-libs/lib:0/2[ssl]", For: "app-misc/app-2", Why: Missing},
			{File: "foo-1.tar.gz", Why: Wished}, {Atom: "app-misc/x", For: "@world", Why: USE}},
		Refused: []Refusal{{"app-misc/bar-3", "cpu", "avx512f"}},
		Failed:  []Failure{{"app-misc/baz-1", "compile", 1767225000}},
	}
}

func TestRoundTrip(t *testing.T) {
	for _, r := range []*Record{whole(), {Format: Format, Role: Role, Client: "a",
		Fingerprint: testKey, Serial: 1, Minimal: true}} {
		data, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(data)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Fatalf("%+v, %v\nwant %+v", got, err, r)
		}
	}
}

// Each of these is refused as a whole, both ways.
func TestRefused(t *testing.T) {
	tests := map[string]func(*Record){
		"the record of an origin": func(r *Record) { r.Role = "" },
		"no serial":               func(r *Record) { r.Serial = 0 },
		"a name that climbs":      func(r *Record) { r.Client = ".." },
		"a name with a directory": func(r *Record) { r.Client = "a/b" },
		"a name with an escape":   func(r *Record) { r.Client = "a\x1b[2J" },
		"a reserved name":         func(r *Record) { r.Client = "Clients" },
		"no fingerprint":          func(r *Record) { r.Fingerprint = "ABCD" },
		"a list over the limit":   func(r *Record) { r.Installed.Bytes = MaxList + 1 },
		"a negative list":         func(r *Record) { r.Installed.Packages = -1 },
		"minimal with settings":   func(r *Record) { r.Minimal = true },
		"settings without roots":  func(r *Record) { r.Roots = nil },
		"an escape in a setting":  func(r *Record) { r.Machine.USE = "x\x1b]0;" },
		"a want of nothing":       func(r *Record) { r.Wants[0].Atom = "" },
		"a want of two things":    func(r *Record) { r.Wants[0].File = "x" },
		"a want that is a path":   func(r *Record) { r.Wants[1].File = "../shadow" },
		"a want with an escape":   func(r *Record) { r.Wants[1].File = "x\x1b[31m" },
		"a want that is a command": func(r *Record) {
			r.Wants[0].Atom = "dev-libs/lib; rm -rf /"
		},
		"a want that blocks":         func(r *Record) { r.Wants[0].Atom = "!dev-libs/lib" },
		"a want without a reason":    func(r *Record) { r.Wants[0].Why = "because" },
		"a want for no package":      func(r *Record) { r.Wants[0].For = "somebody" },
		"a receipt for a path":       func(r *Record) { r.Receipts[0].Origin = "../x" },
		"a receipt without bits":     func(r *Record) { r.Receipts[0].Lacks = Bitmap{1} },
		"a receipt with too many":    func(r *Record) { r.Receipts[0].Lacks = Bitmap{1, 2} },
		"a receipt of both kinds":    func(r *Record) { r.Receipts[0].Has = Sums{{1}} },
		"sums that are not sorted":   func(r *Record) { r.Receipts[1].Has = Sums{{2}, {1}} },
		"sums that come twice":       func(r *Record) { r.Receipts[1].Has = Sums{{1}, {1}} },
		"two receipts of one origin": func(r *Record) { r.Receipts[1].Origin = "bighost" },
		"too many receipts": func(r *Record) {
			r.Receipts = make([]Receipt, MaxReceipts+1)
		},
		"too many wants": func(r *Record) { r.Wants = make([]Want, MaxWants+1) },
		"a set that is no atom": func(r *Record) {
			r.Roots.Sets["x"] = []string{"$(reboot)"}
		},
		"a provided that is no name": func(r *Record) { r.Roots.Provided = []string{"foo"} },
		"a rule with a line break": func(r *Record) {
			r.Machine.Keywords[0].Words = []string{"~amd64\n"}
		},
		"a CPU with an escape":     func(r *Record) { r.Machine.CPU = []string{"\x07"} },
		"a failure of no package":  func(r *Record) { r.Failed[0].CPV = "x" },
		"a refusal with an escape": func(r *Record) { r.Refused[0].Text = "\x1b[1m" },
		"an atom of many bytes": func(r *Record) {
			r.Roots.World = []string{"a/" + strings.Repeat("b", maxAtom)}
		},
		"a catalogue over the limit":  func(r *Record) { r.Receipts[2].Entries = MaxEntries + 1 },
		"room below what is possible": func(r *Record) { r.Machine.Room.PKGDIR = -2 },
	}
	for name, change := range tests {
		r := whole()
		change(r)
		if _, err := r.Marshal(); err == nil {
			t.Errorf("%s: written", name)
		}
		data, err := jsonOf(r)
		if err != nil {
			t.Fatal(err)
		}
		var reason *Error
		if _, err := Parse(data); !errors.As(err, &reason) {
			t.Errorf("%s: %v", name, err)
		} else if strings.ContainsAny(err.Error(), "\x1b\x07\n") {
			t.Errorf("%s: the error has control characters: %q", name, err)
		}
	}
}

func TestNewerFormat(t *testing.T) {
	r := whole()
	r.Format = Format + 1
	data, err := jsonOf(r)
	if err != nil {
		t.Fatal(err)
	}
	var newer *FormatError
	if _, err := Parse(data); !errors.As(err, &newer) {
		t.Errorf("%v", err)
	}
	if _, err := Parse(append(bytes.Repeat([]byte(" "), MaxRecord), data...)); err == nil {
		t.Error("a request over the limit was taken")
	}
}

func TestReceipts(t *testing.T) {
	var catalogue []pkgindex.Entry
	for i := range 11 {
		e, err := pkgindex.Entry{}.With("CPV", fmt.Sprintf("app-misc/p%d-1", i), "SHA1",
			fmt.Sprintf("%02x%038d", i+1, 0))
		if err != nil {
			t.Fatal(err)
		}
		catalogue = append(catalogue, e)
	}
	here := map[string]bool{"app-misc/p0-1": true, "app-misc/p10-1": true, "app-misc/p7-1": true}
	r := NewReceipt("bighost", testKey, 7, catalogue, func(e pkgindex.Entry) bool {
		return here[e.CPV()]
	})
	has, err := r.Read(CatalogueSums(catalogue))
	if err != nil || len(has) != len(here) {
		t.Fatalf("%v, %v", has, err)
	}
	for _, e := range catalogue {
		sum, _ := SumOf(e)
		if has.Has(sum) != here[e.CPV()] {
			t.Errorf("%s: %v", e.CPV(), has.Has(sum))
		}
	}
	if _, err := r.Read(CatalogueSums(catalogue[1:])); err == nil {
		t.Error("another catalogue was taken for the one that the receipt is about")
	}
	all := NewReceipt("bighost", testKey, 7, catalogue, func(pkgindex.Entry) bool { return true })
	if has, err := all.Read(CatalogueSums(catalogue)); err != nil || len(has) != len(catalogue) ||
		len(all.Lacks) != 0 {
		t.Errorf("%v, %v, %v", has, all.Lacks, err)
	}
}

func TestInstalledList(t *testing.T) {
	p := resolve.Package{CPV: "app-misc/foo-1", Slot: "2", Sub: "2.1", Use: "amd64 elibc_glibc ssl",
		IUse: "+ssl -X", EAPI: "8", RDepend: "dev-libs/lib:0/2=", BuildTime: 1767000000,
		BuildID: "3", Repo: "gentoo", Keywords: "~amd64", License: "MIT",
		Provides: "x86_64: libfoo.so.1", CHOST: "x86_64-pc-linux-gnu"}
	e, err := InstalledEntry(&p)
	if err != nil {
		t.Fatal(err)
	}
	packed, c, err := PackList([]pkgindex.Entry{e}, 5)
	if err != nil {
		t.Fatal(err)
	}
	index, err := UnpackList(packed, c)
	if err != nil {
		t.Fatal(err)
	}
	got := resolve.FromKeys(index.Entries[0].Get)
	if p.Use = "ssl"; got != p {
		t.Errorf("%+v\nwant %+v", got, p)
	}
	for _, wrong := range []Counts{{c.Packages + 1, c.Bytes}, {c.Packages, c.Bytes - 1},
		{c.Packages, c.Bytes + 1}, {c.Packages, MaxList + 1}} {
		if _, err := UnpackList(packed, wrong); err == nil {
			t.Errorf("taken as %+v", wrong)
		}
	}
	if IsTaken(packed) || !IsTaken([]byte("\n\n")) || IsTaken(nil) {
		t.Error("IsTaken")
	}
	// a pull while it was blanked: any of its sectors
	torn := bytes.Repeat([]byte("\x28\xb5\n"), 1024)
	if IsTaken(torn) || IsTaken(append(torn, '\n')) {
		t.Error("a list with newlines in it is none that was blanked")
	}
	copy(torn[1024:], bytes.Repeat([]byte{'\n'}, 512))
	if !IsTaken(torn) {
		t.Error("a list that was half blanked")
	}
}

func TestAccept(t *testing.T) {
	r := whole()
	accept := r.Input(&pkgindex.Index{}).Accept
	tests := []struct {
		p    resolve.Package
		want resolve.ReasonKind
	}{
		{resolve.Package{CPV: "app-misc/foo-1", Keywords: "amd64", License: "MIT"},
			resolve.Acceptable},
		{resolve.Package{CPV: "app-misc/foo-1", Keywords: "~amd64", License: "MIT"},
			resolve.Keyword},
		{resolve.Package{CPV: "app-misc/foo-2", Keywords: "~amd64", License: "MIT"},
			resolve.Acceptable},
		{resolve.Package{CPV: "app-misc/foo-2", Keywords: "", License: "MIT"}, resolve.Keyword},
		{resolve.Package{CPV: "app-misc/foo-1", Keywords: "amd64", License: "EULA"},
			resolve.License},
		{resolve.Package{CPV: "app-misc/bar-1", Keywords: "amd64", License: "|| ( EULA OTHER )"},
			resolve.Acceptable},
		{resolve.Package{CPV: "dev-libs/lib-3", Keywords: "amd64", License: "MIT"}, resolve.Mask},
		{resolve.Package{CPV: "dev-libs/lib-3.1", Keywords: "amd64", License: "MIT"},
			resolve.Acceptable},
		{resolve.Package{CPV: "dev-libs/lib-1", Keywords: "amd64", License: "MIT", EAPI: "9"},
			resolve.Unreadable},
		{resolve.Package{CPV: "dev-libs/lib-1", Keywords: "amd64", License: "MIT",
			CHOST: "aarch64-unknown-linux-gnu"}, resolve.Machine},
	}
	for _, tt := range tests {
		if got := accept(tt.p, false); got.Kind != tt.want {
			t.Errorf("%+v: %+v, want %d", tt.p, got, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	data, err := whole().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format":1,"role":"request"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data)
		if err != nil {
			return
		}
		again, err := r.Marshal()
		if err != nil {
			t.Fatalf("read and not written: %v", err)
		}
		r2, err := Parse(again)
		if err != nil {
			t.Fatal(err)
		}
		if third, err := r2.Marshal(); err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%s\nthen %s, %v", again, third, err)
		}
		for _, w := range r.Wants {
			if w.Atom != "" {
				if _, err := depend.ParseAtom(w.Atom); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func FuzzUnpackList(f *testing.F) {
	packed, c, err := PackList(nil, 5)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed, c.Packages, c.Bytes)
	f.Fuzz(func(t *testing.T, packed []byte, n int, size int64) {
		if index, err := UnpackList(packed, Counts{n, size}); err == nil &&
			len(index.Entries) != n {
			t.Fatalf("%d entries for %d", len(index.Entries), n)
		}
	})
}

func jsonOf(r *Record) ([]byte, error) { return json.Marshal(r) }
