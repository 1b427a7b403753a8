package roundtrip

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/reindex"
	"pkgsneak/sync/state"
)

// An arena is a client with packages of its own, and a drive that somebody else had in his hands.
type arena struct {
	t      *testing.T
	host   machine.Machine
	client machine.Machine
	drive  string  // mount point
	origin string  // the origin's directory on it
	beside string  // a directory that is nobody's business: links lead there
	key    *forger // the host's own, as whoever broke into the host has it
	opts   importer.ImportOptions
	watch  progress.Watcher
	good   map[string]bool // contents that the client may have in the end
	memory uint64          // bytes that the import may allocate in all; 0: ordinaryMemory

	disposable []string // paths of the client that need not stay
}

// ordinaryMemory is what an import of the few small files of an arena may allocate from its
// beginning to its end: a tenth of what a bomb would take.
const ordinaryMemory = 64 << 20

// The outcomes of an attack.
const (
	// the import ends with an error before the first byte, nothing has changed
	refused  = "refused"
	leftOut  = "left out" // one file is named with its reason, the rest is imported
	harmless = "harmless" // everything is imported as if nothing had been
)

// An attack is one way to hurt a client.
type attack struct {
	name string
	wage func(*arena)
	end  string // one of the three
	want string // what the error or the reason speaks of
}

const (
	victim      = "app-misc/labhello/labhello-1.0-r2-1.gpkg.tar" // a package of the origin
	otherVictim = "virtual/labvirt-0-r1.tbz2"
	tarball     = "source-1.0.tar.gz" // a distfile of the origin
)

// A template is what all arenas begin as: a drive to which a host has exported, and a client that
// trusts the host and has some packages of its own.
type template struct {
	dir          string
	host, client machine.Machine
	key          *forger
	good         map[string]bool
}

func newTemplate(t *testing.T) *template {
	t.Helper()
	fast(t)
	p := &template{dir: t.TempDir(), host: newMachine(t, "host", epoch),
		client: newMachine(t, "client", epoch), good: map[string]bool{}}
	pack(t, p.host.PKGDIR, "mixed")
	write(t, filepath.Join(p.host.DISTDIR, tarball), "a distfile\n")
	drive := filepath.Join(p.dir, "drive")
	write(t, filepath.Join(drive, "somebody's"), "holiday\n")
	mustExport(t, p.host, exporter.ExportOptions{Drive: drive, NoReadBack: true})
	trustEach(t, p.client, p.host)
	for _, dir := range []string{p.host.PKGDIR, p.host.DISTDIR} {
		for _, data := range files(t, dir) {
			p.good[data] = true
		}
	}
	// One local package has a name that the origin uses too.
	pack(t, p.client.PKGDIR, "xpak-classic")
	rebuild(t, filepath.Join(p.client.PKGDIR, otherVictim))
	write(t, filepath.Join(p.client.DISTDIR, "local.tar"), "local\n")
	if _, err := reindex.Index(t.Context(), p.client, reindex.IndexOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	st, err := state.Open(t.Context(), p.host.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	key, err := st.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	p.key = steal(t, key)
	return p
}

// fast has temporary directories made in memory where there is enough of it: hundreds of imports
// are a lot of syncing.
func fast(t *testing.T) {
	const shm = "/dev/shm"
	var st unix.Statfs_t
	if unix.Statfs(shm, &st) == nil && int64(st.Bavail)*int64(st.Bsize) > 2<<30 &&
		unix.Access(shm, unix.W_OK) == nil {
		t.Setenv("TMPDIR", shm)
	}
}

// arena copies the template.
func (p *template) arena(t *testing.T) *arena {
	t.Helper()
	dir := t.TempDir()
	a := &arena{t: t, host: elsewhereIn(p.host, filepath.Join(dir, "host")),
		client: elsewhereIn(p.client, filepath.Join(dir, "client")), drive: filepath.Join(dir,
			"drive"),
		beside: filepath.Join(dir, "beside"), key: p.key, good: maps.Clone(p.good)}
	for from, to := range map[string]string{p.host.StateDir: a.host.StateDir,
		p.host.PKGDIR: a.host.PKGDIR, p.host.DISTDIR: a.host.DISTDIR,
		p.client.StateDir: a.client.StateDir, p.client.PKGDIR: a.client.PKGDIR,
		p.client.DISTDIR: a.client.DISTDIR, filepath.Join(p.dir, "drive"): a.drive} {
		a.must(copyTree(from, to))
	}
	// it has the template's PKGDIR under this name
	a.must(os.Remove(filepath.Join(a.host.StateDir, "memory")))
	write(t, filepath.Join(a.beside, "precious"), "precious\n")
	a.origin = filepath.Join(a.drive, "pkgsneak/host")
	a.opts.Drive = a.drive
	return a
}

// elsewhereIn is the same machine with other directories.
func elsewhereIn(m machine.Machine, dir string) machine.Machine {
	m.StateDir, m.PKGDIR, m.DISTDIR = filepath.Join(dir, "state"), filepath.Join(dir,
		"packages"), filepath.Join(dir, "distfiles")
	return m
}

// copyTree copies files with their times.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(name, from))
		if e.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(target, data, fi.Mode()), os.Chmod(target, fi.Mode()),
			os.Chtimes(target, fi.ModTime(), fi.ModTime()))
	})
}

