package pkgindex

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// TestReadOddAsPortage reads odd indices (bytes that are no UTF-8, CR and CRLF, duplicate and
// unknown keys, headers with REPO, names from inside Portage, no VERSION) and writes what Portage's
// PackageIndex writes after it read them.
func TestReadOddAsPortage(t *testing.T) {
	d := json.NewDecoder(bytes.NewReader(readFile(t, "testdata/portage.jsonl")))
	n := 0
	for ; d.More(); n++ {
		var v struct {
			In        []byte
			Supported bool
			Out       string
		}
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		x := mustRead(t, v.In)
		if x.Header.Supported() != v.Supported {
			t.Errorf("supported is %v: %q", x.Header.Supported(), v.In)
		}
		x.SetTimestamp(5)
		if got := mustWrite(t, x); got != v.Out {
			t.Errorf("read %q\n got %q\nwant %q", v.In, got, v.Out)
		}
	}
	if n < 30 {
		t.Fatalf("only %d vectors", n)
	}
}

const plainHeader = "TIMESTAMP: 5\nVERSION: 0\n\n"

func TestReadOdd(t *testing.T) {
	long := strings.Repeat("dev-libs/glib:2 ", 3100) + "sys-libs/zlib" // 49,613 bytes
	for _, c := range []struct {
		name, text string
		entries    []string // CPVs
		remarks    []string
	}{
		{"empty file", "", nil,
			[]string{`VERSION is "", not 0: Portage counts this index as empty`}},
		{"version 1", "VERSION: 1\n\nCPV: a/b-1\n\n", []string{"a/b-1"},
			[]string{`VERSION is "1", not 0: Portage counts this index as empty`}},
		{"no final blank line", plainHeader + "CPV: a/b-1\n\nCPV: a/b-2\n",
			[]string{"a/b-1", "a/b-2"}, nil},
		{"no final line end", plainHeader + "CPV: a/b-1\n\nCPV: a/b-2",
			[]string{"a/b-1", "a/b-2"}, nil},
		{"line of 49 kB", plainHeader + "CPV: a/b-1\nRDEPEND: " + long + "\n\n",
			[]string{"a/b-1"}, nil},
		{"no blank after the colon", "VERSION:0\nTIMESTAMP:5\n\nCPV:a/b-1\nSIZE:17\n\n",
			[]string{"a/b-1"},
			[]string{"line 1: no blank after the colon: Portage loses the first letter of the value (4 times)"}},
		{"trailing blanks", "VERSION: 0 \n\nCPV: a/b-1 \t\nSIZE:  17\n\n", []string{"a/b-1"},
			[]string{"line 3: blanks around a value: left out (2 times)"}},
		{"blanks around a key", "VERSION: 0\n\n CPV : a/b-1\n\n", []string{"a/b-1"},
			[]string{"line 3: blanks around a key: left out"}},
		{"wrong count", "PACKAGES: 7\n" + plainHeader + "CPV: a/b-1\n\n", []string{"a/b-1"},
			[]string{`PACKAGES is "7", but there are 1 entries`}},
		{"count is no number", "PACKAGES: many\n" + plainHeader, nil,
			[]string{`PACKAGES is "many", but there are 0 entries`}},
		{"crlf", "VERSION: 0\r\n\r\nCPV: a/b-1\r\n\r\n", []string{"a/b-1"},
			[]string{"carriage returns at the end of 4 lines"}},
		{"cpv many times", plainHeader + strings.Repeat("BUILD_ID: 1\nCPV: a/b-1\n\n", 3),
			[]string{"a/b-1", "a/b-1", "a/b-1"}, nil},
		{"entries behind an empty block", plainHeader +
			"CPV: a/b-1\n\n\nCPV: a/b-2\n\nCPV: a/b-3\n\n", []string{"a/b-1", "a/b-2", "a/b-3"},
			[]string{"line 7: entries behind an empty block: Portage does not see them (2 times)"}},
		{"a block of unknown keys is an empty one", plainHeader + "SHA256: 00\n\nCPV: a/b-2\n\n",
			[]string{"a/b-2"},
			[]string{`line 4: key "SHA256" is none of an entry: dropped`,
				"line 6: entries behind an empty block: Portage does not see them"}},
		{"padding", plainHeader + "CPV: a/b-1\n\n" + strings.Repeat("\n", 100),
			[]string{"a/b-1"}, nil},
		{"unknown keys", plainHeader +
			"CPV: a/b-1\nSHA256: 1\nREPO_REVISIONS: {}\n\nCPV: a/b-2\nSHA256: 2\n\n",
			[]string{"a/b-1", "a/b-2"},
			[]string{`line 5: key "SHA256" is none of an entry: dropped (2 times)`}},
		{"line without colon", plainHeader + "CPV: a/b-1\n-----BEGIN\n\n", []string{"a/b-1"},
			[]string{"line 5: no colon in the line: dropped"}},
		{"line without key", plainHeader + "CPV: a/b-1\n: x\n\n", []string{"a/b-1"},
			[]string{"line 5: no key before the colon: dropped"}},
		{"duplicate keys", "VERSION: 1\nVERSION: 0\n\nCPV: a/b-1\nCPV: a/b-2\n\n",
			[]string{"a/b-2"},
			[]string{`line 2: header key "VERSION" occurs twice: the last one counts`,
				"line 5: key CPV occurs twice in an entry: the last one counts"}},
		{"no cpv", plainHeader + "SIZE: 17\n\nCPV: a/b-1\n\n", []string{"a/b-1"},
			[]string{`line 4: entry of "" dropped: no CPV`}},
		{"cpv without version", plainHeader + "CPV: a/b\n\n", nil,
			[]string{`line 4: entry of "a/b" dropped: not a category/package-version`}},
		{"cpv that climbs", plainHeader + "CPV: ../../etc/b-1\n\n", nil,
			[]string{`line 4: entry of "../../etc/b-1" dropped: not a category/package-version`}},
		{"path that climbs", plainHeader + "CPV: a/b-1\nPATH: a/../../b-1.tbz2\n\n", nil,
			[]string{`line 4: entry of "a/b-1" dropped: its PATH is none below PKGDIR`}},
		{"absolute path", plainHeader + "CPV: a/b-1\nPATH: /etc/passwd\n\n", nil,
			[]string{`line 4: entry of "a/b-1" dropped: its PATH is none below PKGDIR`}},
		{"escape sequence", plainHeader + "CPV: a/b-1\nKEYWORDS: \x1b[2J\n\nCPV: a/b-2\n\n",
			[]string{"a/b-2"},
			[]string{`line 4: entry of "a/b-1" dropped: control characters in KEYWORDS`}},
		{"c1 control character", plainHeader + "CPV: a/b-1\nUSE: \u009b2J\n\n", nil,
			[]string{`line 4: entry of "a/b-1" dropped: control characters in USE`}},
		{"nul in the header", "X: \x00\n" + plainHeader, nil,
			[]string{`line 1: control characters in header key "X": dropped`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.text),
				iotest.OneByteReader(strings.NewReader(c.text))} {
				x, err := Read(r)
				if err != nil {
					t.Fatal(err)
				}
				var entries, remarks []string
				for _, e := range x.Entries {
					entries = append(entries, e.CPV())
				}
				for _, r := range x.Remarks {
					remarks = append(remarks, r.String())
				}
				if !slices.Equal(entries, c.entries) {
					t.Errorf("entries %q, want %q", entries, c.entries)
				}
				if !slices.Equal(remarks, c.remarks) {
					t.Errorf("remarks\n got %q\nwant %q", remarks, c.remarks)
				}
			}
		})
	}
}

