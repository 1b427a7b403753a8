package binpkg

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// run passes data through a real compressor.
func run(t *testing.T, data []byte, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("SKIPPED, not checked against the real program: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	return out
}

// expand decompresses as an image is.
func expand(c codec, packed []byte, limit int64) ([]byte, error) {
	d, err := c.open(bytes.NewReader(packed), limit)
	if err != nil {
		return nil, err
	}
	defer d.free()
	return io.ReadAll(d)
}

// TestRealCompressors reads what the programs that Portage calls write, in
// whole and as metadata; a piece cut off and a bit turned over are noticed.
func TestRealCompressors(t *testing.T) {
	data := []byte(noise(150000) + strings.Repeat("text that repeats itself\n", 20000))
	for _, c := range []struct {
		name  string
		codec codec
		cmd   string
	}{
		{"gzip", gzipped, "gzip -c"},
		{"bzip2-1", bzipped, "bzip2 -1c"},
		{"bzip2-9", bzipped, "bzip2 -9c"},
		{"xz", xzipped, "xz -c"},
		{"xz-9", xzipped, "xz -9c"},
		{"xz-threads", xzipped, "xz -T2 -c --block-size=60000"},
		{"xz-one-block-with-sizes", xzipped, "xz -T2 -c"},
		{"xz-crc32", xzipped, "xz -c --check=crc32"},
		{"xz-sha256", xzipped, "xz -c --check=sha256"},
		{"xz-no-check", xzipped, "xz -c --check=none"},
		{"zstd", zstandard, "zstd -qc"},
		{"zstd-19-long", zstandard, "zstd -qc -19 --long=31"},
		{"lz4", lz4Frame, "lz4 -qc"},
		{"lz4-linked-blocks", lz4Frame, "lz4 -qc -9 -BD -B4"},
		{"lz4-legacy", lz4Frame, "lz4 -qc -l"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(c.cmd, "--long=31") && wideLog < 31 {
				t.Skip("windows of 2 GiB are for 64 bits")
			}
			cmd := strings.Fields(c.cmd)
			packed := run(t, data, cmd[0], cmd[1:]...)
			got, err := expand(c.codec, packed, 1<<40)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes, %v; want %d", len(got), err, len(data))
			}
			got, err = c.codec.unpack(new(buffer), packed)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("as metadata: %d bytes, %v; want %d", len(got), err, len(data))
			}
			short, err := expand(c.codec, packed[:len(packed)/2], 1<<40)
			if err == nil && len(short) == len(data) {
				t.Error("half of it is accepted")
			}
			if strings.Contains(c.name, "no-check") || strings.Contains(c.name, "legacy") {
				return // nothing to notice it by
			}
			packed[len(packed)/3] ^= 0x10
			if got, err := expand(c.codec, packed, 1<<40); err == nil {
				t.Errorf("a wrong bit is accepted, the data is the same: %v",
					bytes.Equal(got, data))
			}
		})
	}
	t.Run("probe", func(t *testing.T) {
		for cmd, want := range map[string]codec{
			"gzip -c": gzipped, "bzip2 -9c": bzipped, "bzip2 -1c": plain, "xz -c": xzipped,
			"zstd -qc": zstandard, "lz4 -qc": lz4Frame, "lz4 -qcl": lz4Frame, "cat": plain,
		} {
			f := strings.Fields(cmd)
			if got := probe(run(t, data, f[0], f[1:]...)); got != want {
				t.Errorf("%s is taken for %s", cmd, got)
			}
		}
	})
}

// TestXZContainer: what only the container shows.
func TestXZContainer(t *testing.T) {
	data := []byte(strings.Repeat("text that repeats itself\n", 1000))
	one := run(t, data, "xz", "-c")
	other := run(t, nil, "xz", "-c")
	x86 := run(t, data, "xz", "-c", "--x86", "--lzma2")
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	turned := func(at int) []byte {
		b := bytes.Clone(one)
		if at < 0 {
			at += len(b)
		}
		b[at] ^= 1
		return b
	}
	for _, c := range []struct {
		name   string
		packed []byte
		times  int // how often the data comes out
		reason string
	}{
		{"one-stream", one, 1, ""},
		{"two-streams", join(one, one), 2, ""},
		{"padding-between", join(one, make([]byte, 8), one), 2, ""},
		{"padding-behind", join(one, make([]byte, 4)), 1, ""},
		{"empty-stream", other, 0, ""},
		{"empty-then-full", join(other, one), 1, ""},

		{"padding-before", join(make([]byte, 4), one), 0, "contradicts itself"},
		{"odd-padding", join(one, make([]byte, 3)), 0, "contradicts itself"},
		{"garbage-behind", join(one, []byte("garbage, twelve bytes")), 0, "contradicts itself"},
		{"no-footer", one[:len(one)-12], 0, "contradicts itself"},
		{"magic", turned(0), 0, "contradicts itself"},
		{"stream-flags", turned(7), 0, "contradicts itself"},
		{"block-header", turned(14), 0, "contradicts itself"},
		{"check", turned(-32), 0, "contradicts itself"},
		{"footer", turned(-1), 0, "contradicts itself"},
		{"other-filter", x86, 0, "a filter other than LZMA2"},
		{"huge-dictionary", withDictionary(t, one, 40), 0,
			"needs a dictionary of 4294967295 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := expand(xzipped, c.packed, 1<<40)
			switch {
			case c.reason == "":
				if want := bytes.Repeat(data, c.times); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes, %v; want %d", len(got), err, len(want))
				}
			case err == nil || !strings.Contains(err.Error(), c.reason):
				t.Errorf("error %v, want %q", err, c.reason)
			}
		})
	}
	// The dictionary need not be larger than what comes out.
	if _, err := expand(xzipped, withDictionary(t, one, 40), 1<<20); err != nil {
		t.Errorf("a huge dictionary for little data: %v", err)
	}
}

// withDictionary sets the dictionary size of the first block.
func withDictionary(t *testing.T, packed []byte, code byte) []byte {
	b := bytes.Clone(packed)
	header := b[12 : 12+(int(b[12])+1)*4]
	i := bytes.Index(header, []byte{0x21, 1})
	if i < 0 {
		t.Fatal("no LZMA2 filter in the header")
	}
	header[i+2] = code
	sealXZ(header)
	return b
}

// TestManyDictionaries: a stream of tiny blocks that each want a large
// dictionary is stopped.
func TestManyDictionaries(t *testing.T) {
	one := withDictionary(t, run(t, []byte("x"), "xz", "-c"), 30) // 128 MiB
	_, err := expand(xzipped, bytes.Repeat(one, 10), 1<<40)
	if err == nil || !strings.Contains(err.Error(), "too many dictionaries") {
		t.Errorf("error %v", err)
	}
}
