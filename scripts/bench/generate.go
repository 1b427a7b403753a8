package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/crypto/blake2b"
)

// A task is something to be made. It is done in a process of its own: what a program is started by
// counts as its memory.
type task struct {
	Seed      uint64
	PKGDIR    string
	Formats   []format // in turn
	Small     int      // packages of a few kilobytes
	Usual     int      // packages of the usual sizes,
	Bytes     int64    // which add up to this
	Build     int      // one package: another build of the eighth
	DISTDIR   string
	Distfiles int
}

func (t task) do() error {
	g, err := newGenerator(t.Seed)
	if err != nil {
		return err
	}
	sizes := g.sizes(t.Usual, t.Bytes)
	for range t.Small {
		sizes = append(sizes, 500+int64(g.rng.IntN(6000)))
	}
	if t.PKGDIR != "" {
		err = g.pkgdir(t.PKGDIR, sizes, t.Formats...)
	}
	if err == nil && t.Build > 0 {
		err = g.pack(t.PKGDIR, 7, t.Formats[0], 4000, t.Build)
	}
	if err == nil && t.DISTDIR != "" {
		err = g.distdir(t.DISTDIR, t.Distfiles)
	}
	return err
}

// A generator makes packages that Portage would take, always the same ones for a seed. Their images
// are tar archives with one file, whose contents are put together from a pool of ready-made zstd
// frames, so that gigabytes are made as fast as the disk takes them.
type generator struct {
	rng    *rand.Rand
	enc    *zstd.Encoder
	frames [][]byte // compressed, frameSize bytes each when unpacked
}

const (
	frameSize = 1 << 20
	frames    = 32
	buildTime = 1_700_000_000
)

func newGenerator(seed uint64) (*generator, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	g := &generator{rng: rand.New(rand.NewPCG(seed, 0)), enc: enc}
	words := g.vocabulary()
	for range frames {
		g.frames = append(g.frames, enc.EncodeAll(g.text(words), nil))
	}
	return g, nil
}

// vocabulary returns what the contents of the images repeat: the usual words of machine code and
// text, as far as a compressor is concerned.
func (g *generator) vocabulary() [][]byte {
	words := make([][]byte, 4096)
	for i := range words {
		words[i] = g.random(3 + g.rng.IntN(20))
	}
	return words
}

// text returns the contents of one frame: words, the first of them often, and something new now and
// then. It shrinks to somewhat less than half.
func (g *generator) text(words [][]byte) []byte {
	text := make([]byte, 0, frameSize+32)
	for len(text) < frameSize {
		if g.rng.IntN(10) == 0 {
			text = append(text, g.random(g.rng.IntN(24))...)
			continue
		}
		rank := g.rng.Float64()
		text = append(text, words[int(rank*rank*rank*float64(len(words)))]...)
	}
	return text[:frameSize]
}

func (g *generator) random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.rng.Uint32())
	}
	return b
}

// sizes returns n package sizes like those of real PKGDIRs, roughly log-normal, scaled so that they
// add up to total bytes if total is not 0.
func (g *generator) sizes(n int, total int64) []int64 {
	sizes := make([]int64, n)
	var sum float64
	for i := range sizes {
		s := math.Min(math.Exp(g.rng.NormFloat64()*2.1+12.2), 2.5e9)
		sizes[i] = int64(s)
		sum += s
	}
	if total > 0 {
		for i := range sizes {
			sizes[i] = max(1, int64(float64(sizes[i])*float64(total)/sum))
		}
	}
	return sizes
}

type format string

const (
	tbz2 format = "tbz2" // an XPAK at CAT/PF.tbz2
	xpak format = "xpak" // at CAT/PN/PF-N.xpak, where FEATURES has binpkg-multi-instance
	gpkg format = "gpkg" // at CAT/PN/PF-N.gpkg.tar
)

// pkgdir fills dir with one package for each size, n-th of the n-th format of formats in turn.
func (g *generator) pkgdir(dir string, sizes []int64, formats ...format) error {
	for i, size := range sizes {
		if err := g.pack(dir, i, formats[i%len(formats)], size, 1); err != nil {
			return err
		}
	}
	return nil
}

