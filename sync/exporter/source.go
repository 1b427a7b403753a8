package exporter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"pkgsneak/manifest"
	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/distdir"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/state"
)

// source is what the build host has, read once at the start of an export.
type source struct {
	packages  *payloadDir // nil where packages are not looked at, or PKGDIR is absent
	distfiles *payloadDir
	header    *pkgindex.Header // of PKGDIR's index; nil where it has none that can be used
	files     map[payload.Key]*sourceFile
	leftOut   []payload.Item // what lies there and is no payload that could be carried
	// duplicates are packages that lie there under another name too, which is carried.
	duplicates []payload.Item
	copies     *pkgdir.Copies  // digests of the misplaced ones among them; nil: PKGDIR is absent
	refused    *state.Refusals // packages that were refused; nil: PKGDIR is absent
	builder    builder
	before     map[payload.Kind]int // how many files of each directory are remembered
	notices    []string
}

// payloadDir is PKGDIR or DISTDIR with what is remembered of the digests in it.
type payloadDir struct {
	path  string
	root  *os.Root
	cache *state.Cache
	links []*linkedDir // where links of it may lead
}

// sourceFile is a payload file of the host.
type sourceFile struct {
	HostFile
	info fs.FileInfo
	// of the host's index, if it vouches for the file (size, mtime and all that Portage needs);
	// else none
	entry pkgindex.Entry
	odd   string // why the index and the file disagree although the mtime is the same
	// why an export refused these very bytes by today's rules; nil: none is known to have done so
	refused *state.Refusal
}

// newFile is the file as it is put on the drive. The category is told where only the index has it.
func (h *sourceFile) newFile() drivewriter.NewFile {
	f := drivewriter.NewFile{Kind: h.Kind, Path: h.Path, Size: h.Size}
	if h.Kind == payload.Package && !h.entry.IsZero() {
		f.Category, _, _ = strings.Cut(h.entry.CPV(), "/")
	}
	return f
}

func (h *source) close() {
	for _, d := range []*payloadDir{h.packages, h.distfiles} {
		if d != nil {
			d.root.Close()
			closeLinked(d.links)
		}
	}
}

func (h *source) dir(k payload.Kind) *payloadDir {
	if k == payload.Package {
		return h.packages
	}
	return h.distfiles
}

func (h *source) list() []HostFile {
	files := make([]HostFile, 0, len(h.files))
	for _, f := range h.files {
		files = append(files, f.HostFile)
	}
	return files
}

// openPayloadDir opens PKGDIR or DISTDIR; nil where it is absent. It notes how many files are
// remembered of it.
func (h *source) openPayloadDir(st *state.Dir, m machine.Machine, k payload.Kind,
	path string) (*payloadDir, error) {
	cache, err := st.Cache(path, m.Now())
	if err != nil {
		return nil, err
	}
	h.before[k] = cache.Len()
	root, err := os.OpenRoot(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, err)
	}
	return &payloadDir{path: path, root: root, cache: cache}, nil
}

