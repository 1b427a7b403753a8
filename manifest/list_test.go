package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const zeros = "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"

func TestTextOfGematoIsReadAndWrittenAlike(t *testing.T) {
	t.Parallel()
	text := readTestdata(t, "Manifest.gemato")
	l, err := parseList(text)
	if err != nil {
		t.Fatal(err)
	}
	if want := signTime; !l.Timestamp.Equal(want) {
		t.Errorf("timestamp %v, want %v", l.Timestamp, want)
	}
	for _, name := range []string{" leading", "two  blanks ", "no-break\u00a0space", "wide\u3000",
		"line\u2028sep", "ümläut/é", "zero\u200bwidth"} {
		// The content of each file of the vector is its name.
		f, ok := (&Signed{List: l}).Find(name)
		if !ok || f.Size != int64(len(name)) {
			t.Errorf("%q: %v, %v", name, f, ok)
		}
	}
	if want := []string{"Manifest.next", "not this"}; !slices.Equal(l.Ignore, want) {
		t.Errorf("ignored %q, want %q", l.Ignore, want)
	}
	slices.Reverse(l.Files)
	slices.Reverse(l.Ignore)
	written, err := l.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(written, text) {
		t.Errorf("written\n%s\nwant\n%s", written, text)
	}
}

func TestMarshalTextLeavesTheListAlone(t *testing.T) {
	t.Parallel()
	l := sampleList()
	slices.Reverse(l.Files)
	before := &List{l.Timestamp, slices.Clone(l.Files), slices.Clone(l.Ignore)}
	if _, err := l.MarshalText(); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(l, before) {
		t.Errorf("changed to %v", l)
	}
}

func TestMarshalTextIsTheSameInAnyTimeZone(t *testing.T) {
	t.Parallel()
	a, b := sampleList(), sampleList()
	b.Timestamp = b.Timestamp.In(time.FixedZone("far", 13*3600))
	textA, errA := a.MarshalText()
	textB, errB := b.MarshalText()
	if errA != nil || errB != nil || !bytes.Equal(textA, textB) {
		t.Errorf("%v %v\n%s\n%s", errA, errB, textA, textB)
	}
}

// badPaths are refused both when they are written and when they are read.
var badPaths = map[string]string{
	"empty":                 "",
	"absolute":              "/etc/passwd",
	"root":                  "/",
	"parent":                "..",
	"parent-inside":         "packages/../../etc/passwd",
	"parent-last":           "packages/..",
	"dot":                   ".",
	"dot-inside":            "packages/./x",
	"empty-component":       "packages//x",
	"trailing-slash":        "packages/",
	"nul":                   "a\x00b",
	"newline":               "a\nDATA b",
	"carriage-return":       "a\r",
	"tab":                   "a\tb",
	"escape-sequence":       "a\x1b[2Jb",
	"delete":                "a\x7f",
	"c1-control":            "a\u009b31m",
	"next-line":             "a\u0085b",
	"backslash":             `a\b`,
	"drive-letter-parent":   `..\..\x`,
	"not-utf8":              "a\xff",
	"overlong-utf8":         "a\xc0\xaf..",
	"surrogate":             "a\xed\xa0\x80",
	"component-of-256":      strings.Repeat("a", 256),
	"component-of-300":      "packages/" + strings.Repeat("a", 300) + "/x",
	"path-of-4096":          strings.Repeat("a/", 2047) + "aa",
	"path-of-a-megabyte":    strings.Repeat("a/", 500_000) + "a",
	"path-of-unicode-rests": "a\u2028\n",
}

func TestBadPathsAreNotWritten(t *testing.T) {
	t.Parallel()
	for name, path := range badPaths {
		t.Run(name, func(t *testing.T) {
			for where, l := range map[string]*List{
				"file":   {Timestamp: signTime, Files: []File{{Path: "a"}, {Path: path}}},
				"ignore": {Timestamp: signTime, Ignore: []string{"a", path}},
			} {
				text, err := l.MarshalText()
				if kindOf(err) != badFormat || text != nil {
					t.Errorf("%s: %v, %d bytes", where, err, len(text))
				} else if len(err.Error()) > 500 {
					t.Errorf("%s: an error of %d bytes", where, len(err.Error()))
				}
			}
		})
	}
}

