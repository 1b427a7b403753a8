package binpkg

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Members as the tables below write them.
func dir(name string) tar.Header {
	return tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}
}

func reg(name string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}
}

func sym(name, target string) tar.Header {
	return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink, Mode: 0o777}
}

func hard(name, target string) tar.Header {
	return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeLink, Mode: 0o666}
}

func kind(name string, flag byte) tar.Header {
	return tar.Header{Name: name, Typeflag: flag, Mode: 0o644}
}

func in(format tar.Format, h tar.Header) tar.Header {
	h.Format = format
	return h
}

// TestGPKGImages: what real emerge installed without harm is accepted; the
// comments tell what it did with the others where it did not just refuse.
func TestGPKGImages(t *testing.T) {
	long := strings.Repeat("d", 120) + "/" + strings.Repeat("n", 200)
	for _, c := range []struct {
		name    string
		members []tar.Header
		reason  string
	}{
		{"absolute-symlink-target", []tar.Header{dir("image"), sym("image/s", "/etc/hosts")}, ""},
		{"dotdot-symlink-target", []tar.Header{dir("image"), sym("image/s", "../../x")}, ""},
		{"hard-link-to-file", []tar.Header{dir("image"), reg("image/a"),
			hard("image/b", "image/a")}, ""},
		{"hard-link-to-hard-link", []tar.Header{reg("image/a"), hard("image/b", "image/a"),
			hard("image/c", "image/b")}, ""},
		{"no-directory-members", []tar.Header{reg("image/a/b/c")}, ""},
		{"directory-after-its-member", []tar.Header{reg("image/a/b"), dir("image/a")}, ""},
		{"empty-image", []tar.Header{dir("image")}, ""},
		{"dot-in-a-name", []tar.Header{dir("image"), reg("image/./dotted")}, ""},
		{"member-beside-image", []tar.Header{dir("image"), reg("other/x")}, ""},
		{"gnu-long-name", []tar.Header{in(tar.FormatGNU, reg("image/"+long))}, ""},
		{"pax-long-name", []tar.Header{in(tar.FormatPAX, reg("image/"+long))}, ""},
		{"gnu-long-link", []tar.Header{in(tar.FormatGNU, sym("image/s", long))}, ""},
		{"name-that-begins-with-dots", []tar.Header{reg("image/..a/...")}, ""},

		{"absolute", []tar.Header{dir("image"), reg("/etc/x")}, "is absolute"},
		{"dotdot", []tar.Header{dir("image"), reg("image/../../x")}, "leaves the image"},
		{"dotdot-at-the-end", []tar.Header{dir("image"), dir("image/..")}, "leaves the image"},
		{"device", []tar.Header{dir("image"), kind("image/null", tar.TypeChar)}, "is a device"},
		{"fifo", []tar.Header{dir("image"), kind("image/fifo", tar.TypeFifo)}, "is a device"},
		{"duplicate-file", []tar.Header{reg("image/a"), reg("image/a")}, "is there twice"},
		{"duplicate-directory", []tar.Header{dir("image/a"), dir("image/a")}, "is there twice"},
		{"duplicate-by-another-spelling", []tar.Header{reg("image/a"), reg("image/./a")},
			"is there twice"},
		{"file-in-place-of-a-directory", []tar.Header{reg("image/a/b"), reg("image/a")},
			"is there twice"},
		{"below-a-file", []tar.Header{reg("image/a"), reg("image/a/b")}, "below the file"},
		// writes /etc/evil
		{"below-a-symlink", []tar.Header{sym("image/s", "/etc"), reg("image/s/evil")},
			"below the symbolic link"},
		// the same
		{"deep-below-a-symlink", []tar.Header{sym("image/s", "/etc"), reg("image/s/a/b/evil")},
			"below the symbolic link"},
		// may lead to another link
		{"below-a-symlink-within", []tar.Header{dir("image/d"), sym("image/s", "d"),
			reg("image/s/x")}, "below the symbolic link"},
		{"hard-link-to-nothing", []tar.Header{dir("image"), hard("image/h", "/etc/passwd")},
			"does not lead to a file"},
		{"hard-link-to-a-later-file", []tar.Header{hard("image/h", "image/a"), reg("image/a")},
			"does not lead to a file"},
		// changes the mode of /etc/shadow
		{"hard-link-to-a-symlink", []tar.Header{sym("image/s", "/etc/shadow"),
			hard("image/h", "image/s")}, "does not lead to a file"},
		{"hard-link-by-dotdot", []tar.Header{reg("image/a"), hard("image/h", "image/x/../a")},
			"does not lead to a file"},
		// moves /etc into the package
		{"image-is-a-symlink", []tar.Header{sym("image", "/etc")}, "is not a directory"},
		{"image-is-a-symlink-spelled-otherwise", []tar.Header{sym("./image", "/etc")},
			"is not a directory"},
		{"no-image-directory", []tar.Header{reg("other/x")}, `no directory "image"`},
		{"symlink-to-nowhere", []tar.Header{dir("image"), sym("image/s", "")}, "no usable target"},
		{"name-too-long", []tar.Header{dir("image"), reg("image/" + strings.Repeat("n", 256))},
			"too long"},
		{"path-too-long", []tar.Header{dir("image"), reg("image" + strings.Repeat("/d", 2048))},
			"too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			data := gpkgOf(t, metadataTar(t, minimal...), tarFile(t, c.members))
			_, err := readBytes(data, gpkgPath)
			wantReason(t, "Read", err, gpkgPath, "")
			wantReason(t, "Check", checkBytes(t, data, gpkgPath), gpkgPath, c.reason)
		})
	}
}