// open opens a payload file that was scanned before. It is the same regular file, or there is an
// error.
func (d *payloadDir) open(path string, scanned fs.FileInfo) (*os.File, error) {
	f, err := openLinkedFile(d.links, d.root, path)
	if err != nil {
		return nil, err
	}
	if err := durable.CheckUnchanged(f, scanned); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// knownSums are the digests of a package.
type knownSums struct {
	digest.Sums
	computed digest.Set // the rest are those of the host's index
}

// sumsOf returns the digests of a package that are remembered, if all are known: the MD5 of one
// that was only held against the SHA1 of the host's index is what the index has now. It is not
// remembered, or an index that was wrong about it could never be put right.
func (d *payloadDir) sumsOf(h *sourceFile) (s knownSums, ok bool) {
	s.Sums, s.computed, _ = d.cache.Lookup(h.Path, h.info)
	if s.computed == digest.All&^digest.MD5 && h.Index != (IndexSums{}) {
		copy(s.MD5[:], h.Index[:])
		return s, true
	}
	return s, s.computed == digest.All
}

// sum reads a file of the host and remembers its digests.
func (d *payloadDir) sum(ctx context.Context, path string,
	scanned fs.FileInfo) (digest.Sums, error) {
	f, err := d.open(path, scanned)
	if err != nil {
		return digest.Sums{}, err
	}
	defer f.Close()
	sums, err := digest.Reader(ctx, f, digest.All, nil)
	if err == nil {
		err = durable.CheckUnchanged(f, scanned)
	}
	if err != nil {
		return digest.Sums{}, err
	}
	d.cache.Put(path, scanned, sums, digest.All)
	return sums, nil
}

// readSource scans PKGDIR and DISTDIR. A directory that is not wanted is not looked at. known are
// the entries of the drive's catalogue: where the host's index states the same, one of the two is
// enough.
func readSource(ctx context.Context, st *state.Dir, m machine.Machine, packages, distfiles bool,
	known map[string]pkgindex.Entry) (_ *source, err error) {
	h := &source{files: make(map[payload.Key]*sourceFile), before: make(map[payload.Kind]int),
		builder: newBuilder(m)}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	scan := func() (*distdir.Scan, error) { return nil, nil }
	if distfiles {
		scan = pipeline.Future(func() (*distdir.Scan, error) { return scanDistfiles(ctx, m) })
	}
	if packages {
		if err := h.readPackages(ctx, st, m, known); err != nil {
			scan()
			return nil, err
		}
	}
	found, err := scan()
	if err == nil && distfiles {
		err = h.addDistfiles(st, m, found)
	}
	return h, err
}

func (h *source) readPackages(ctx context.Context, st *state.Dir, m machine.Machine,
	known map[string]pkgindex.Entry) (err error) {
	if h.packages, err = h.openPayloadDir(st, m, payload.Package, m.PKGDIR); h.packages == nil {
		return err
	}
	h.copies, err = pkgdir.RememberedCopies(st, m.PKGDIR, h.packages.cache, m.Now())
	if err != nil {
		return err
	}
	if h.refused, err = state.OpenRefusals(st, m.PKGDIR, m.Now()); err != nil {
		return err
	}
	dir, err := pkgdir.Open(m.PKGDIR)
	if err != nil {
		return err
	}
	defer dir.Close()
	dir.Distdir, _ = machine.DistdirIn(m.PKGDIR, m.DISTDIR)
	if both := machine.Overlap(m.PKGDIR, m.DISTDIR); both != "" {
		h.notices = append(h.notices, both)
	}
	entries := h.readIndex(dir, known)
	scan, err := dir.Scan(ctx)
	if err == nil {
		err = dir.FindCopies(ctx, scan, h.copies)
	}
	if err != nil {
		return err
	}
	for _, f := range scan.Files {
		h.addPackage(f, entries)
	}
	if err := h.dropDuplicates(ctx, scan.Files); err != nil {
		return err
	}
	for _, p := range scan.Copies {
		h.duplicates = append(h.duplicates, payload.Item{Kind: payload.Package, Path: p.Path,
			Size: p.Size, Reason: p.Reason})
	}
	payload.Sort(h.duplicates)
	for _, p := range dir.Missed(scan, maps.Keys(entries)) {
		h.leftOut = append(h.leftOut, payload.Item{Kind: payload.Package, Path: p.Path,
			Size: p.Size, Reason: p.Reason, Hint: p.Hint})
	}
	return nil
}

// dropDuplicates leaves one name of each package that has several.
func (h *source) dropDuplicates(ctx context.Context, files []pkgdir.File) error {
	list := make([]candidate, len(files))
	for i, f := range files {
		hf := h.files[payload.Key{Kind: payload.Package, Path: f.Path}]
		list[i] = candidate{File: f, listed: !hf.entry.IsZero(), sum: hf.Sum, index: hf.Index,
			read: func(ctx context.Context) (manifest.Digest, error) {
				return h.packages.readSum(ctx, hf)
			}}
	}
	same, err := duplicates(ctx, list)
	for _, path := range slices.Sorted(maps.Keys(same)) {
		k := payload.Key{Kind: payload.Package, Path: path}
		h.duplicates = append(h.duplicates, payload.Item{Kind: k.Kind, Path: path,
			Size: h.files[k].Size, Reason: "the same package as " + same[path]})
		delete(h.files, k)
	}
	return err
}

// readSum reads a file for its digests, which are remembered.
func (d *payloadDir) readSum(ctx context.Context, f *sourceFile) (manifest.Digest, error) {
	file, err := d.open(f.Path, f.info)
	if err != nil {
		return manifest.Digest{}, nil
	}
	defer file.Close()
	sums, err := digest.Reader(ctx, file, digest.All, nil)
	switch {
	case ctx.Err() != nil:
		return manifest.Digest{}, context.Cause(ctx)
	case err != nil || durable.CheckUnchanged(file, f.info) != nil:
		return manifest.Digest{}, nil
	}
	d.cache.Put(f.Path, f.info, sums, digest.All)
	f.Sum = sums.Blake2b
	return f.Sum, nil
}

// readIndex maps PKGDIR's index by path. If two entries have one path, Portage's last wins.
func (h *source) readIndex(dir *pkgdir.Dir,
	known map[string]pkgindex.Entry) map[string]pkgindex.Entry {
	index, err := dir.IndexShared(func(path string) pkgindex.Entry { return known[path] })
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			h.notices = append(h.notices,
				fmt.Sprintf("the index of %q cannot be used: %v; every package is read",
					dir.Path(), err))
		}
		return nil
	}
	if !index.Header.Supported() {
		return nil
	}
	header := index.Header // not the index: its entries shall not live on
	h.header = &header
	entries := make(map[string]pkgindex.Entry, len(index.Entries))
	for _, e := range index.Entries {
		entries[e.Path()] = e
	}
	return entries
}

