package disk

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

func fill(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

// sample is a log of two flushed writes and three that are open.
func sample() Log {
	return Log{
		{Offset: 0, Data: fill(1, 1024)},
		{Offset: 8192, Data: fill(2, 512)},
		{Flags: Flush},
		{Offset: 512, Data: fill(3, 512)},
		{Offset: 1024, Data: fill(4, 1536)},
		{Offset: 4096, Data: fill(5, 512), Flags: FUA},
		{Offset: 12288, Data: fill(6, 4096)},
	}
}

func TestLogRoundTrip(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := sample().Encode(&b); err != nil {
		t.Fatal(err)
	}
	l, err := ReadLog(&b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(l, sample()) {
		t.Errorf("got %v", l)
	}
}

// The log is one that QEMU's blklogwrites itself writes, driven by qemu-io.
func TestReadLogOfQEMU(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"qemu-io", "qemu-img"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("QEMU'S OWN LOG IS NOT READ: %v", err)
		}
	}
	dir := t.TempDir()
	image, log := filepath.Join(dir, "image"), filepath.Join(dir, "log")
	for _, name := range []string{image, log} {
		f, err := os.Create(name)
		if err == nil {
			err = f.Truncate(1 << 20)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	spec := "json:{\"driver\":\"blklogwrites\",\"file\":{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"" + image +
		"\"}},\"log\":{\"driver\":\"file\",\"filename\":\"" + log + "\"},\"log-sector-size\":512}"
	out, err := exec.Command("qemu-io", "-c", "write -P 7 4096 1024", "-c", "flush", "-c",
		"write -P 9 512 512", spec).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-io: %v\n%s", err, out)
	}
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := ReadLog(f)
	if err != nil {
		t.Fatal(err)
	}
	writes := slices.DeleteFunc(slices.Clone(l), func(e Entry) bool { return !e.writes() })
	want := Log{{Offset: 4096, Data: fill(7, 1024)}, {Offset: 512, Data: fill(9, 512)}}
	if len(writes) < 2 || !reflect.DeepEqual(writes[:2], want) {
		t.Errorf("got %d entries, %d writes", len(l), len(writes))
	}
	if first := slices.IndexFunc(l, func(e Entry) bool { return e.Flags&Flush != 0 }); first != 1 {
		t.Errorf("the flush is entry %d", first)
	}
}

func TestReadLogRefuses(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := sample().Encode(&b); err != nil {
		t.Fatal(err)
	}
	good := b.Bytes()
	change := func(at int, value uint64) []byte {
		bad := bytes.Clone(good)
		binary.LittleEndian.PutUint64(bad[at:], value)
		return bad
	}
	for name, data := range map[string][]byte{
		"nothing":              nil,
		"another magic":        change(0, 1),
		"another version":      change(8, 2),
		"cut off in an entry":  good[:700],
		"cut off in the data":  good[:1300],
		"a position overflows": change(512, 1<<60),
		"a length overflows":   change(520, 1<<60),
		"a flag nobody knows":  change(528, 1<<20),
		"a mark that overflows": func() []byte {
			bad := change(528, 8)
			binary.LittleEndian.PutUint64(bad[536:], 1<<63)
			return bad
		}(),
	} {
		if l, err := ReadLog(bytes.NewReader(data)); err == nil {
			t.Errorf("%s: read %d entries", name, len(l))
		}
	}
}

// content is what an image holds, a byte for each of its first sectors.
func content(t *testing.T, m *Image, sectors int) []byte {
	t.Helper()
	var heads []byte
	for i := range sectors {
		b := make([]byte, Sector)
		if _, err := m.ReadAt(b, int64(i)*Sector); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, fill(b[0], Sector)) {
			t.Fatalf("sector %d is mixed", i)
		}
		heads = append(heads, b[0])
	}
	return heads
}

