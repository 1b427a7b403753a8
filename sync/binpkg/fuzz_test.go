package binpkg

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
)

// sealXZ gives the header of an xz block its check sum.
func sealXZ(header []byte) {
	n := len(header) - 4
	binary.LittleEndian.PutUint32(header[n:], crc32.ChecksumIEEE(header[:n]))
}

// The most that an input may cost: the metadata and the names of an image, each as large as allowed
// and held a few times on the way, and the widest window; far more time than a package takes of
// which a fuzzer can think.
const (
	fuzzMemory = 4*(MaxMetadata+MaxImageNames) + 1<<31
	fuzzTime   = 2 * time.Minute
)

// FuzzCheck: any file is accepted or refused for a reason, and what Check
// accepts Read accepts.
func FuzzCheck(f *testing.F) {
	for _, v := range verdicts {
		data, path := caseFile(f, v.name)
		f.Add(data, path)
	}
	if data, err := os.ReadFile(filepath.Join("testdata/signed", gpkgPath)); err == nil {
		f.Add(data, gpkgPath)
	}
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		var rerr, cerr error
		ctx, cancel := context.WithTimeout(t.Context(), fuzzTime)
		defer cancel()
		frugal(t, fuzzMemory, func() {
			_, rerr = readBytes(data, path)
			cerr = check(ctx, bytes.NewReader(data), int64(len(data)), path)
		})
		for _, err := range []error{rerr, cerr} {
			var invalid *InvalidError
			if err != nil && (!errors.As(err, &invalid) || invalid.Reason == "") {
				t.Errorf("error of type %T: %v", err, err)
			}
		}
		if rerr != nil && cerr == nil {
			t.Errorf("Check accepts what Read refuses: %v", rerr)
		}
	})
}

// FuzzTar: the archive is the same from memory, a file and a stream, and its
// members lie within it.
func FuzzTar(f *testing.F) {
	for _, name := range []string{"g00-good", "g22-pax-format", "g10-nested-member"} {
		data, _ := caseFile(f, name)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = sealTar(data)
		members, err := listTar(&memory{data})
		for _, m := range members {
			if m.size < 0 || m.offset < 0 || m.offset > int64(len(data)) {
				t.Errorf("%+v in %d bytes", m, len(data))
			}
		}
		inFile, ferr := listTar(&file{r: bytes.NewReader(data), size: int64(len(data))})
		if len(inFile) != len(members) || (ferr == nil) != (err == nil) {
			t.Errorf("memory: %d members, %v; file: %d, %v", len(members), err, len(inFile), ferr)
		}
		inStream, serr := listTar(&stream{r: bufio.NewReader(bytes.NewReader(data))})
		if len(inStream) != len(members) || (serr == nil) != (err == nil) {
			t.Errorf("memory: %d members, %v; stream: %d, %v", len(members), err,
				len(inStream), serr)
		}
	})
}

// sealTar gives every block that looks like a header its check sum.
func sealTar(data []byte) []byte {
	data = bytes.Clone(data) // a fuzzer's own is not to be changed
	for b := data; len(b) >= blockSize; b = b[blockSize:] {
		if bytes.HasPrefix(b[257:], []byte("ustar")) {
			sum := 8 * int(' ')
			for i, c := range b[:blockSize] {
				if i < 148 || i >= 156 {
					sum += int(c)
				}
			}
			copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
		}
	}
	return data
}

// FuzzInside packs two archives, so that what lies behind sums and compression
// is met.
func FuzzInside(f *testing.F) {
	meta := metadataTar(f, minimal...)
	f.Add(meta, tarFile(f, []tar.Header{dir("image"), reg("image/a"), sym("image/s", "/etc"),
		hard("image/h", "image/a")}))
	f.Add(meta, tarFile(f, []tar.Header{in(tar.FormatPAX, reg("image/"+strings.Repeat("n", 200))),
		in(tar.FormatGNU, reg("image/"+strings.Repeat("m", 200)))}))
	f.Fuzz(func(t *testing.T, meta, image []byte) {
		meta, image = sealTar(meta), sealTar(image)
		pack := func(b []byte) string { return string(gz(t, b)) }
		data := gpkgFile(t, "x", entry{"gpkg-1", ""}, entry{"metadata.tar.gz", pack(meta)},
			entry{"image.tar.gz", pack(image)})
		var invalid *InvalidError
		if err := checkBytes(t, data, gpkgPath); err != nil && !errors.As(err, &invalid) {
			t.Errorf("gpkg: error of type %T: %v", err, err)
		}
		data = xpakFile(image, minimal...)
		if err := checkBytes(t, data, xpakPath); err != nil && !errors.As(err, &invalid) {
			t.Errorf("xpak: error of type %T: %v", err, err)
		}
	})
}

func listTar(src tarSource) (all []member, err error) {
	t := tarReader{src: src}
	for {
		m, err := t.next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, m)
	}
}

// FuzzXZ repairs the check sum of the first block's header, so that what comes
// behind it is met.
func FuzzXZ(f *testing.F) {
	data, _ := caseFile(f, "g00-good")
	f.Add(data)
	f.Add([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x00\x00\x00\x00\x1c\xdfD!\x1f\xb6\xf3}\x01\x00\x00\x00\x00\x04YZ"))
	f.Add([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\x01\x00\x00x\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 13 {
			data = bytes.Clone(data) // the fuzzer's own is not to be changed
			if n := (int(data[12]) + 1) * 4; 12+n <= len(data) {
				sealXZ(data[12 : 12+n])
			}
		}
		out, err := io.ReadAll(io.LimitReader(newXZ(bytes.NewReader(data), 1<<20), 1<<20))
		if err == nil && len(out) > 0 && len(data) < 24 {
			t.Errorf("%d bytes out of %d", len(out), len(data))
		}
	})
}

// FuzzManifest: what unarmor and parseManifest accept names its members once
// and has no negative sizes.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(dataLine("gpkg-1", nil)))
	f.Add([]byte(beginMessage + "\nHash: SHA512\n\n" + dataLine("x", nil) + beginSignature +
		"\n\n" + endSignature + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, _, err := unarmor(data)
		if err != nil {
			return
		}
		all, err := parseManifest(text)
		if err != nil {
			return
		}
		for name, r := range all {
			if name == "" || r.size < 0 {
				t.Errorf("%q: %+v", name, r)
			}
		}
	})
}

// FuzzCollapse: the result collapses to itself and has no white space but
// single blanks.
func FuzzCollapse(f *testing.F) {
	f.Add(" a\n b ")
	f.Add("\xe2\x82 \xc0\x80\u3000x\x1c")
	f.Fuzz(func(t *testing.T, s string) {
		c := collapse(s)
		if collapse(c) != c {
			t.Errorf("%q: %q is not the end", s, c)
		}
		for _, r := range c {
			if isSpace(r) && r != ' ' {
				t.Errorf("%q: %q has %q", s, c, r)
			}
		}
	})
}

// FuzzParseName: a name that is accepted is made of its parts.
func FuzzParseName(f *testing.F) {
	f.Add(gpkgPath)
	f.Add(xpakPath)
	f.Add("All/foo-1.tbz2")
	f.Fuzz(func(t *testing.T, p string) {
		n, err := ParseName(p)
		if err != nil {
			return
		}
		if n.Path != p || n.PN == "" || n.PF == "" || n.BuildID < 0 ||
			n.InAll != (n.Category == "") {
			t.Errorf("%q: %+v", p, n)
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
