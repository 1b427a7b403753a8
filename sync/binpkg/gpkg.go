package binpkg

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"pkgsneak/sync/digest"
)

// Names of members of a GPKG.
const (
	versionName  = "gpkg-1"
	manifestName = "Manifest"
	signatureExt = ".sig"
)

// smallGPKG is the size up to which the whole file is read at once.
const smallGPKG = 128 << 10

// hashes sum the members of a GPKG, imageHashes its image: of the two sums that the Manifest has of
// it one is enough, and BLAKE2B is the faster one.
var (
	hashes      = sync.Pool{New: func() any { return digest.New(digest.BLAKE2B | digest.SHA512) }}
	imageHashes = sync.Pool{New: func() any { return digest.New(digest.BLAKE2B) }}
)

// gpkg is a GPKG whose container and metadata have been read.
type gpkg struct {
	r         io.ReaderAt // while it is being read
	size      int64
	whole     []byte   // the file, if it is small and while it is being read
	members   []member // with names without the prefix
	manifest  map[string]record
	image     *member // nil: none
	imageComp codec
	names     []string // of the metadata files
}

// readGPKG reads the container, its Manifest and the metadata into p.
func readGPKG(p *Package, r io.ReaderAt, size int64) (content, error) {
	buf := buffers.Get().(*buffer)
	defer buf.free()
	g := &gpkg{r: r, size: size}
	defer func() { g.r, g.whole = nil, nil }()
	if size <= smallGPKG {
		g.whole = buf.of(int(size))
		if err := readAt(r, g.whole, 0); err != nil {
			return nil, err
		}
	}
	if err := g.list(); err != nil {
		return nil, err
	}
	signed, err := g.verify()
	if err != nil {
		return nil, err
	}
	p.Signed = signed
	p.values, err = g.metadata()
	if err != nil {
		return nil, err
	}
	return g, nil
}

// list reads the headers of the container: every member in one directory, each
// once.
func (g *gpkg) list() error {
	if err := g.checkMagic(); err != nil {
		return err
	}
	var src tarSource = &memory{g.whole}
	if g.whole == nil {
		src = &file{r: g.r, size: g.size}
	}
	t := tarReader{src: src}
	prefix := ""
	for {
		m, err := t.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if len(g.members) == MaxMembers {
			return faultf("more than %d members", MaxMembers)
		}
		dir, base, ok := strings.Cut(m.name, "/")
		switch {
		case !ok || !plainPath([]byte(m.name)) || strings.Contains(base, "/"):
			return faultf("member %q is not DIRECTORY/NAME", m.name)
		case prefix != "" && dir != prefix:
			return faultf("members in two directories, %q and %q", prefix, dir)
		case m.kind >= typeHardLink && m.kind <= typeFIFO || m.sparse:
			return faultf("member %q is not a plain file", m.name)
		case g.find(base) != nil:
			return faultf("member %q is there twice", m.name)
		}
		prefix, m.name = dir, base
		g.members = append(g.members, m)
	}
	if g.find(versionName) == nil {
		return faultf("not a GPKG: no member %q", versionName)
	}
	return nil
}

// checkMagic wants the first header to be that of a ustar or GNU archive, as
// Portage does.
func (g *gpkg) checkMagic() error {
	if g.size < blockSize {
		return fault("too short for a GPKG")
	}
	head := g.whole
	if head == nil {
		head = make([]byte, blockSize)
		if err := readAt(g.r, head, 0); err != nil {
			return err
		}
	}
	if magic := string(head[257:265]); magic != "ustar  \x00" && magic != "ustar\x0000" {
		return fault("not a GPKG: not a tar archive")
	}
	return nil
}

// find returns the member with this name, or nil.
func (g *gpkg) find(name string) *member {
	for i := range g.members {
		if g.members[i].name == name {
			return &g.members[i]
		}
	}
	return nil
}