func (h *source) addPackage(f pkgdir.File, entries map[string]pkgindex.Entry) {
	hf := &sourceFile{HostFile: HostFile{Kind: payload.Package, Path: f.Path,
		Size: f.Info.Size()}, info: f.Info}
	hf.Sum = h.packages.known(f.Path, f.Info)
	if why, ok := h.refused.Lookup(f.Path, f.Info); ok && why.Rules == binpkg.Rules {
		hf.refused = &why
	}
	if e, ok := entries[f.Path]; ok {
		size, hasSize := e.Size()
		mtime, hasTime := e.MTime()
		switch same := hasTime && mtime == f.Info.ModTime().Unix(); {
		case same && hasSize && size != f.Info.Size():
			hf.odd = fmt.Sprintf("the index says %d bytes, the file has %d", size, f.Info.Size())
		case same && hasSize && e.Complete(*h.header):
			hf.vouchedBy(e)
		}
	}
	h.files[payload.Key{Kind: payload.Package, Path: f.Path}] = hf
}

// vouchedBy takes an entry of the host's index for the file's, in the form that it has in the
// catalogue: an index of an old Portage has no PATH.
func (f *sourceFile) vouchedBy(e pkgindex.Entry) {
	if mtime := f.info.ModTime().Unix(); e.Get("PATH") == "" || !pkgindex.ValidMTime(mtime) {
		var err error
		if e, err = e.With("PATH", f.Path, "MTIME", strconv.FormatInt(carriedMTime(e, mtime),
			10)); err != nil {
			return
		}
	}
	f.entry, f.Index = e, indexSums(e)
}

// known returns the BLAKE2B of a file if it is remembered and the file is unchanged since.
func (d *payloadDir) known(name string, fi fs.FileInfo) manifest.Digest {
	sums, set, ok := d.cache.Lookup(name, fi)
	if !ok || set&digest.BLAKE2B == 0 {
		return manifest.Digest{}
	}
	return sums.Blake2b
}