func TestGoodPathsComeBack(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"a", "...", "..a", ".hidden", "a/.b/..c", "-dash", "- DATA", "~",
		"100%", "é", "\ufffd", "\ufeffbom", "x20", "\u200f",
		"  ", "\u3000", strings.Repeat("a", MaxName), strings.Repeat("a/", 2047) +
			"a", strings.Repeat(strings.Repeat("\u00a0", 100)+"/", 20) + "x"} {
		l := &List{Timestamp: signTime, Files: []File{{Path: path, Size: 1, Sum: sum(path)}}}
		text, err := l.MarshalText()
		if err != nil {
			t.Errorf("%q: %v", clip(path), err)
			continue
		}
		for line := range bytes.Lines(text) {
			if len(line) > 19_000 {
				t.Errorf("%q: a line of %d bytes; gpg cuts at 19995", clip(path), len(line))
			}
		}
		back, err := parseList(text)
		if err != nil || !reflect.DeepEqual(&back, l) {
			t.Errorf("%q: %v, %v", clip(path), back, err)
		}
	}
}

func TestListsThatCouldNotBeReadAreNotWritten(t *testing.T) {
	t.Parallel()
	many := make([]File, MaxFiles+1)
	for i := range many {
		many[i].Path = fmt.Sprint(i)
	}
	huge := make([]File, MaxFiles)
	for i := range huge {
		huge[i].Path = fmt.Sprintf("%0200d", i)
	}
	ignore := make([]string, MaxIgnore+1)
	for i := range ignore {
		ignore[i] = fmt.Sprint(i)
	}
	for name, l := range map[string]*List{
		"path-twice": {Timestamp: signTime,
			Files: []File{{Path: "a", Size: 1}, {Path: "b"}, {Path: "a"}}},
		"ignored-twice": {Timestamp: signTime, Ignore: []string{"a", "a"}},
		"file-ignored": {Timestamp: signTime, Files: []File{{Path: "a"}},
			Ignore: []string{"a"}},
		"directory-ignored": {Timestamp: signTime, Files: []File{{Path: "a-b"}, {Path: "a/b/c"}},
			Ignore: []string{"a/b"}},
		"negative-size": {Timestamp: signTime, Files: []File{{Path: "a", Size: -1}}},
		"size-over-2^53": {Timestamp: signTime,
			Files: []File{{Path: "a", Size: MaxFileSize + 1}}},
		"no-time":          {},
		"before-1970":      {Timestamp: time.Unix(-1, 0)},
		"after-9999":       {Timestamp: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"half-a-second":    {Timestamp: signTime.Add(time.Second / 2)},
		"too-many-files":   {Timestamp: signTime, Files: many},
		"too-much-text":    {Timestamp: signTime, Files: huge},
		"too-many-ignored": {Timestamp: signTime, Ignore: ignore},
		"ignored-parent-of-a": {Timestamp: signTime, Files: []File{{Path: "a/b"}},
			Ignore: []string{"a"}},
	} {
		if text, err := l.MarshalText(); kindOf(err) != badFormat || text != nil {
			t.Errorf("%s: %v, %d bytes", name, err, len(text))
		}
	}
	ok := &List{Timestamp: signTime, Files: []File{{Path: "ab"}, {Path: "b/a"}},
		Ignore: []string{"a", "b/a.", "b/b"}}
	if _, err := ok.MarshalText(); err != nil {
		t.Error(err)
	}
}

// line returns a DATA line.
func line(path, size string) string {
	return "DATA " + path + " " + size + " BLAKE2B " + zeros + "\n"
}

func TestTextsThatAreSignedButNotCanonical(t *testing.T) {
	t.Parallel()
	const head = "TIMESTAMP 2026-03-01T12:00:00Z\n"
	tests := map[string]struct {
		text string
		line int
	}{
		"nothing":                  {"", 0},
		"blank-line":               {"\n", 1},
		"no-timestamp":             {line("a", "1"), 1},
		"two-timestamps":           {head + head, 2},
		"timestamp-last":           {line("a", "1") + head, 1},
		"timestamp-with-zone":      {"TIMESTAMP 2026-03-01T12:00:00+00:00\n", 1},
		"timestamp-lower-case":     {"TIMESTAMP 2026-03-01t12:00:00z\n", 1},
		"timestamp-with-fraction":  {"TIMESTAMP 2026-03-01T12:00:00.5Z\n", 1},
		"timestamp-leap-second":    {"TIMESTAMP 2026-03-01T12:00:60Z\n", 1},
		"timestamp-30-february":    {"TIMESTAMP 2026-02-30T12:00:00Z\n", 1},
		"timestamp-one-digit":      {"TIMESTAMP 2026-3-01T12:00:00Z\n", 1},
		"timestamp-before-1970":    {"TIMESTAMP 1969-12-31T23:59:59Z\n", 1},
		"timestamp-year-10000":     {"TIMESTAMP 10000-01-01T00:00:00Z\n", 1},
		"timestamp-and-more":       {"TIMESTAMP 2026-03-01T12:00:00Z x\n", 1},
		"empty-line-inside":        {head + "\n" + line("a", "1"), 2},
		"empty-line-last":          {head + line("a", "1") + "\n", 3},
		"leading-blank":            {head + " " + line("a", "1"), 2},
		"two-blanks":               {head + "DATA  a 1 BLAKE2B " + zeros + "\n", 2},
		"tab-for-blank":            {head + "DATA\ta 1 BLAKE2B " + zeros + "\n", 2},
		"no-break-space-for-blank": {head + "DATA\u00a0a 1 BLAKE2B " + zeros + "\n", 2},
		"unknown-tag":              {head + "EVIL a\n", 2},
		"comment":                  {head + "# comment\n", 2},
		"tag-manifest":             {head + "MANIFEST a 1 BLAKE2B " + zeros + "\n", 2},
		"tag-dist":                 {head + "DIST a 1 BLAKE2B " + zeros + "\n", 2},
		"tag-ebuild":               {head + "EBUILD a 1 BLAKE2B " + zeros + "\n", 2},
		"tag-misc":                 {head + "MISC a 1 BLAKE2B " + zeros + "\n", 2},
		"tag-aux":                  {head + "AUX a 1 BLAKE2B " + zeros + "\n", 2},
		"tag-optional":             {head + "OPTIONAL a\n", 2},
		"tag-lower-case":           {head + "data a 1 BLAKE2B " + zeros + "\n", 2},
		"data-alone":               {head + "DATA\n", 2},
		"data-blank":               {head + "DATA \n", 2},
		"no-size":                  {head + "DATA a\n", 2},
		"no-hash":                  {head + "DATA a 1\n", 2},
		"hash-without-value":       {head + "DATA a 1 BLAKE2B\n", 2},
		"hash-of-odd-length":       {head + "DATA a 1 BLAKE2B " + zeros[1:] + "\n", 2},
		"hash-too-long":            {head + "DATA a 1 BLAKE2B " + zeros + "00\n", 2},
		"hash-upper-case": {
			head + "DATA a 1 BLAKE2B " + strings.Repeat("A", 128) + "\n", 2},
		"hash-not-hex": {
			head + "DATA a 1 BLAKE2B " + strings.Repeat("g", 128) + "\n", 2},
		"hash-twice": {
			head + "DATA a 1 BLAKE2B " + zeros + " BLAKE2B " + zeros + "\n", 2},
		"second-hash": {
			head + "DATA a 1 BLAKE2B " + zeros + " SHA512 " + zeros + "\n", 2},
		"weak-hash":                {head + "DATA a 1 MD5 d41d8cd98f00b204e9800998ecf8427e\n", 2},
		"other-hash":               {head + "DATA a 1 SHA512 " + zeros + "\n", 2},
		"size-negative":            {head + line("a", "-1"), 2},
		"size-plus":                {head + line("a", "+1"), 2},
		"size-leading-zero":        {head + line("a", "01"), 2},
		"size-double-zero":         {head + line("a", "00"), 2},
		"size-empty":               {head + line("a", ""), 2},
		"size-hex":                 {head + line("a", "0x1"), 2},
		"size-underscore":          {head + line("a", "1_0"), 2},
		"size-exponent":            {head + line("a", "1e3"), 2},
		"size-over-2^53":           {head + line("a", "9007199254740993"), 2},
		"size-over-2^64":           {head + line("a", "18446744073709551617"), 2},
		"size-endless":             {head + line("a", strings.Repeat("9", 10_000)), 2},
		"size-arabic-digit":        {head + line("a", "١"), 2},
		"path-empty":               {head + line("", "1"), 2},
		"path-twice":               {head + line("a", "1") + line("a", "2"), 3},
		"path-twice-escaped":       {head + line("a", "1") + line(`\x61`, "2"), 3},
		"path-not-sorted":          {head + line("b", "1") + line("a", "2"), 3},
		"path-sorted-when-escaped": {head + line("a!", "1") + line(`a\x20b`, "2"), 3},
		"escape-needless":          {head + line(`\x61`, "1"), 2},
		"escape-of-slash":          {head + line(`\x2F`+"etc", "1"), 2},
		"escape-of-dots":           {head + line(`\x2E\x2E/x`, "1"), 2},
		"escape-of-nul":            {head + line(`a\x00`, "1"), 2},
		"escape-of-newline":        {head + line(`a\x0A`, "1"), 2},
		"escape-of-backslash":      {head + line(`a\x5Cb`, "1"), 2},
		"escape-of-control":        {head + line(`a\x1Bb`, "1"), 2},
		"escape-of-c1":             {head + line(`a\u0085b`, "1"), 2},
		"escape-lower-case":        {head + line(`a\u00a0b`, "1"), 2},
		"escape-long-form":         {head + line(`a\u0020b`, "1"), 2},
		"escape-longer-form":       {head + line(`a\U00000020b`, "1"), 2},
		"escape-x-above-7f":        {head + line(`a\xA0b`, "1"), 2},
		"escape-of-surrogate":      {head + line(`a\uD800b`, "1"), 2},
		"escape-cut-off":           {head + line(`a\x2`, "1"), 2},
		"escape-alone":             {head + line(`a\`, "1"), 2},
		"escape-unknown":           {head + line(`a\n`, "1"), 2},
		"space-not-escaped":        {head + line("a\u00a0b", "1"), 2},
		"ideographic-not-escaped":  {head + line("a\u3000b", "1"), 2},
		"vertical-tab":             {head + line("a\vb", "1"), 2},
		"file-separator":           {head + line("a\x1cb", "1"), 2},
		"nul-in-path":              {head + line("a\x00b", "1"), 2},
		"not-utf8":                 {head + line("a\xff", "1"), 2},
		"ignore-twice":             {head + "IGNORE a\nIGNORE a\n", 3},
		"ignore-not-sorted":        {head + "IGNORE b\nIGNORE a\n", 3},
		"ignore-before-data":       {head + "IGNORE a\n" + line("b", "1"), 3},
		"ignore-of-a-file":         {head + line("a", "1") + "IGNORE a\n", 3},
		"ignore-of-a-directory":    {head + line("a/b", "1") + "IGNORE a\n", 3},
		"ignore-with-size":         {head + "IGNORE a 1\n", 2},
		"ignore-parent":            {head + "IGNORE ..\n", 2},
		"ignore-nothing":           {head + "IGNORE \n", 2},
		"a-million-lines": {head + strings.Repeat("IGNORE a\n", 1_000_000),
			2 + MaxIgnore},
		"an-endless-line":           {head + line(strings.Repeat("a/", 4<<20)+"a", "1"), 2},
		"an-endless-ignore":         {head + "IGNORE " + strings.Repeat("a", 4<<20) + "\n", 2},
		"an-endless-unknown-tag":    {head + strings.Repeat("A", 4<<20) + "\n", 2},
		"an-endless-timestamp":      {"TIMESTAMP " + strings.Repeat("2", 4<<20) + "\n", 1},
		"signed-armor-of-its-own":   {head + "Hash: SHA512\n", 2},
		"more-files-than-the-limit": {head + manyLines(MaxFiles+1), MaxFiles + 2},
	}
	for name, path := range badPaths {
		tests["path-"+name] = struct {
			text string
			line int
		}{head + line("_", "1") + line(path, "1"), 0}
	}
	k := newKey(t, "origin")
	ring := Ring{k.Public()}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			signed, err := Open(forge(t, k, test.text, nil), ring, signTime)
			got := kindOf(err)
			// A text with bytes that clear-signing would not hash is refused before it is hashed.
			frame := got == badSig && strings.ContainsAny(test.text, "\r")
			blank := got == badSig && (strings.Contains(test.text, " \n") ||
				strings.Contains(test.text, "\t\n"))
			if got != badFormat && !frame && !blank || signed != nil {
				t.Fatalf("%v, %v", signed, err)
			}
			if len(err.Error()) > 500 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			var format *FormatError
			if errors.As(err, &format) && test.line != 0 && format.Line != test.line {
				t.Errorf("line %d, want %d: %v", format.Line, test.line, err)
			}
			if got == badFormat && errors.Is(err, ErrUntrusted) {
				t.Errorf("%v is a matter of trust", err)
			}
		})
	}
	t.Logf("%d texts", len(tests))
}

func manyLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "DATA %06d 1 BLAKE2B %s\n", i, zeros)
	}
	return b.String()
}

func TestParseListWantsTheLastNewline(t *testing.T) {
	t.Parallel()
	if _, err := parseList([]byte("TIMESTAMP 2026-03-01T12:00:00Z")); kindOf(err) != badFormat {
		t.Error(err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	s := &Signed{List: *sampleList()}
	for _, want := range s.Files {
		if got, ok := s.Find(want.Path); !ok || got != want {
			t.Errorf("%q: %v, %v", want.Path, got, ok)
		}
	}
	for _, path := range []string{"", "packages", "packages/Packages/", "zzz", "Manifest.next"} {
		if got, ok := s.Find(path); ok || got != (File{}) {
			t.Errorf("%q: %v", path, got)
		}
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	d := sum("x")
	back, err := ParseDigest(d.String())
	if err != nil || back != d {
		t.Errorf("%v, %v", back, err)
	}
	for _, s := range []string{"", "0", zeros[1:], zeros + "0", strings.ToUpper(d.String()),
		strings.Repeat("g", 128)} {
		if d, err := ParseDigest(s); err == nil || d != (Digest{}) {
			t.Errorf("%q: %v", s, d)
		}
	}
}

func TestCollisions(t *testing.T) {
	t.Parallel()
	paths := []string{"A/b", "a/B", "a/c", "KELVIN", "\u212aelvin", "kelvin", "straße", "STRASSE",
		"É", "é", "e\u0301", "ſ", "S", "a/b"}
	want := [][]string{{"A/b", "a/B", "a/b"}, {"KELVIN", "\u212aelvin", "kelvin"},
		{"É", "é"}, {"ſ", "S"}}
	if got := Collisions(paths); !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := Collisions(nil); got != nil {
		t.Errorf("%q", got)
	}
}

func FuzzParseList(f *testing.F) {
	f.Add(readTestdata(f, "Manifest.gemato"))
	f.Add([]byte("TIMESTAMP 2026-03-01T12:00:00Z\n" + line("a", "1") + line(`a\x20b`, "0") +
		"IGNORE Manifest.next\n"))
	for _, path := range badPaths {
		if len(path) < 1000 {
			f.Add([]byte("TIMESTAMP 2026-03-01T12:00:00Z\n" + line(path, "1")))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<16 {
			return
		}
		l, err := parseList(text)
		if err != nil {
			if kindOf(err) != badFormat || !reflect.DeepEqual(l, List{}) {
				t.Fatalf("%v, %v", l, err)
			}
			return
		}
		back, err := l.MarshalText()
		if err != nil || !bytes.Equal(back, text) {
			t.Fatalf("%q is accepted, and written as %q, %v", text, back, err)
		}
		for _, file := range l.Files {
			if !localPath(file.Path) {
				t.Fatalf("%q is accepted", file.Path)
			}
		}
	})
}

// localPath is the standard library's opinion about a path.
func localPath(path string) bool {
	root := os.DirFS(".")
	_, err := root.Open(path)
	return !errors.Is(err, os.ErrInvalid)
}

func FuzzMarshalText(f *testing.F) {
	f.Add("a", "b c", int64(1), int64(1772366400))
	f.Add("é\u3000", `\x20`, int64(-1), int64(0))
	f.Fuzz(func(t *testing.T, a, b string, size, seconds int64) {
		if len(a)+len(b) > 1<<14 {
			return
		}
		l := &List{Timestamp: time.Unix(seconds, 0).UTC(),
			Files: []File{{a, size, sum(a)}, {b, 0, sum(b)}}}
		text, err := l.MarshalText()
		if err != nil {
			return
		}
		back, err := parseList(text)
		if err != nil {
			t.Fatalf("%q is written, and not read: %v", text, err)
		}
		if a > b {
			slices.Reverse(l.Files)
		}
		if !reflect.DeepEqual(&back, l) {
			t.Fatalf("%v, want %v", &back, l)
		}
	})
}