// data returns the bytes of a member; buf holds them where the file is large.
func (g *gpkg) data(m *member, buf *buffer) ([]byte, error) {
	if m.size > MaxMetadata {
		return nil, faultf("member %q of %d bytes is too large", m.name, m.size)
	}
	if g.whole != nil {
		return g.whole[m.offset : m.offset+m.size], nil
	}
	b := buf.of(int(m.size))
	return b, readAt(g.r, b, m.offset)
}

// isImage reports whether a member belongs to the image: it is not hashed when
// only the metadata is wanted.
func isImage(name string) bool { return strings.HasPrefix(name, "image") }

// verify compares the members with the Manifest.
func (g *gpkg) verify() (signed bool, err error) {
	buf := buffers.Get().(*buffer)
	defer buf.free()
	m := g.find(manifestName)
	if m == nil {
		return false, fault("no Manifest")
	}
	if m.size > maxManifest {
		return false, fault("the Manifest is too large")
	}
	text, err := g.data(m, buf)
	if err != nil {
		return false, err
	}
	text, signed, err = unarmor(text)
	if err != nil {
		return false, err
	}
	if g.manifest, err = parseManifest(text); err != nil {
		return false, err
	}
	if err := g.compare(); err != nil {
		return false, err
	}
	if err := g.signatures(signed, buf); err != nil {
		return false, err
	}
	for i := range g.members {
		if m := &g.members[i]; m.name != manifestName && !isImage(m.name) {
			if err := g.checkSum(m, buf); err != nil {
				return false, err
			}
		}
	}
	return signed, nil
}

// compare holds names and sizes against the Manifest, both ways.
func (g *gpkg) compare() error {
	for _, m := range g.members {
		if m.name == manifestName {
			continue
		}
		want, ok := g.manifest[m.name]
		if !ok {
			return faultf("member %q is not in the Manifest", m.name)
		}
		if want.size != m.size {
			return faultf("member %q has %d bytes, the Manifest says %d", m.name, m.size, want.size)
		}
	}
	for name := range g.manifest {
		if name == manifestName || g.find(name) == nil {
			return faultf("the Manifest lists %q, which is not there", name)
		}
	}
	return nil
}

// checkSum hashes a member.
func (g *gpkg) checkSum(m *member, buf *buffer) error {
	b, err := g.data(m, buf)
	if err != nil {
		return err
	}
	h := hashes.Get().(*digest.Hash)
	defer hashes.Put(h)
	h.Reset()
	h.Write(b)
	sums, want := h.Sum(), g.manifest[m.name]
	if sums.Blake2b != want.blake2b || sums.SHA512 != want.sha512 {
		return wrongSums(m.name)
	}
	return nil
}

// signatures refuses what only claims to be signed. If there is a signature,
// Portage wants one of the Manifest and of each member but the first.
func (g *gpkg) signatures(signed bool, buf *buffer) error {
	claimed := signed
	for i := range g.members {
		m := &g.members[i]
		if !strings.HasSuffix(m.name, signatureExt) {
			continue
		}
		claimed = true
		b, err := g.data(m, buf)
		if err != nil {
			return err
		}
		if !isSignature(b) {
			return faultf("member %q is not an OpenPGP signature", m.name)
		}
	}
	if !claimed {
		return nil
	}
	if !signed {
		return fault("signatures, but the Manifest is not signed")
	}
	for _, m := range g.members {
		switch {
		case m.name == versionName, m.name == manifestName, strings.HasSuffix(m.name, signatureExt):
		case g.find(m.name+signatureExt) == nil:
			return faultf("the package is signed, but member %q is not", m.name)
		}
	}
	return nil
}

// archive returns the member STEM.tar.COMPRESSION.
func (g *gpkg) archive(stem string) (*member, codec, error) {
	var found *member
	var comp codec
	for i := range g.members {
		s, c, ok := inner(g.members[i].name)
		switch {
		case !ok || s != stem:
		case found != nil:
			return nil, plain, faultf("two members are the %s", stem)
		default:
			found, comp = &g.members[i], c
		}
	}
	return found, comp, nil
}