// on is a path below the origin's directory.
func (a *arena) on(name string) string { return filepath.Join(a.origin, filepath.FromSlash(name)) }

func (a *arena) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// writeCopies writes both manifest copies.
func (a *arena) writeCopies(data []byte) {
	for _, slot := range []string{layout.ManifestFile, layout.NextManifestFile} {
		a.must(os.WriteFile(a.on(slot), data, 0o644))
	}
}

// copy reads a manifest copy as it was exported, without the padding.
func (a *arena) copy() string {
	data, err := os.ReadFile(a.on(layout.ManifestFile))
	a.must(err)
	return strings.TrimRight(string(data), "\n") + "\n"
}

// text is the text of the manifest copy.
func (a *arena) text() string {
	_, rest, _ := strings.Cut(a.copy(), "\n\n")
	text, _, _ := strings.Cut(rest, "-----BEGIN")
	return text
}

// edit changes both manifest copies by hand.
func (a *arena) edit(change func(string) string) {
	before := a.copy()
	after := change(before)
	if after == before {
		a.t.Fatal("the attack changed nothing")
	}
	a.writeCopies([]byte(after))
}

// A statement is what the host will be made to sign.
type statement struct {
	list   manifest.List
	record layout.Record
	index  string // text of the catalogue
	facts  *layout.Facts

	json     []byte                   // instead of the record
	zst      []byte                   // instead of the catalogue
	editText func(text string) string // of the list, before it is signed
	at       time.Time                // of the signature
}

// resign signs another statement with the origin's own key.
func (a *arena) resign(change func(*statement)) { a.t.Helper(); a.resignWith(a.key, change) }

func (a *arena) resignWith(key *forger, change func(*statement)) {
	a.t.Helper()
	d, err := drive.Open(a.drive)
	a.must(err)
	defer d.Close()
	gen, err := d.Load("host", manifest.Ring{a.key.key(a.t, 0)}, epoch)
	a.must(err)
	defer gen.Close()
	s := &statement{list: manifest.List{Timestamp: gen.Signed.Timestamp,
		Files: slices.Clone(gen.Signed.Files), Ignore: gen.Signed.Ignore},
		record: *gen.Record, at: epoch}
	catalogue, err := gen.Catalogue()
	a.must(err)
	var text bytes.Buffer
	a.must(catalogue.Write(&text))
	s.index = text.String()
	s.facts, err = gen.Facts()
	a.must(err)
	before := s.list.Timestamp.Unix()
	change(s)
	s.write(a, before, key)
}

// write puts the statement on the drive, with the generation's own files as it has them.
func (s *statement) write(a *arena, before int64, key *forger) {
	a.t.Helper()
	serial := s.list.Timestamp.Unix()
	if s.record.Serial == before {
		s.record.Serial = serial
	}
	if s.zst == nil {
		s.zst = packed([]byte(s.index))
		s.record.Counts.CatalogueBytes = int64(len(s.index))
	}
	if s.json == nil {
		data, err := s.record.Marshal()
		a.must(err)
		s.json = data
	}
	s.drop(layout.RecordFile(before), layout.CatalogueFile(before), layout.FactsFile(before))
	if s.facts != nil {
		var text bytes.Buffer
		a.must(s.facts.Write(&text))
		s.put(a, layout.FactsFile(serial), packed(text.Bytes()))
	}
	s.put(a, layout.RecordFile(serial), s.json)
	s.put(a, layout.CatalogueFile(serial), s.zst)
	text, err := s.list.MarshalText()
	a.must(err)
	if s.editText != nil {
		text = []byte(s.editText(string(text)))
	}
	a.writeCopies(key.clearSigned(string(text), how{at: s.at}))
}

// put writes a file into the origin's directory and lists it.
func (s *statement) put(a *arena, name string, data []byte) {
	a.must(os.MkdirAll(filepath.Dir(a.on(name)), 0o755))
	a.must(os.WriteFile(a.on(name), data, 0o644))
	s.drop(name)
	s.list.Files = append(s.list.Files, manifest.File{Path: name, Size: int64(len(data)),
		Sum: digest.Bytes(data)})
}

func (s *statement) drop(names ...string) {
	s.list.Files = slices.DeleteFunc(s.list.Files, func(f manifest.File) bool {
		return slices.Contains(names, f.Path)
	})
}