// TestReadValues holds what the values of odd lines are.
func TestReadValues(t *testing.T) {
	for _, c := range []struct{ name, text, key, want string }{
		{"no blank after the colon", "CPV:a/b-1\nSIZE:17\n", "SIZE", "17"},
		{"tab after the colon", "CPV:\ta/b-1\nSIZE:\t17\n", "SIZE", "17"},
		{"colon in the value", "CPV: a/b-1\nPROVIDES: x86_64: libb.so.1\n", "PROVIDES",
			"x86_64: libb.so.1"},
		{"inherited", "CPV: a/b-1\n", "CHOST", "i686-pc-linux-gnu"},
		{"inherited repository", "CPV: a/b-1\n", "repository", "local"},
		{"its own", "CHOST: armv7a\nCPV: a/b-1\n", "CHOST", "armv7a"},
		{"last one counts", "SLOT: 3\nCPV: a/b-1\nSLOT: 5\n", "SLOT", "5"},
		{"last one is empty", "USE: ssl\nCPV: a/b-1\nUSE:\n", "USE", ""},
		{"default", "CPV: a/b-1\n", "EAPI", "0"},
		{"name inside portage", "CPV: a/b-1\n_mtime_: 17\n", "MTIME", "17"},
		{"description", "CPV: a/b-1\nDESC: some words\n", "DESCRIPTION", "some words"},
		{"latin 1", "CPV: a/b-1\nDESC: Stra\xdfe\n", "DESC", "Stra\uFFFDe"},
		{"cut off character", "CPV: a/b-1\nDESC: \xe2\x82 \xf0\x9f\x98x\n", "DESC",
			"\uFFFD \uFFFDx"},
		{"surrogate", "CPV: a/b-1\nDESC: x\xed\xa0\x80x\n", "DESC", "x\uFFFD\uFFFD\uFFFDx"},
		{"long value", "CPV: a/b-1\nDEPEND: " + strings.Repeat("x", 70000) + "\nUSE: ssl\n",
			"USE", "ssl"},
	} {
		x := mustRead(t,
			[]byte("CHOST: i686-pc-linux-gnu\nREPO: local\nVERSION: 0\n\n"+c.text+"\n"))
		if len(x.Entries) != 1 || x.Entries[0].Get(c.key) != c.want {
			t.Errorf("%s: %q, want %s %q", c.name, x.Entries, c.key, c.want)
		}
	}
}