// metadata unpacks the metadata archive.
func (g *gpkg) metadata() (metadata, error) {
	m, comp, err := g.archive("metadata")
	if err != nil {
		return metadata{}, err
	}
	if m == nil {
		return metadata{}, fault("no metadata")
	}
	if comp == plain {
		return metadata{},
			fault("the metadata is not compressed: Portage would take it for zstd and index nothing at all")
	}
	if g.image, g.imageComp, err = g.archive("image"); err != nil {
		return metadata{}, err
	}
	packed, room := buffers.Get().(*buffer), buffers.Get().(*buffer)
	defer packed.free()
	defer room.free()
	b, err := g.data(m, packed)
	if err != nil {
		return metadata{}, err
	}
	b, err = comp.unpack(room, b)
	var f fault
	switch {
	case errors.As(err, &f):
		return metadata{}, err
	case err != nil:
		return metadata{}, faultf("metadata: damaged %s data: %s", comp, err)
	}
	return g.walk(b)
}

// walk reads the metadata archive: one file a key, all below metadata/.
func (g *gpkg) walk(b []byte) (metadata, error) {
	t := tarReader{src: &memory{b}}
	var kept gather
	for {
		m, err := t.next()
		if errors.Is(err, io.EOF) {
			return kept.done(), nil
		}
		if err != nil {
			return metadata{}, within("metadata", err)
		}
		key, ok := strings.CutPrefix(m.name, "metadata/")
		switch {
		case !ok:
			return metadata{}, faultf("metadata: %q is not below metadata/", m.name)
		case m.kind >= typeHardLink && m.kind <= typeFIFO || m.sparse:
			return metadata{}, faultf("metadata: %q is not a plain file", m.name)
		case len(g.names) == MaxKeys:
			return metadata{}, faultf("more than %d metadata keys", MaxKeys)
		}
		value, err := t.data(m)
		if err != nil {
			return metadata{}, within("metadata", err)
		}
		g.names = append(g.names, key)
		kept.put([]byte(key), value)
	}
}

// check walks over the rest: the names that unpacking the metadata uses, the
// image, and the sums of everything that Read left out.
func (g *gpkg) check(ctx context.Context, r io.ReaderAt) error {
	g.r = r
	defer func() { g.r = nil }()
	seen := make(map[string]bool, len(g.names))
	for _, name := range g.names {
		switch {
		case !plainPath([]byte(name)) || strings.Contains(name, "/"):
			return faultf("the metadata key %q is not a file name", name)
		case seen[name]:
			return faultf("the metadata key %q is there twice", name)
		}
		seen[name] = true
	}
	switch {
	case g.image == nil:
		return fault("no image")
	case g.imageComp == plain:
		return fault("the image is not compressed: Portage would take it for zstd")
	}
	if err := g.checkImage(ctx); err != nil {
		return err
	}
	buf := buffers.Get().(*buffer)
	defer buf.free()
	for i := range g.members {
		if m := &g.members[i]; isImage(m.name) && m != g.image {
			if err := g.checkSum(m, buf); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkImage decompresses and sums the image in one pass.
func (g *gpkg) checkImage(ctx context.Context) error {
	r := io.NewSectionReader(g.r, g.image.offset, g.image.size)
	probed, err := probeAt(r)
	if err != nil {
		return err
	}
	h := imageHashes.Get().(*digest.Hash)
	defer imageHashes.Put(h)
	h.Reset()
	src := newSource(ctx, r, h)
	defer src.free()
	walked := walkImage(src, g.imageComp.actual(probed), gpkgRules{})
	if src.err != nil || context.Cause(ctx) != nil {
		return walked
	}
	if err := src.drain(); err != nil {
		return err
	}
	// A wrong sum explains damage better than what the damage led to.
	if h.Sum().Blake2b != g.manifest[g.image.name].blake2b {
		return wrongSums(g.image.name)
	}
	return walked
}

// isSignature reports whether b is a detached OpenPGP signature as far as its
// first bytes tell: armored, or a packet with tag 2.
func isSignature(b []byte) bool {
	if bytes.Contains(b, []byte("-----BEGIN PGP SIGNATURE-----")) {
		return true
	}
	return len(b) > 1 && (b[0]&0xfc == 0x88 || b[0] == 0xc2)
}
