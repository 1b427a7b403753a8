package layout

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/payload"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func fullRecord() *Record {
	return &Record{
		Format: 1, Origin: "buildhost", Fingerprint: "0123456789ABCDEF0123456789ABCDEF01234567",
		Serial: epoch.Unix(), Created: epoch,
		Tool: "pkgsneak 1", CHOST: "x86_64-pc-linux-gnu", ARCH: "amd64",
		Profile: "default/linux/amd64/23.0", USE: "X ssl", CFLAGS: "-O2 -march=x86-64-v3",
		Repositories: []Repository{{Name: "gentoo", Revision: "0123abc",
			Timestamp: epoch.Add(-time.Hour)}, {Name: "local"}},
		Counts: Counts{Packages: 3, PackageBytes: 1 << 40, Distfiles: 2, DistfileBytes: 7,
			Catalogue: 5, CatalogueBytes: 4000},
		Has: &Holdings{Packages: Holding{Complete: true, Count: 5, Bytes: 1 << 41},
			Distfiles: Holding{Reason: "not looked at", Count: 2, Bytes: 7}},
		Renamed: []Renamed{{Kind: payload.Package, Path: "app-misc/foo-1.tbz2",
			Stored: "packages/app-misc/foo/foo-1-1.xpak"},
			{Kind: payload.Distfile, Path: "bad\xff\\name\n",
				Stored: "distfiles/ab/bad__name_.1.pkgsneak"}},
		Split: []Split{{Kind: payload.Distfile, Path: "big.tar", Size: 1 << 33,
			Sum:    digest.Bytes(nil),
			Stored: []string{"distfiles/01/big.tar.part01", "distfiles/02/big.tar.part02"}}},
	}
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	want := fullRecord()
	text, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseRecord(text)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(want, got) {
		t.Errorf("%+v\n%+v", want, got)
	}
	if !strings.Contains(string(text), `"bad\\xFF\\x5Cname\\x0A"`) {
		t.Errorf("paths are not escaped:\n%s", text)
	}
}

func TestRecordsThatAreRefused(t *testing.T) {
	t.Parallel()
	good, err := fullRecord().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string][2]string{
		"no JSON":            {"{", ""},
		"something behind":   {"}\n", "}\n{}"},
		"format 0":           {`"format": 1`, `"format": 0`},
		"format text":        {`"format": 1`, `"format": "1"`},
		"origin is a path":   {`"origin": "buildhost"`, `"origin": "../keys"`},
		"origin is reserved": {`"origin": "buildhost"`, `"origin": "keys"`},
		"fingerprint short":  {"0123456789ABCDEF0123456789ABCDEF01234567", "0123"},
		"serial 0":           {fmt.Sprintf(`"serial": %d`, epoch.Unix()), `"serial": 0`},
		"serial huge": {fmt.Sprintf(`"serial": %d`, epoch.Unix()),
			`"serial": 9007199254740993`},
		"escape in a value":       {"-O2 -march", `\u001b[2J`},
		"complete, and a reason":  {`"complete": true`, `"complete": true, "reason": "why"`},
		"not complete, no reason": {`"complete": true`, `"complete": false`},
		"negative count":          {`"packages": 3`, `"packages": -3`},
		"unknown kind":            {`"kind": "package"`, `"kind": "repo"`},
		"absolute path":           {"app-misc/foo-1.tbz2", "/etc/passwd"},
		"path with dots":          {"app-misc/foo-1.tbz2", "app-misc/../../foo-1.tbz2"},
		"path with zero":          {"app-misc/foo-1.tbz2", `app-misc/\\x00`},
		"distfile with slash":     {`"path": "big.tar"`, `"path": "a/big.tar"`},
		"bad escape":              {`\\xFF`, `\\xF`},
		"stored elsewhere":        {"packages/app-misc/foo/foo-1-1.xpak", "distfiles/00/foo"},
		"stored above":            {"packages/app-misc/foo/foo-1-1.xpak", "packages/../Manifest"},
		"stored is the index":     {"packages/app-misc/foo/foo-1-1.xpak", "packages/Packages"},
		"stored is the layout":    {"distfiles/01/big.tar.part01", "distfiles/layout.conf"},
		"part used twice":         {"distfiles/02/big.tar.part02", "distfiles/01/big.tar.part01"},
		"negative size":           {"8589934592", "-1"},
		"digest short":            {"786a02f7", ""},
	} {
		text := bytes.Replace(good, []byte(row[0]), []byte(row[1]), 1)
		if bytes.Equal(text, good) {
			t.Errorf("%s: changes nothing", name)
			continue
		}
		var refused *RecordError
		if _, err := ParseRecord(text); !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseRecord(make([]byte, MaxRecord+1)); err == nil {
		t.Error("too long, and taken")
	}
	var newer *FormatError
	if _, err := ParseRecord([]byte(`{"format": 3, "origin": {"new": "shape"}}`)); !errors.As(err,
		&newer) || newer.Format != 3 {
		t.Errorf("a newer format: %v", err)
	}
	if _, err := ParseRecord(bytes.Replace(good, []byte(`"tool"`),
		[]byte(`"added later": 1, "tool"`), 1)); err != nil {
		t.Errorf("a field that a later version adds: %v", err)
	}
}

func FuzzParseRecord(f *testing.F) {
	text, err := fullRecord().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format":1,"origin":"a","fingerprint":"0123456789ABCDEF0123456789ABCDEF01234567","serial":1,"created":"2026-01-01T00:00:00Z","counts":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r *Record
		var err error
		frugal(t, 4<<20+uint64(len(data))*200, func() { r, err = ParseRecord(data) })
		if err != nil {
			return
		}
		text, err := r.Marshal()
		if err != nil {
			t.Fatalf("%q is read and not written: %v", data, err)
		}
		again, err := ParseRecord(text)
		if err != nil {
			t.Fatalf("%q is written and not read: %v", text, err)
		}
		second, err := again.Marshal()
		if err != nil || !bytes.Equal(text, second) {
			t.Fatalf("%q, then %q: %v", text, second, err)
		}
	})
}

// frugal fails a test in which f allocates more than most bytes.
func frugal(t *testing.T, most uint64, f func()) {
	t.Helper()
	allocated := func() uint64 {
		sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	before := allocated()
	f()
	if took := allocated() - before; took > most {
		t.Errorf("%d bytes were allocated, more than %d", took, most)
	}
}