func TestReplay(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		state State
		want  []byte // of sectors 0 to 8
	}{
		{"nothing", State{}, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"one write", State{Prefix: 1}, []byte{1, 1, 0, 0, 0, 0, 0, 0, 0}},
		{"a flush changes nothing", State{Prefix: 3}, []byte{1, 1, 0, 0, 0, 0, 0, 0, 0}},
		{"all", State{Prefix: 7}, []byte{1, 3, 4, 4, 4, 0, 0, 0, 5}},
		{"torn", State{Prefix: 5, Kept: 512}, []byte{1, 3, 4, 0, 0, 0, 0, 0, 0}},
		{"lost", State{Prefix: 6, Lost: []int{3}}, []byte{1, 1, 4, 4, 4, 0, 0, 0, 5}},
		{"all but one of the open ones lost", State{Prefix: 7, Lost: []int{3, 4, 6}},
			[]byte{1, 1, 0, 0, 0, 0, 0, 0, 5}},
	}
	shared := NewReplayer(NewImage(64<<10), sample())
	for _, tt := range tests {
		for name, r := range map[string]*Replayer{"alone": NewReplayer(NewImage(64<<10), sample()),
			"after others": shared} {
			m, err := r.Image(tt.state)
			if err != nil {
				t.Fatalf("%s, %s: %v", tt.name, name, err)
			}
			if got := content(t, m, 9); !bytes.Equal(got, tt.want) {
				t.Errorf("%s, %s: got %v, want %v", tt.name, name, got, tt.want)
			}
			// A write to a state does not show in the next one.
			if _, err := m.WriteAt(fill(99, 4096), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := shared.Image(State{Prefix: 8}); err == nil {
		t.Error("a state behind the end of the log was made")
	}
}

func TestImageBounds(t *testing.T) {
	t.Parallel()
	m := NewImage(8192)
	for _, off := range []int64{-1, 8192 - 511, 1 << 62} {
		if _, err := m.WriteAt(make([]byte, 512), off); err == nil {
			t.Errorf("wrote at %d", off)
		}
		if _, err := m.ReadAt(make([]byte, 512), off); err == nil {
			t.Errorf("read at %d", off)
		}
	}
}

func TestDumpMakesTheImageAgain(t *testing.T) {
	t.Parallel()
	m := NewImage(3 << 20)
	r := rand.New(rand.NewPCG(1, 1))
	for range 40 {
		p := fill(byte(1+r.IntN(255)), Sector*(1+r.IntN(20)))
		if _, err := m.WriteAt(p, int64(r.IntN(3<<20-len(p)))); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Dump(m, m.Size())
	if err != nil {
		t.Fatal(err)
	}
	again := NewImage(3 << 20)
	if err := again.Apply(l, State{Prefix: len(l)}); err != nil {
		t.Fatal(err)
	}
	a, b := make([]byte, 3<<20), make([]byte, 3<<20)
	m.ReadAt(a, 0)
	again.ReadAt(b, 0)
	if !bytes.Equal(a, b) {
		t.Error("the images differ")
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	l, r := sample(), rand.New(rand.NewPCG(2, 2))
	var prefixes []int
	for _, s := range l.Prefixes(0, len(l)) {
		prefixes = append(prefixes, s.Prefix)
	}
	if want := []int{0, 1, 2, 4, 5, 6, 7}; !slices.Equal(prefixes, want) {
		t.Errorf("prefixes %v, want %v", prefixes, want)
	}
	if open, want := l.Unflushed(7), []int{3, 4, 6}; !slices.Equal(open, want) {
		t.Errorf("unflushed %v, want %v: what was flushed or went to the medium at once cannot be lost", open, want)
	}
	if open := l.Unflushed(3); len(open) > 0 {
		t.Errorf("after a flush %v can be lost", open)
	}
	if _, ok := l.Tear(2, Sector, r); ok {
		t.Error("a write of one sector was torn")
	}
	if s, ok := l.Tear(5, Sector, r); !ok || s.Kept <= 0 || s.Kept >= 1536 || s.Kept%Sector != 0 {
		t.Errorf("torn at %d of 1536: %t", s.Kept, ok)
	}
	if s, ok := l.Tear(5, 1024, r); !ok || s.Kept != 1024 {
		t.Errorf("torn at %d of 1536 where 1024 are written whole: %t", s.Kept, ok)
	}
	if _, ok := l.Tear(5, 4096, r); ok {
		t.Error("a write was torn that is shorter than what is written whole")
	}
	lost := make(map[int]bool)
	for range 200 {
		if s, ok := l.Reorder(7, 0.5, r); ok {
			if s.Kind() != "reorder" {
				t.Fatalf("%v is a %s", s, s.Kind())
			}
			for _, i := range s.Lost {
				lost[i] = true
			}
			if slices.Equal(s.Lost, []int{6}) || slices.Equal(s.Lost, []int{4, 6}) ||
				slices.Equal(s.Lost, []int{3, 4, 6}) {
				t.Fatalf("%v is a prefix", s)
			}
		}
	}
	if !lost[3] || !lost[4] || !lost[6] || len(lost) != 3 {
		t.Errorf("lost were %v", lost)
	}
}

func TestSample(t *testing.T) {
	t.Parallel()
	all := make(Log, 50)
	for i := range all {
		all[i].Data = fill(1, 512)
	}
	states := all.Prefixes(0, 50)
	some := Sample(states, 7)
	if len(some) != 7 || some[0].Prefix != 0 || some[6].Prefix != 50 {
		t.Errorf("got %v", some)
	}
	if got := Sample(states, 0); len(got) != 51 {
		t.Errorf("a sample without a limit has %d of 51", len(got))
	}
}

func TestFake(t *testing.T) {
	t.Parallel()
	write := func(f *Fake, b byte, off int64) {
		t.Helper()
		if n, err := f.WriteAt(fill(b, 1024), off); n != 1024 || err != nil {
			t.Fatal(n, err)
		}
	}
	read := func(f *Fake, off int64) byte {
		t.Helper()
		p := fill(77, 1024)
		if n, err := f.ReadAt(p, off); n != 1024 || err != nil {
			t.Fatal(n, err)
		}
		return p[1023]
	}
	wraps := &Fake{Device: NewImage(8192), Claimed: 32768, Real: 8192, Wraps: true}
	write(wraps, 1, 0)
	write(wraps, 2, 8192)
	if a, b := read(wraps, 0), read(wraps, 8192); a != 2 || b != 2 {
		t.Errorf("wrapping: %d, %d", a, b)
	}
	write(wraps, 3, 8192-512)
	if a, b := read(wraps, 8192-512), read(wraps, 0); a != 3 || b != 2 {
		t.Errorf("wrapping across the end: %d, %d", a, b)
	}
	drops := &Fake{Device: NewImage(8192), Claimed: 32768, Real: 8192}
	write(drops, 1, 0)
	write(drops, 2, 8192)
	write(drops, 4, 8192-512)
	if a, b, c := read(drops, 0), read(drops, 8192), read(drops, 8192-512); a != 1 ||
		b != 0 || c != 0 {
		t.Errorf("dropping: %d, %d, %d", a, b, c)
	}
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	r := &Recorder{Device: NewImage(8192)}
	buf := fill(1, 512)
	r.WriteAt(buf, 512)
	buf[0] = 9 // the log does not share the caller's buffer
	r.Flush()
	r.WriteAt(fill(2, 512), 0)
	want := Log{{Offset: 512, Data: fill(1, 512)}, {Flags: Flush}, {Offset: 0, Data: fill(2, 512)}}
	if got := r.Log(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

func FuzzReadLog(f *testing.F) {
	var b bytes.Buffer
	if err := sample().Encode(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:600])
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ReadLog(bytes.NewReader(data))
		if err != nil {
			return
		}
		m := NewImage(1 << 20)
		for _, s := range l.Prefixes(0, len(l)) {
			_ = m.Child().Apply(l, s) // may lie outside of the image
		}
	})
}