// TestXPAKImages: GNU tar, which unpacks these, takes more and harms less.
func TestXPAKImages(t *testing.T) {
	for _, c := range []struct {
		name    string
		members []tar.Header
		reason  string
	}{
		{"empty-archive", nil, ""},
		{"relative-names", []tar.Header{dir("."), reg("./usr/bin/x"),
			hard("./usr/bin/y", "./usr/bin/x")}, ""},
		{"absolute-name", []tar.Header{dir("."), reg("/abs/x")}, ""}, // stripped
		{"device", []tar.Header{kind("./dev/null", tar.TypeChar)}, ""},
		{"fifo", []tar.Header{kind("./fifo", tar.TypeFifo)}, ""},
		{"duplicate-file", []tar.Header{reg("./a"), reg("./a")}, ""}, // overwritten
		{"duplicate-directory", []tar.Header{dir("./a"), dir("a")}, ""},
		{"absolute-symlink-target", []tar.Header{sym("./s", "/etc")}, ""},
		{"below-a-symlink-within", []tar.Header{dir("./lib64"), sym("./lib", "lib64"),
			reg("./lib/x")}, ""},
		// links the link
		{"hard-link-to-a-symlink", []tar.Header{sym("./s", "/etc/x"), hard("./h", "./s")}, ""},

		{"dotdot", []tar.Header{reg("./../up")}, "leaves the image"},
		{"below-an-absolute-symlink", []tar.Header{sym("./s", "/etc"), reg("./s/evil")},
			"below the symbolic link"},
		{"below-a-dotdot-symlink", []tar.Header{sym("./s", "../x"), reg("./s/evil")},
			"below the symbolic link"},
		{"below-a-symlink-that-changed", []tar.Header{dir("./d"), sym("./s", "d"), reg("./s/a"),
			sym("./s", "/etc"), reg("./s/b")}, "below the symbolic link"},
		{"below-a-file", []tar.Header{reg("./a"), reg("./a/b")}, "below the file"},
		{"file-in-place-of-a-directory", []tar.Header{reg("./a/b"), reg("./a")},
			"a directory and a file"},
		{"hard-link-to-nothing", []tar.Header{hard("./h", "/etc/passwd")},
			"does not lead to a file"},
		{"root-is-a-symlink", []tar.Header{sym(".", "/etc")}, "is not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			data := xpakFile(gz(t, tarFile(t, c.members)), minimal...)
			wantReason(t, "Check", checkBytes(t, data, xpakPath), xpakPath, c.reason)
		})
	}
}