// scanDistfiles lists a DISTDIR; an absent one has nothing.
func scanDistfiles(ctx context.Context, m machine.Machine) (*distdir.Scan, error) {
	d, err := distdir.Open(m.DISTDIR)
	if errors.Is(err, fs.ErrNotExist) {
		return &distdir.Scan{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.ScanLinked(ctx, readOnlyDistdirs(m))
}

func (h *source) addDistfiles(st *state.Dir, m machine.Machine, scan *distdir.Scan) (err error) {
	if h.distfiles, err = h.openPayloadDir(st, m, payload.Distfile, m.DISTDIR); h.distfiles == nil {
		return err
	}
	h.distfiles.links = openLinked(append(readOnlyDistdirs(m), m.DISTDIR))
	below, _ := machine.DistdirIn(m.DISTDIR, m.PKGDIR)
	if text := scan.HiddenText(below); text != "" {
		h.notices = append(h.notices, text)
	}
	for _, p := range scan.Missed(m.DISTDIR) {
		h.leftOut = append(h.leftOut, payload.Item{Kind: payload.Distfile, Path: p.Name,
			Size: p.Size, Reason: p.Reason, Hint: p.Hint})
	}
	for _, f := range scan.Files {
		if !noteLinked(h.distfiles.links, f) {
			continue // gone since
		}
		if err := distdir.CheckName(f.Name); err != nil {
			h.leftOut = append(h.leftOut, payload.Item{Kind: payload.Distfile, Path: f.Name,
				Size: f.Info.Size(), Reason: fault.Text(err)})
			continue
		}
		hf := &sourceFile{HostFile: HostFile{Kind: payload.Distfile, Path: f.Name,
			Size: f.Info.Size()}, info: f.Info}
		hf.Sum = h.distfiles.known(f.Name, f.Info)
		h.files[payload.Key{Kind: payload.Distfile, Path: f.Name}] = hf
	}
	return nil
}

// count returns how many files of a kind the host has.
func (h *source) count(k payload.Kind) int {
	n := 0
	for key := range h.files {
		if key.Kind == k {
			n++
		}
	}
	return n
}

// thin tells what to do about a PKGDIR that has few packages or none: most hosts that run pkgsneak
// for the first time never built any.
func (h *source) thin(m machine.Machine) []string {
	var notices []string
	packages := h.count(payload.Package)
	switch {
	case h.packages == nil:
		notices = append(notices, fmt.Sprintf("there is no PKGDIR at %q", m.PKGDIR))
	case packages == 0:
		notices = append(notices, fmt.Sprintf("PKGDIR %q has no packages", m.PKGDIR))
	}
	missing, installed := h.withoutBinary(m)
	if installed > 0 && missing*2 > installed {
		notices = append(notices, fmt.Sprintf("%d of %d installed packages have no binary package",
			missing, installed))
	}
	if len(notices) == 0 {
		return nil
	}
	if on, _ := m.Settings.HasFeature("buildpkg"); !on {
		notices = append(notices,
			`to keep what is compiled from now on: FEATURES="buildpkg" in make.conf`)
	}
	if missing > 0 || packages == 0 {
		notices = append(notices, `to pack what is installed: quickpkg --include-config=y "*/*"`)
	}
	for _, dir := range fetched(m) {
		notices = append(notices,
			fmt.Sprintf("packages that binrepos.conf fetched lie in %q: export them with --pkgdir %s", dir, dir))
	}
	return notices
}

// withoutBinary counts the installed packages, and those of them of which PKGDIR has no build of
// that version.
func (h *source) withoutBinary(m machine.Machine) (missing, installed int) {
	list, err := m.Settings.Installed()
	if err != nil {
		return 0, 0
	}
	have := make(map[string]bool, len(h.files))
	for k := range h.files {
		if name, err := binpkg.ParseName(k.Path); k.Kind == payload.Package && err == nil {
			have[name.Category+"/"+name.PF] = true // without a category below All
		}
	}
	for _, p := range list {
		if !have[p.Category+"/"+p.PF] && !have["/"+p.PF] {
			missing++
		}
	}
	return missing, len(list)
}

// fetched lists the directories into which Portage 3.0.77 and later puts what it fetched from a
// binrepos.conf host: they are not PKGDIR.
func fetched(m machine.Machine) []string {
	base := fetchedDir(m)
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil
	}
	var dirs []string
	for _, e := range entries {
		dir := base + "/" + e.Name()
		if e.IsDir() && dir != m.PKGDIR && hasIndex(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func fetchedDir(m machine.Machine) string {
	return strings.TrimSuffix(m.Settings.EPREFIX, "/") + "/var/cache/binhost"
}

func hasIndex(dir string) bool {
	fi, err := os.Stat(dir + "/Packages")
	return err == nil && fi.Size() > 0
}