// pack writes the i-th package. Another build of it has another build number and other contents.
func (g *generator) pack(dir string, i int, f format, size int64, build int) error {
	category, pn := fmt.Sprintf("cat-%02d", i%60), fmt.Sprintf("pkg%05d", i)
	pf := fmt.Sprintf("%s-1.%d", pn, i%7)
	name := filepath.Join(dir, category, pn, fmt.Sprintf("%s-%d", pf, build))
	if f == tbz2 {
		name = filepath.Join(dir, category, pf)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	meta := g.metadata(category, pf, build, i)
	if f != gpkg {
		return write(name+"."+string(f), i, func(w io.Writer) error {
			return g.xpak(w, meta, size)
		})
	}
	return write(name+".gpkg.tar", i, func(w io.Writer) error {
		return g.gpkg(w, fmt.Sprintf("%s-%d", pf, build), meta, size)
	})
}

func write(name string, i int, fill func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := fill(f); err != nil {
		return err
	}
	when := time.Unix(buildTime+int64(i), 0)
	if err := f.Close(); err != nil {
		return err
	}
	return os.Chtimes(name, when, when)
}

type pair struct{ key, value string }

// metadata is what a package of the usual kind states about itself; one in five hundred has an
// index entry of tens of kilobytes.
func (g *generator) metadata(category, pf string, build, i int) []pair {
	provides := "x86_64: libx.so.1"
	if i%500 == 0 {
		provides += strings.Repeat(" libsomething-long.so.12", 2000)
	}
	return []pair{
		{"BUILD_ID", fmt.Sprint(build)}, {"BUILD_TIME", fmt.Sprint(buildTime + i)},
		{"CATEGORY", category}, {"CHOST", "x86_64-pc-linux-gnu"},
		{"DEFINED_PHASES", "compile configure install prepare"},
		{"DEPEND", ">=dev-libs/glib-2.66:2/2= >=sys-libs/ncurses-5.9-r3:0/6= virtual/libintl"},
		{"EAPI", "8"},
		{"IUSE", "acl +nls static-libs test abi_x86_32 abi_x86_64"},
		{"KEYWORDS", "amd64 ~arm64 x86"}, {"LICENSE", "GPL-2+ LGPL-2.1+"}, {"PF", pf},
		{"PROVIDES", provides},
		{"RDEPEND",
			">=dev-libs/glib-2.66:2/2= >=sys-libs/ncurses-5.9-r3:0/6= || ( dev-lang/python:3.12 dev-lang/python:3.13 )"},
		{"REQUIRES", "x86_64: ld-linux-x86-64.so.2 libc.so.6 libm.so.6"},
		{"SIZE", "52345"}, {"SLOT", "0"},
		{"USE", "abi_x86_64 acl amd64 elibc_glibc kernel_linux nls"}, {"repository", "gentoo"},
		{"environment.bz2", strings.Repeat("x", 2000)},
	}
}

func (g *generator) xpak(w io.Writer, meta []pair, size int64) error {
	if err := g.image(w, "./", size); err != nil {
		return err
	}
	var index, data bytes.Buffer
	for _, m := range meta {
		value := m.value + "\n"
		index.Write(binary.BigEndian.AppendUint32(nil, uint32(len(m.key))))
		index.WriteString(m.key)
		index.Write(binary.BigEndian.AppendUint32(nil, uint32(data.Len())))
		index.Write(binary.BigEndian.AppendUint32(nil, uint32(len(value))))
		data.WriteString(value)
	}
	var b []byte
	b = append(b, "XPAKPACK"...)
	b = binary.BigEndian.AppendUint32(b, uint32(index.Len()))
	b = binary.BigEndian.AppendUint32(b, uint32(data.Len()))
	b = append(append(append(b, index.Bytes()...), data.Bytes()...), "XPAKSTOP"...)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(b))), "STOP"...)
	_, err := w.Write(b)
	return err
}