// noise does not compress, and is the same each time.
func noise(n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return string(b)
}

func TestImageCompressions(t *testing.T) {
	image := tarFile(t, []tar.Header{dir("image"), reg("image/a")}, "", noise(100000))
	damaged := zst(t, image)
	damaged[len(damaged)/2] ^= 0x40
	trailing := append(bytes.Clone(image), make([]byte, trailing+1)...)
	for _, c := range []struct {
		name   string
		image  []byte
		reason string
	}{
		{"gzip", gz(t, image), ""},
		{"two-gzip-streams", append(gz(t, image[:5000]), gz(t, image[5000:])...), ""},
		{"zstd", zst(t, image), ""},
		{"two-zstd-frames", append(zst(t, image[:5000]), zst(t, image[5000:])...), ""},
		{"lz4", lz4ed(t, image), ""},
		{"two-lz4-frames", append(lz4ed(t, image[:5000]), lz4ed(t, image[5000:])...), ""},
		{"plain", image, ""},
		{"long-tail", gz(t, trailing), ""},
		{"lzip-unchecked", []byte("LZIP\x01"), ""},
		{"lzop-unchecked", []byte("\x89LZO\x00\r\n\x1a\n"), ""},

		{"no-image", nil, "no image"},
		{"nothing-compressed", gz(t, nil), "not even an empty archive"},
		// Portage recognises BZh9 only
		{"bzip2-level-1", []byte("BZh11AY&SY"), "no known compression"},
		{"something-else", []byte("#!/bin/sh\n"), "no known compression"},
		{"damaged-zstd", damaged, "image: "},
		{"truncated-zstd", zst(t, image)[:200], "image: damaged zstd data"},
		{"truncated-gzip", gz(t, image)[:200], "image: damaged gzip data"},
		{"truncated-archive", gz(t, image[:5000]), "ends early"},
		{"garbage-behind-gzip", append(gz(t, image), "garbage"...), "image: damaged gzip data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			data := xpakFile(c.image, minimal...)
			wantReason(t, "Check", checkBytes(t, data, xpakPath), xpakPath, c.reason)
		})
	}
	t.Run("long-tail-of-a-gpkg", func(t *testing.T) { // emerge never ends
		data := gpkgOf(t, metadataTar(t, minimal...), trailing)
		wantReason(t, "Check", checkBytes(t, data, gpkgPath), gpkgPath,
			"behind the end of the archive")
	})
}

// TestWideWindow: zstd --long claims windows of up to 2 GiB for the smallest
// package. They are not refused, nor is that much memory taken.
func TestWideWindow(t *testing.T) {
	image := tarFile(t, []tar.Header{dir("image"), reg("image/a")}, "",
		strings.Repeat("text ", 20000))
	for _, c := range []struct {
		name     string
		exponent byte
		reason   string
	}{
		{"128-MiB", 27, ""},
		{"2-GiB", 31, ""},
		{"4-GiB", 32, "damaged zstd data"}, // Portage's zstd --long=31 refuses it too
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.exponent > wideLog && c.reason == "" {
				t.Skipf("windows of 2^%d bytes are for 64 bits", c.exponent)
			}
			packed := streamed(t, image)
			if packed[zstdFlagsAt]&zstdSingle != 0 {
				t.Fatal("a single segment has no window")
			}
			packed[zstdWindowAt] = (c.exponent - 10) << 3
			wantReason(t, "Check", checkBytes(t, xpakFile(packed, minimal...), xpakPath),
				xpakPath, c.reason)
		})
	}
}

