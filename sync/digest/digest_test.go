package digest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// vectors are from RFC 1321, FIPS 180 and RFC 7693 (message "abc"), and what
// md5sum, sha1sum, b2sum and sha512sum give for the other two.
var vectors = []struct {
	name, in, md5, sha1, blake2b, sha512 string
}{
	{
		"empty", "",
		"d41d8cd98f00b204e9800998ecf8427e",
		"da39a3ee5e6b4b0d3255bfef95601890afd80709",
		"786a02f742015903c6c6fd852552d272912f4740e15847618a86e217f71f5419d25e1031afee585313896444934eb04b903a685b1448b755d56f701afe9be2ce",
		"cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
	},
	{
		"abc", "abc",
		"900150983cd24fb0d6963f7d28e17f72",
		"a9993e364706816aba3e25717850c26c9cd0d89d",
		"ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
		"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
	},
	{
		"a million a, hashed side by side", strings.Repeat("a", 1000000),
		"7707d6ae4e027c70eea2a935c2296f21",
		"34aa973cd4c4daa4f61eeb2bdbad27316534016f",
		"98fb3efb7206fd19ebf69b6f312cf7b64e3b94dbe1a17107913975a793f177e1d077609d7fba363cbba00d05f7aa4e4fa8715d6428104c0a75643b0ff3fd3eaf",
		"e718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973ebde0ff244877ea60a4cb0432ce577c31beb009c5c2c49aa2e4eadb217ad8cc09b",
	},
}

func TestSumsAgainstPublishedVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			s, err := Reader(t.Context(), strings.NewReader(v.in), All|SHA512, nil)
			if err != nil {
				t.Fatal(err)
			}
			if s.Size != int64(len(v.in)) {
				t.Errorf("size %d, want %d", s.Size, len(v.in))
			}
			for _, c := range []struct{ what, got, want string }{
				{"MD5", Hex(s.MD5[:]), v.md5},
				{"SHA1", Hex(s.SHA1[:]), v.sha1},
				{"BLAKE2B", Hex(s.Blake2b[:]), v.blake2b},
				{"SHA512", Hex(s.SHA512[:]), v.sha512},
			} {
				if c.got != c.want {
					t.Errorf("%s %s, want %s", c.what, c.got, c.want)
				}
			}
		})
	}
}

func TestPiecesDoNotMatter(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 40000)
	want, err := Reader(t.Context(), bytes.NewReader(data), All, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1000, parallelFrom - 1, parallelFrom, parallelFrom + 1, len(data)} {
		got, err := Reader(t.Context(), iotest.HalfReader(bytes.NewReader(data)), All,
			make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("pieces of %d bytes give other sums", n)
		}
	}
}

func TestOnlyTheSetAskedFor(t *testing.T) {
	for set := Set(0); set <= All|SHA512; set++ {
		h := New(set)
		h.Write([]byte("abc"))
		s := h.Sum()
		for _, c := range []struct {
			set  Set
			zero bool
		}{
			{MD5, s.MD5 == [16]byte{}}, {SHA1, s.SHA1 == [20]byte{}},
			{BLAKE2B, s.Blake2b == Blake2b{}}, {SHA512, s.SHA512 == [64]byte{}},
		} {
			if c.zero == (set&c.set != 0) {
				t.Errorf("set %b: sum %b present is %v", set, c.set, !c.zero)
			}
		}
	}
}

func TestResetStartsAfresh(t *testing.T) {
	h := New(All)
	h.Write([]byte("something else"))
	h.Reset()
	h.Write([]byte("abc"))
	s := h.Sum()
	if Hex(s.MD5[:]) != vectors[1].md5 || s.Size != 3 || Hex(s.Blake2b[:]) != vectors[1].blake2b {
		t.Error("the sums after Reset are not those of the new stream")
	}
}

func TestReaderStops(t *testing.T) {
	broken := errors.New("broken")
	if _, err := Reader(t.Context(), iotest.ErrReader(broken), All, nil); !errors.Is(err, broken) {
		t.Errorf("error of the stream: got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	endless := io.MultiReader(strings.NewReader("x"), neverEnding{})
	if s, err := Reader(ctx, endless, All, nil); !errors.Is(err, broken) || s != (Sums{}) {
		t.Errorf("cancelled: got %v, %v", s, err)
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

// TestName compares with b2sum's idea of the names.
func TestName(t *testing.T) {
	for name, want := range map[string]string{
		"foo-1.tar.gz":           "1b32",
		"portage-3.0.30.tar.bz2": "6f13",
	} {
		if sum := Name(name); Hex(sum[:2]) != want {
			t.Errorf("%s: sum begins with %s, want %s", name, Hex(sum[:2]), want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, text string
		ok         bool
	}{
		{"lower case", vectors[1].sha1, true},
		{"upper case", strings.ToUpper(vectors[1].sha1), true},
		{"too short", vectors[1].sha1[1:], false},
		{"too long", vectors[1].sha1 + "00", false},
		{"not hex", "g" + vectors[1].sha1[1:], false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var sum [20]byte
			if ok := Parse(sum[:], c.text); ok != c.ok {
				t.Fatalf("Parse %v, want %v", ok, c.ok)
			}
			if c.ok != (Hex(sum[:]) == vectors[1].sha1) {
				t.Errorf("sum is %x", sum)
			}
		})
	}
}

// A buffer is there for the next file: tens of thousands of small ones are hashed in one run.
func TestReaderKeepsItsBuffer(t *testing.T) {
	const files = 100
	data := []byte("a small file")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range files {
		if _, err := Reader(t.Context(), bytes.NewReader(data), BLAKE2B, nil); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	// the race detector takes some of them away
	if each := (after.TotalAlloc - before.TotalAlloc) / files; each > 160<<10 {
		t.Errorf("%d bytes are allocated for each file", each)
	}
}