func (g *generator) gpkg(w io.Writer, base string, meta []pair, size int64) error {
	var inner bytes.Buffer
	t := tar.NewWriter(&inner)
	for _, m := range meta {
		value := m.value + "\n"
		if err := t.WriteHeader(&tar.Header{Name: "metadata/" + m.key, Mode: 0o644,
			Size: int64(len(value)), Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		io.WriteString(t, value)
	}
	if err := t.Close(); err != nil {
		return err
	}
	metadata := g.enc.EncodeAll(inner.Bytes(), nil)

	// The image is made twice: its size and digests have to be known before it.
	seed := *g.rng
	state := rand.NewPCG(g.rng.Uint64(), 0)
	restart := *state
	counted := &counter{}
	sums := newSums()
	g.rng = rand.New(state)
	if err := g.image(io.MultiWriter(counted, sums), "image/", size); err != nil {
		return err
	}
	outer := tar.NewWriter(w)
	manifest := manifestLine("gpkg-1", 0, newSums())
	metaSums := newSums()
	metaSums.Write(metadata)
	manifest += manifestLine("metadata.tar.zst", int64(len(metadata)), metaSums) +
		manifestLine("image.tar.zst", counted.n, sums)
	g.rng = rand.New(&restart)
	for _, member := range []struct {
		name string
		size int64
		fill func() error
	}{
		{"gpkg-1", 0, func() error { return nil }},
		{"metadata.tar.zst", int64(len(metadata)), func() error {
			_, err := outer.Write(metadata)
			return err
		}},
		{"image.tar.zst", counted.n, func() error { return g.image(outer, "image/", size) }},
		{"Manifest", int64(len(manifest)), func() error {
			_, err := io.WriteString(outer, manifest)
			return err
		}},
	} {
		if err := outer.WriteHeader(&tar.Header{Name: base + "/" + member.name, Mode: 0o644,
			Size: member.size, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		if err := member.fill(); err != nil {
			return err
		}
	}
	g.rng = &seed
	g.rng.Uint64()
	return outer.Close()
}

// image writes a zstd stream that unpacks to a tar archive with one file, of about size bytes as it
// is written.
func (g *generator) image(w io.Writer, prefix string, size int64) error {
	count := size / int64(len(g.frames[0]))
	rest := make([]byte, min(size%int64(len(g.frames[0])), frameSize))
	for i := range rest {
		rest[i] = byte(g.rng.Uint32())
	}
	var head bytes.Buffer
	t := tar.NewWriter(&head)
	length := count*frameSize + int64(len(rest))
	if err := t.WriteHeader(&tar.Header{Name: prefix + "usr/share/data", Mode: 0o644, Size: length,
		Format: tar.FormatUSTAR, ModTime: time.Unix(buildTime, 0)}); err != nil {
		return err
	}
	if _, err := w.Write(g.enc.EncodeAll(head.Bytes(), nil)); err != nil {
		return err
	}
	for range count {
		if _, err := w.Write(g.frames[g.rng.IntN(len(g.frames))]); err != nil {
			return err
		}
	}
	end := make([]byte, len(rest)+int((512-length%512)%512)+1024)
	copy(end, rest)
	_, err := w.Write(g.enc.EncodeAll(end, nil))
	return err
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

type sums struct{ sha512, blake2b hash.Hash }

func newSums() *sums {
	b, _ := blake2b.New512(nil) // fails with a key only
	return &sums{sha512.New(), b}
}

func (s *sums) Write(p []byte) (int, error) {
	s.sha512.Write(p)
	return s.blake2b.Write(p)
}

func manifestLine(name string, size int64, s *sums) string {
	return fmt.Sprintf("DATA %s %d SHA512 %x BLAKE2B %x\n", name, size, s.sha512.Sum(nil),
		s.blake2b.Sum(nil))
}

// distdir fills dir with n small files.
func (g *generator) distdir(dir string, n int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("source-%05d.tar.xz", i)),
			fmt.Appendf(nil, "%d %d\n", i, g.rng.Uint64()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