// TestFarMatch: data that really needs the wide window gets it.
func TestFarMatch(t *testing.T) {
	if testing.Short() || wideLog == narrowLog {
		t.Skip("SKIPPED: takes half a gigabyte and 64 bits")
	}
	far := noise(1 << 20)
	image := tarFile(t, []tar.Header{dir("image"), reg("image/a")}, "",
		far+strings.Repeat("\x00", 1<<narrowLog)+far)
	packed := run(t, image, "zstd", "-1", "-qc", "--long=28")
	if len(packed) > 3<<19 {
		t.Fatalf("%d bytes: there is no far match in it", len(packed))
	}
	wantReason(t, "Check", checkBytes(t, xpakFile(packed, minimal...), xpakPath), xpakPath, "")
	data := gpkgFile(t, "x", entry{"gpkg-1", ""},
		entry{"metadata.tar.gz", string(gz(t, metadataTar(t, minimal...)))},
		entry{"image.tar.zst", string(packed)})
	wantReason(t, "Check", checkBytes(t, data, gpkgPath), gpkgPath, "")
}

// skipped is a frame that every zstd passes over (RFC 8878, section 3.1.2).
func skipped(data []byte) []byte {
	head := binary.LittleEndian.AppendUint32(nil, 0x184d2a50)
	return append(binary.LittleEndian.AppendUint32(head, uint32(len(data))), data...)
}

// laterWide is an image whose second frame claims a wide window.
func laterWide(t *testing.T) string {
	packed := streamed(t, tarFile(t, []tar.Header{dir("image"), reg("image/a")}, "",
		strings.Repeat("text ", 20000)))
	packed[zstdWindowAt] = (wideLog - 10) << 3
	return string(skipped(make([]byte, 4))) + string(packed)
}

// readAts tells where it is read.
type readAts struct {
	io.ReaderAt
	at func(off int64)
}

func (r readAts) ReadAt(b []byte, off int64) (int, error) {
	r.at(off)
	return r.ReaderAt.ReadAt(b, off)
}

// TestWideWindowsInTurn: of several packages with wide windows one at a time makes room for one.
func TestWideWindowsInTurn(t *testing.T) {
	image := laterWide(t)
	data := gpkgFile(t, "x", entry{"gpkg-1", ""},
		entry{"metadata.tar.gz", string(gz(t, metadataTar(t, minimal...)))},
		entry{"image.tar.zst", image + noise(smallGPKG)})
	begin := int64(bytes.Index(data, []byte(image)))
	times := 0
	r := readAts{bytes.NewReader(data), func(off int64) {
		if off != begin {
			return
		}
		// first comes a look at its compression, then a try
		if times++; times == 3 && len(wide) != 1 {
			t.Error("it does not wait for its turn")
		}
	}}
	_ = check(t.Context(), r, int64(len(data)), gpkgPath) // what is behind the frames is no zstd
	if times != 3 || len(wide) != 0 {
		t.Errorf("read from the beginning %d times; %d turns are not over", times, len(wide))
	}
}

// TestSkippableFrame: what is looked through is what zstd unpacks. The second byte of the length of
// such a frame stands where another one has its window.
func TestSkippableFrame(t *testing.T) {
	good := zst(t, tarFile(t, []tar.Header{dir("image"), reg("image/a")}))
	bad := zst(t, tarFile(t, []tar.Header{dir("image"), reg("image/../../evil")}))
	const enough, all = 0x8800, 0x9000
	hiding := append(make([]byte, enough), good...)
	hiding = append(hiding, skipped(make([]byte, all+len(bad)-len(hiding)-8))...)
	for _, c := range []struct {
		name, image, reason string
	}{
		{"before", string(skipped(make([]byte, 4))) + string(good), ""},
		{"behind", string(good) + string(skipped(make([]byte, all))), ""},
		{"hiding a frame", string(skipped(hiding[:all])) + string(bad), "leaves the image"},
		{"before a wide window", laterWide(t), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := gpkgFile(t, "x", entry{"gpkg-1", ""},
				entry{"metadata.tar.gz", string(gz(t, metadataTar(t, minimal...)))},
				entry{"image.tar.zst", c.image})
			wantReason(t, "Check", checkBytes(t, data, gpkgPath), gpkgPath, c.reason)
		})
	}
}