func packed(data []byte) []byte { return repeated(zstdWriter, string(data), len(data)) }

// entry changes one line of a package's entry in the catalogue.
func (s *statement) entry(a *arena, name, key, value string) {
	a.t.Helper()
	blocks := strings.Split(s.index, "\n\n")
	for i, block := range blocks {
		if !strings.Contains("\n"+block+"\n", "\nPATH: "+name+"\n") {
			continue
		}
		lines := slices.DeleteFunc(strings.Split(block, "\n"), func(line string) bool {
			return strings.HasPrefix(line, key+": ")
		})
		if value != "" {
			lines = append(lines, key+": "+value)
		}
		blocks[i] = strings.Join(lines, "\n")
		s.index = strings.Join(blocks, "\n\n")
		return
	}
	a.t.Fatalf("the catalogue has no %q", name)
}

// pretend lists a package under a name, with an entry in the catalogue that fits.
func (s *statement) pretend(a *arena, name string, data []byte) {
	a.t.Helper()
	s.put(a, layout.PackagesDir+"/"+name, data)
	sum5, sum1 := md5.Sum(data), sha1.Sum(data)
	s.entry(a, name, "SIZE", strconv.Itoa(len(data)))
	s.entry(a, name, "MD5", hex.EncodeToString(sum5[:]))
	s.entry(a, name, "SHA1", hex.EncodeToString(sum1[:]))
}

// rename gives a package another path in list and catalogue.
func (s *statement) rename(a *arena, from, to string) {
	data, err := os.ReadFile(a.on(layout.PackagesDir + "/" + from))
	a.must(err)
	s.drop(layout.PackagesDir + "/" + from)
	s.put(a, layout.PackagesDir+"/"+to, data)
	s.index = strings.Replace(s.index, "PATH: "+from+"\n", "PATH: "+to+"\n", 1)
}

// attempt imports, and looks at everything that may not have happened.
func (a *arena) attempt(end, want string) {
	t := a.t
	t.Helper()
	local := a.snapshot(true)
	besides, sure := files(t, a.beside), a.remembered()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	report, err := importer.Import(ctx, a.client, a.opts, a.watch)
	runtime.ReadMemStats(&after)
	if a.memory == 0 {
		a.memory = ordinaryMemory
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > a.memory {
		t.Errorf("allocated %d MiB, more than %d", took>>20, a.memory>>20)
	}
	switch end {
	case refused:
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %q; left out: %v", err, want, reasons(report))
		}
		if diff := slices.DeleteFunc(changed(local, a.snapshot(true)), func(name string) bool {
			return a.forgettable(name[1:])
		}); len(diff) > 0 {
			t.Errorf("a refused import changed the client: %v", diff)
		}
		if now := a.remembered(); !now.Equal(sure) {
			t.Errorf("the time of a refused generation was remembered: %s", now)
		}
	case leftOut:
		if err != nil {
			t.Errorf("the import ended: %v", err)
		} else if !slices.ContainsFunc(reasons(report), func(r string) bool {
			return strings.Contains(r, want)
		}) {
			t.Errorf("left out %q, want a reason about %q", reasons(report), want)
		}
	case harmless:
		if err != nil || len(reasons(report)) > 0 {
			t.Errorf("error %v, left out %q, want neither", err, reasons(report))
		}
	}
	a.intact(local)
	if now := files(t, a.beside); !maps.Equal(now, besides) {
		t.Errorf("files outside were touched: %v", now)
	}
}

func reasons(r *importer.ImportReport) []string {
	var all []string
	if r == nil {
		return nil
	}
	for _, o := range r.Origins {
		for _, it := range o.LeftOut {
			all = append(all, it.Path+": "+it.Reason)
		}
	}
	return all
}

// snapshot is every file of the client with type, time and contents. Links are not followed.
func (a *arena) snapshot(index bool) map[string]string {
	m := make(map[string]string)
	for _, dir := range []string{a.client.PKGDIR, a.client.DISTDIR,
		filepath.Join(a.client.StateDir, "trusted")} {
		err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !index && strings.HasPrefix(e.Name(), "Packages") {
				return err
			}
			fi, err := e.Info()
			if err != nil {
				return err
			}
			text := fmt.Sprint(fi.Mode(), fi.Size(), fi.ModTime().UnixNano())
			switch {
			case fi.Mode().IsRegular():
				data, err := os.ReadFile(p)
				a.must(err)
				text = string(data)
			case fi.Mode()&fs.ModeSymlink != 0:
				text, err = os.Readlink(p)
				a.must(err)
			}
			m[p] = text
			return nil
		})
		a.must(err)
	}
	return m
}

func changed(before, after map[string]string) (names []string) {
	for name, data := range before {
		if after[name] != data {
			names = append(names, "-"+name)
		}
	}
	for name, data := range after {
		if before[name] != data {
			names = append(names, "+"+name)
		}
	}
	slices.Sort(names)
	return names
}