func TestHeaderSurvives(t *testing.T) {
	in := "ZZZ: last\nVERSION: 0\nGENTOO_MIRRORS:    http://a    http://b \nTIMESTAMP: 5\nX-OWN: 1\nREPO: local\nEMPTY:\nDESC: d\nCHOST: i686\n\n" +
		"CPV: a/b-1\n\nCHOST: armv7a\nCPV: a/b-2\nREPO: gentoo\n\n"
	want := "CHOST: i686\nDESC: d\nGENTOO_MIRRORS:    http://a    http://b \nPACKAGES: 2\nTIMESTAMP: 5\nVERSION: 0\nX-OWN: 1\nZZZ: last\nREPO: local\n\n" +
		"CPV: a/b-1\n\nCHOST: armv7a\nCPV: a/b-2\nREPO: gentoo\n\n"
	wantText(t, mustWrite(t, mustRead(t, []byte(in))), want)
}

func TestLimits(t *testing.T) {
	repeat := func(s string, n int) io.Reader { return io.LimitReader(&cycle{text: s}, int64(n)) }
	for _, c := range []struct {
		name string
		r    io.Reader
		want string
	}{
		{"line", repeat("x", MaxLine+2), "read index: line 1: longer than 1048576 bytes"},
		{"header", repeat("a: b\n", MaxBlock+5),
			fmt.Sprintf("read index: line %d: a block longer than 2097152 bytes", MaxBlock/5+1)},
		{"block", io.MultiReader(strings.NewReader(plainHeader), repeat("USE: b\n", MaxBlock+7)),
			"a block longer than 2097152 bytes"},
		{"entries", io.MultiReader(strings.NewReader(plainHeader),
			repeat("CPV: a/b-1\n\n", 12*(MaxEntries+1))), "more than 1000000 entries"},
		{"empty blocks", io.MultiReader(strings.NewReader(plainHeader), repeat("\n", 1<<30)),
			"the index is longer than 268435456 bytes"},
		{"empty blocks at the end of lines", io.MultiReader(strings.NewReader(plainHeader),
			repeat("\r\n", 1<<21), repeat("\n", 1<<30)),
			"the index is longer than 268435456 bytes"},
		{"index", repeat("SHA256: "+strings.Repeat("0", 100_000)+"\n\n", MaxSize+1),
			"the index is longer than 268435456 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, err := Read(c.r)
			var e *FormatError
			if x != nil || !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
	if _, err := Read(repeat("x", MaxLine)); err != nil {
		t.Errorf("a line of MaxLine: %v", err)
	}
}

// A line or a block that is too long costs an index of this machine's own no more than its entry:
// the others are read, and it is told. From elsewhere it is refused.
func TestLongLinesCostTheirEntry(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	for name, text := range map[string]string{
		"line":            plainHeader + "CPV: a/b-1\nDESC: " + long + "\n\nCPV: a/c-1\n\n",
		"line at its end": plainHeader + "CPV: a/c-1\n\nCPV: a/b-1\nDESC: " + long,
		"first line":      plainHeader + "DESC: " + long + "\nCPV: a/b-1\n\nCPV: a/c-1\n\n",
		"block": plainHeader + "CPV: a/b-1\n" +
			strings.Repeat("KEYWORDS: "+long[:MaxLine/2]+"\n", 5) + "\nCPV: a/c-1\n\n",
		"header":      "FEATURES: " + long + "\n" + plainHeader + "CPV: a/c-1\n\n",
		"long header": strings.Repeat("a: b\n", MaxBlock/5+1) + "\nCPV: a/c-1\n\n",
	} {
		x, err := ReadLocal(strings.NewReader(text), nil)
		if err != nil || len(x.Entries) != 1 || x.Entries[0].CPV() != "a/c-1" {
			t.Errorf("%s: %v, %v", name, x, err)
			continue
		}
		if !slices.ContainsFunc(x.Remarks, func(r Remark) bool {
			return r.Dropped &&
				strings.Contains(r.Reason, "longer than")
		}) {
			t.Errorf("%s: remarks %v", name, x.Remarks)
		}
		var e *FormatError
		if x, err := Read(strings.NewReader(text)); x != nil || !errors.As(err, &e) {
			t.Errorf("%s: read from elsewhere: %v", name, err)
		}
	}
}

// A block that is too long is told once, not once a line: an index that is nothing else takes no
// time and no memory.
func TestEndlessBlockIsSaidOnce(t *testing.T) {
	text := "a: b\n"
	x, err := ReadLocal(io.LimitReader(&cycle{text: text}, 10*MaxBlock), nil)
	if err != nil || len(x.Entries) != 0 {
		t.Fatalf("%v, %v", x, err)
	}
	for _, r := range x.Remarks {
		if strings.Contains(r.Reason, "longer than") && r.Count != 1 {
			t.Errorf("%q is said %d times", r.Reason, r.Count)
		}
	}
}

// cycle reads text over and over.
type cycle struct {
	text string
	at   int
}

func (c *cycle) Read(p []byte) (int, error) {
	n := copy(p, c.text[c.at:])
	if n == len(c.text) { // doubled as often as it goes in
		for n < len(p) {
			n += copy(p[n:], p[:n])
		}
	}
	c.at = (c.at + n) % len(c.text)
	return n, nil
}

func TestRemarksAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(plainHeader + "CPV: a/b-1\n")
	for i := range 5000 {
		fmt.Fprintf(&b, "K%d: x\n", i)
	}
	x := mustRead(t, []byte(b.String()))
	total := 0
	for _, r := range x.Remarks {
		total += r.Count
	}
	if len(x.Remarks) > maxRemarks+1 || total != 5000 {
		t.Errorf("%d remarks about %d lines", len(x.Remarks), total)
	}
}

func TestReadFails(t *testing.T) {
	broken := errors.New("media error")
	x, err := Read(io.MultiReader(strings.NewReader(plainHeader+"CPV: a/b-1\n\n"),
		iotest.ErrReader(broken)))
	if x != nil || !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}

// readSlowly is Read without quickEntry, which looks at no block behind a CR.
func readSlowly(text []byte) (*Index, error) {
	p := parser{lines: newLineReader(bytes.NewReader(text)), remarks: make(map[string]int)}
	p.lines.returns++
	if err := cmp.Or(p.readHeader(), p.readEntries()); err != nil {
		return nil, err
	}
	p.lines.returns--
	p.remarkHeader()
	return &p.index, nil
}

// A block that stands in the file as in an entry is taken as it is; any other is taken apart, and
// both come to the same.
func TestQuickBlocks(t *testing.T) {
	t.Parallel()
	const first, last = "CPV: a/b-1\n", "PATH: a/b-1.xpak\nSIZE: 3\nMTIME: 5\n"
	for _, tt := range []struct {
		block string
		quick bool
	}{
		{first + last, true},
		{"CHOST: other\n" + first + last, true},
		{"BUILD_ID: 1\nCHOST: other\n" + first + last + "REPO: mine\n", true},
		{"BUILD_ID: 1\n" + first + last + "REPO: mine\n", true},
		{first, true},
		{first + "DESC: tab\tinside\n", true},
		{first + "DESC: \u00fcmlaut\n", false},
		{first + "EAPI: 0\n", false},
		{first + "EAPI: \n", false},
		{first + "EAPI:8\n", false},
		{first + "EAPI: 8 \n", false},
		{first + "EAPI:  8\n", false},
		{first + " EAPI: 8\n", false},
		{first + "EAPI: 8\nEAPI: 8\n", false},
		{first + "SIZE: 3\nEAPI: 8\n", false},
		{first + "NEWKEY: 8\n", false},
		{first + "REPO_REVISIONS: 8\n", false},
		{first + "nothing\n", false},
		{first + "DESC: bell\a\n", false},
		{first + "PATH: ../b\n", false},
		{first + "DESC: return\r\n", false},
		{"CPV: none\n" + last, false},
		{last, false},
	} {
		for _, header := range []string{"", "CHOST: x86_64-pc-linux-gnu\nREPO: gentoo\n"} {
			text := []byte(header + "VERSION: 0\n\n" + tt.block + "\n" + "CPV: a/c-1\n\n")
			quick, err := Read(bytes.NewReader(text))
			slow, slowErr := readSlowly(text)
			if err != nil || slowErr != nil || !reflect.DeepEqual(quick, slow) {
				t.Errorf("%q: %v %+v, and %v %+v where each block is taken apart", tt.block, err,
					quick, slowErr, slow)
			}
			p := parser{lines: newLineReader(strings.NewReader(tt.block + "\n"))}
			_, _ = p.lines.r.Peek(1) // fills the buffer
			if _, ok := p.quickEntry(); ok != tt.quick {
				t.Errorf("%q is quick: %v", tt.block, ok)
			}
		}
	}
}

// A quick block keeps to the limits of any other.
func TestQuickBlocksAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", MaxLine-100)
	text := "CHOST: " + long + "\nREPO: " + long + "\n\nCPV: a/b-1\nDESC: " + long[:2000] + "\n\n"
	quick, err := Read(strings.NewReader(text))
	slow, slowErr := readSlowly([]byte(text))
	if err != nil || slowErr != nil || len(quick.Entries) != 0 ||
		!reflect.DeepEqual(quick.Remarks, slow.Remarks) {
		t.Errorf("%v %d entries, %v; and %v, %v", err, len(quick.Entries), quick.Remarks, slowErr,
			slow.Remarks)
	}
	l := newLineReader(strings.NewReader("CPV: a/b-1\n\n"))
	if l.block() == nil {
		t.Error("no block in the buffer")
	}
	l.size = MaxSize - 5
	if l.skip(len(l.block()), 1) {
		t.Error("an index that is too long goes on")
	}
	if l.size, l.returns = 0, 1; l.block() != nil {
		t.Error("each block of lines that end in CR is looked for in all of the buffer")
	}
}