// streamed compresses as a pipe does: the length is not known at first.
func streamed(t *testing.T, data []byte) []byte {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithSingleSegment(false))
	if err == nil {
		_, err = w.Write(data[:len(data)/2])
	}
	if err == nil {
		err = w.Flush()
	}
	return written(t, &b, w, data[len(data)/2:], err)
}

// TestDamageIsTold: the sums of the Manifest are named before what the damage
// led to.
func TestDamageIsTold(t *testing.T) {
	image := tarFile(t, []tar.Header{dir("image"), reg("image/a")}, "", noise(3*piece))
	data := gpkgOf(t, metadataTar(t, minimal...), image)
	if err := checkBytes(t, data, gpkgPath); err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if _, err := readBytes(data, gpkgPath); err != nil {
		t.Errorf("Read looks at the image: %v", err)
	}
	wantReason(t, "Check", checkBytes(t, data, gpkgPath), gpkgPath, "does not have the sums")
}

func TestUnpackedLimit(t *testing.T) {
	for _, c := range []struct{ stored, want int64 }{
		{0, ImageFloor},
		{1 << 20, ImageFloor + 1<<30},
		{1 << 60, 1 << 60},
	} {
		if got := unpackedLimit(c.stored); got != c.want {
			t.Errorf("%d bytes may become %d, want %d", c.stored, got, c.want)
		}
	}
	b := &bounded{ctx: t.Context(), r: strings.NewReader("12345"), left: 4}
	_, err := io.ReadAll(b)
	if err == nil || !strings.Contains(err.Error(), "far more than its size") {
		t.Errorf("one byte too many: %v", err)
	}
}

// failing is a file that cannot be read from some position on.
type failing struct {
	r    io.ReaderAt
	from int64
	err  error
}

func (f failing) ReadAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > f.from {
		return 0, f.err
	}
	return f.r.ReadAt(b, off)
}

// TestUnreadableIsNotInvalid: an I/O error proves nothing about the package.
func TestUnreadableIsNotInvalid(t *testing.T) {
	broken := errors.New("input/output error")
	big := strings.Repeat("\x00\xff", smallGPKG)
	image := tarFile(t, []tar.Header{dir("image"), reg("image/a")}, "", big)
	for _, c := range []struct {
		name, path string
		data       []byte
	}{
		{"gpkg", gpkgPath, gpkgFile(t, "x", entry{"gpkg-1", ""},
			entry{"metadata.tar.gz", string(gz(t, metadataTar(t, minimal...)))},
			entry{"image.tar.lz4", string(lz4ed(t, image))}, entry{"more", big})},
		{"xpak", xpakPath, xpakFile(image, minimal...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			size := int64(len(c.data))
			good := bytes.NewReader(c.data)
			if err := check(t.Context(), good, size, c.path); err != nil {
				t.Fatal(err)
			}
			const record = 10240 // what an archive is filled up to may go unread
			for from := int64(0); from < size-record; from += 1000 {
				err := check(t.Context(), failing{good, from, broken}, size, c.path)
				var invalid *InvalidError
				if !errors.Is(err, broken) || errors.As(err, &invalid) {
					t.Fatalf("unreadable from %d: %v", from, err)
				}
			}
		})
	}
}

func TestCheckStopsWithItsContext(t *testing.T) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for _, layout := range []string{"gpkg-multi", "xpak-multi"} {
		data, path := anyPackage(t, layout)
		err := check(ctx, bytes.NewReader(data), int64(len(data)), path)
		var invalid *InvalidError
		if !errors.Is(err, why) || errors.As(err, &invalid) {
			t.Errorf("%s: %v", layout, err)
		}
	}
}