// intact checks that local files are as before, that nothing came in but what the origin has, and
// that the index matches what lies there.
func (a *arena) intact(local map[string]string) {
	a.t.Helper()
	now := a.snapshot(false)
	for name, data := range local {
		if strings.HasPrefix(filepath.Base(name), "Packages") {
			continue
		}
		if now[name] != data && !a.forgettable(name) {
			a.t.Errorf("%q is not what it was", name)
		}
	}
	for name, data := range now {
		if strings.Contains(name, "/"+durable.KeptDir+"/") &&
			slices.Contains(slices.Collect(maps.Values(local)), data) {
			continue // it was replaced or removed, and is kept as it was
		}
		if _, was := local[name]; !was && !a.good[data] && !a.forgettable(name) &&
			!strings.HasPrefix(name, a.client.StateDir) {
			a.t.Errorf("%q came in, and is nothing that the origin has", name)
		}
	}
	for _, problem := range indexFaults(a.t, a.client.PKGDIR) {
		a.t.Error(problem)
	}
}

// indexFaults holds an index against the files with a reader of its own.
func indexFaults(t *testing.T, pkgdir string) (faults []string) {
	text, err := os.ReadFile(filepath.Join(pkgdir, "Packages"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(strings.TrimSpace(string(text)), "\n\n")
	seen := make(map[string]bool)
	for _, block := range blocks[1:] {
		entry := make(map[string]string)
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			entry[key] = value
		}
		name := entry["PATH"]
		data, err := os.ReadFile(filepath.Join(pkgdir, name))
		fi, statErr := os.Lstat(filepath.Join(pkgdir, name))
		sum5, sum1 := md5.Sum(data), sha1.Sum(data)
		switch {
		case seen[name]:
			faults = append(faults, name+" is indexed twice")
		case err != nil || statErr != nil:
			faults = append(faults, fmt.Sprintf("%s is indexed: %v", name, err))
		case entry["SIZE"] != strconv.Itoa(len(data)),
			entry["MTIME"] != strconv.FormatInt(fi.ModTime().Unix(), 10),
			entry["MD5"] != hex.EncodeToString(sum5[:]),
			entry["SHA1"] != hex.EncodeToString(sum1[:]):
			faults = append(faults, name+" is not what the index says")
		}
		seen[name] = true
	}
	return faults
}

// remembered is the latest time that the client is sure of.
func (a *arena) remembered() time.Time {
	st, err := state.Open(a.t.Context(), a.client.StateDir, state.Options{ReadOnly: true})
	a.must(err)
	defer st.Close()
	return st.HighestTime()
}

// forgettable reports whether a path of the client need not stay.
func (a *arena) forgettable(name string) bool {
	return slices.ContainsFunc(a.disposable, func(d string) bool {
		return name == d ||
			strings.HasPrefix(name, d+"/")
	})
}

// runAttacks tries attacks, each in an arena of its own, and returns how many that were.
func runAttacks(t *testing.T, p *template, attacks []attack) (n int) {
	for _, row := range attacks {
		n++
		t.Run(strings.ReplaceAll(row.name, " ", "-"), func(t *testing.T) {
			a := p.arena(t)
			row.wage(a)
			a.attempt(row.end, row.want)
		})
	}
	return n
}

// Without an attack everything is imported: the arena is fair.
func TestArenaIsFair(t *testing.T) {
	runAttacks(t, newTemplate(t), []attack{
		{"nothing", func(*arena) {}, harmless, ""},
		{"signed anew", func(a *arena) { a.resign(func(*statement) {}) }, harmless, ""},
		{"signed with SHA-256", func(a *arena) {
			text := a.text()
			a.writeCopies(framed(text, "Hash: SHA256\n",
				a.key.textSignature(text, how{hash: hashSHA256})))
		}, harmless, ""},
	})
}

func TestAttacks(t *testing.T) {
	total, p := 0, newTemplate(t)
	for _, group := range []struct {
		name    string
		attacks []attack
	}{
		{"keys", keyAttacks()},
		{"frame", frameAttacks()},
		{"endless", endlessAttacks()},
		{"paths", pathAttacks()},
		{"sizes", sizeAttacks()},
		{"files", fileAttacks()},
		{"generations", generationAttacks()},
		{"records", recordAttacks()},
		{"catalogues", catalogueAttacks()},
		{"packages", packageAttacks(t)},
		{"clients", clientAttacks()},
	} {
		t.Run(group.name, func(t *testing.T) { total += runAttacks(t, p, group.attacks) })
	}
	t.Logf("%d attacks were tried", total)
}

func join(parts ...string) string { return path.Join(parts...) }

func mkfifo(name string) error { return unix.Mkfifo(name, 0o644) }