// FuzzRead holds that what Read returns can be written, is the same when read again, and that
// nothing in it escapes its line.
func FuzzRead(f *testing.F) {
	for _, layout := range layouts {
		f.Add(readFile(f, golden+layout+"/Packages"))
	}
	d := json.NewDecoder(bytes.NewReader(readFile(f, "testdata/portage.jsonl")))
	for d.More() {
		var v struct{ In []byte }
		if err := d.Decode(&v); err != nil {
			f.Fatal(err)
		}
		f.Add(v.In)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var x *Index
		var err error
		// An entry has places for all keys, the shortest has ten bytes.
		frugal(t, 4<<20+uint64(len(text))*500, func() { x, err = Read(bytes.NewReader(text)) })
		slow, slowErr := readSlowly(text)
		if fmt.Sprint(err) != fmt.Sprint(slowErr) || !reflect.DeepEqual(x, slow) {
			t.Fatalf("%q: %v %+v, and %v %+v where each block is taken apart", text, err, x,
				slowErr, slow)
		}
		if err != nil {
			return
		}
		x.SetTimestamp(5)
		first, err := x.MarshalText()
		if err != nil {
			t.Fatalf("not written: %v", err)
		}
		y, err := Read(bytes.NewReader(first))
		if err != nil || len(y.Remarks) > 0 {
			t.Fatalf("%v, remarks %v about %q", err, y.Remarks, first)
		}
		x.Header.Set("VERSION", y.Header.Get("VERSION"))
		if !sameContent(x, y) {
			t.Fatalf("%q says something else than %q", first, text)
		}
		if second, err := y.MarshalText(); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%v\n%q\n%q", err, first, second)
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

// sameContent reports whether two indices are the same: the same header but for TIMESTAMP and
// PACKAGES, and the same entries in whatever order. It does not matter whether an entry has CHOST
// and REPO itself or from its header.
func sameContent(a, b *Index) bool {
	if len(a.Entries) != len(b.Entries) || !a.Header.Same(b.Header) {
		return false
	}
	seen := make(map[string]int, len(a.Entries))
	for _, e := range a.Entries {
		seen[Rebase(e, a.Header, Header{}).text]++
	}
	for _, e := range b.Entries {
		text := Rebase(e, b.Header, Header{}).text
		if seen[text] == 0 {
			return false
		}
		seen[text]--
	}
	return true
}
