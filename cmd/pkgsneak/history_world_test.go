package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/durable/durabletest"
	"pkgsneak/sync/progress"
)

// The promises that are held after each step.
const (
	promiseHost    = "a host's files are not touched"
	promiseOwn     = "what is the client's own stays as it is"
	promiseKept    = "an origin's file that was there and that the origin still has stays"
	promiseIndex   = "each entry of the index matches its file, and each package has one"
	promiseSaid    = "what was left out is said"
	promiseWay     = "the plain commands and the hints lead back to all that there is"
	promiseExact   = "in the end there is nothing but what the origins have and what is the client's own"
	promiseOthers  = "forget touches one origin"
	promiseSmall   = "nothing leaves a drive for nothing"
	promiseUndo    = "an undo brings back what was there before the last import"
	promiseErrors  = "a failure has a code of the list and says why"
	historiesBegin = 1_780_000_000 // 2026-05-28
)

// content is the files of a directory as the model sees them: "p/" and a path below PKGDIR, or "d/"
// and a name in DISTDIR, and the SHA1 of the bytes.
type content map[string]string

// sums are the bytes that are there, under whatever name.
func (c content) sums() map[string]bool {
	m := make(map[string]bool, len(c))
	for _, sum := range c {
		m[sum] = true
	}
	return m
}

// computer is a build host or a client.
type computer struct {
	name  string
	root  string // its file system
	clock func(time.Time) time.Time

	has   content         // a host's files; a client's own
	came  map[string]bool // the bytes that imports brought to a client, once
	never map[string]bool // the keys that a client does not want
	key   string          // a host's fingerprint
	keys  []string        // all that it ever had, the newest last
	// of a second PKGDIR: the host that has it, and whose key it is exported with
	lives *computer
	// where a host's newest generation is; an older one removes nothing from a client
	last *usbDrive
	// a client's packages that were changed by hand since the index was written
	dirty map[string]bool
	// what a client had before the last import that changed anything; nil: something happened since
	undoTo content
	// an import was ended: the next one may go on with it, and an undo then takes both back
	// (TestUndoOfPackagesAndTrees has what that leads to)
	ended bool
}

func (m *computer) pkgdir() string  { return filepath.Join(m.root, "var/cache/binpkgs") }
func (m *computer) distdir() string { return filepath.Join(m.root, "var/cache/distfiles") }

func (m *computer) state() string {
	if m.lives != nil {
		return m.lives.state()
	}
	return filepath.Join(m.root, "var/lib/pkgsneak")
}

// id is the origin as which a host exports.
func (m *computer) id() string { return m.key + " " + m.name }

// second gives the words of a command of a second PKGDIR what makes them work there.
func (m *computer) second(words []string) []string {
	if m.lives == nil || len(words) == 0 {
		return words
	}
	return append(words, "--state-dir", m.state())
}

// file is where the model's key lies.
func (m *computer) file(key string) string {
	if name, ok := strings.CutPrefix(key, "d/"); ok {
		return filepath.Join(m.distdir(), name)
	}
	return filepath.Join(m.pkgdir(), strings.TrimPrefix(key, "p/"))
}

// usbDrive is a drive, and for each origin that was exported to it what it carries at the least.
type usbDrive struct {
	root    string
	carries map[string]content
	// what describes a generation was damaged or lost: of a kind that the next export does not look
	// at, it cannot tell what was there
	hurt bool
	// somebody else's file leaves little space on it
	small bool
}

// harmed notes what happened to a file of the drive.
func (d *usbDrive) harmed(name string) {
	d.hurt = d.hurt || strings.Contains(name, "/generation/") ||
		strings.Contains(filepath.Base(name), "Manifest")
}

// disagree tells whether origins of the drive have different files under the name.
func (d *usbDrive) disagree(key string) bool {
	sums := map[string]bool{}
	for _, carried := range d.carries {
		if sum := carried[key]; sum != "" {
			sums[sum] = true
		}
	}
	return len(sums) > 1
}

// world is everything that a history happens in.
type world struct {
	t       *testing.T
	dir     string
	mounted bool // each machine and each drive is a small file system of its own, which can be full
	program string

	hosts, clients []*computer
	gone           []*computer // hosts that left, and whose origins are on drives still
	drives         []*usbDrive
	now            time.Time
	keys           map[string]bool // all that ever signed
	// a state directory was lost, or an older generation was asked for: what came then may stay for
	// good
	lost     bool
	story    strings.Builder
	sabotage func() // for the test of the model: happens with the next command

	last  result // of the last command
	fated bool   // something befell it

	part map[*computer]bool // the machines of this history

	steps, commands, kills int
}

const (
	worldHosts, worldClients, worldDrives = 3, 3, 3 // the last host is a second PKGDIR of the first

	worldDisk = 24 << 20 // bytes of each file system
)

// newWorld makes the directories.
func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), mounted: os.Geteuid() == 0}
	var err error
	if w.program, err = exec.LookPath("pkgsneak"); err != nil {
		t.Fatal(err)
	}
	for i := range worldHosts {
		w.hosts = append(w.hosts, &computer{root: w.disk("host", i)})
	}
	w.hosts[worldHosts-1].lives = w.hosts[0]
	for i := range worldClients {
		w.clients = append(w.clients, &computer{name: "client" + string(rune('a'+i)),
			root: w.disk("client", i)})
	}
	for i := range worldDrives {
		w.drives = append(w.drives, &usbDrive{root: w.disk("drive", i)})
	}
	if !w.mounted {
		t.Log("NO DISK IS FULL IN THESE HISTORIES: only root can mount small ones")
	}
	return w
}

// disk makes a directory, with a small file system of its own where that is possible.
func (w *world) disk(kind string, i int) string {
	dir := filepath.Join(w.dir, fmt.Sprint(kind, i))
	if err := os.Mkdir(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if !w.mounted {
		return dir
	}
	if err := unix.Mount("histories", dir, "tmpfs", 0,
		fmt.Sprintf("size=%d", worldDisk)); err != nil {
		w.mounted = false
		return dir
	}
	w.t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			w.t.Errorf("umount %s: %v", dir, err)
		}
	})
	return dir
}

func (w *world) computers() []*computer { return slices.Concat(w.hosts, w.clients) }

// begin empties the world. Each host has a key, and each client trusts it: that is made once.
func (w *world) begin() {
	w.now, w.lost, w.keys, w.gone = time.Unix(historiesBegin, 0), false, map[string]bool{}, nil
	w.story.Reset()
	for i, h := range w.hosts {
		h.name, h.keys = "host"+string(rune('a'+i)), nil
	}
	for _, m := range w.computers() {
		w.clear(m.root)
		for _, dir := range []string{filepath.Join(m.root, "etc/portage"), m.pkgdir(),
			m.distdir()} {
			w.check(os.MkdirAll(dir, 0o755))
		}
		m.undoTo = nil
		m.has, m.dirty, m.key, m.last, m.came, m.never = content{}, map[string]bool{}, "", nil,
			map[string]bool{}, map[string]bool{}
		m.clock = func(t time.Time) time.Time { return t }
	}
	for _, d := range w.drives {
		w.clear(d.root)
		d.carries, d.hurt, d.small = map[string]content{}, false, false
	}
	for _, h := range w.hosts {
		if h.lives != nil {
		} else if _, err := os.Stat(w.keptState(h)); err == nil {
			w.check(copyTree(w.keptState(h), h.state()))
		} else {
			w.run(h, "key", "generate")
		}
		w.learnKey(h)
	}
	for _, c := range w.clients {
		if _, err := os.Stat(w.keptState(c)); err == nil {
			w.check(copyTree(w.keptState(c), c.state()))
			continue
		}
		for _, h := range w.hosts[:worldHosts-1] {
			w.trust(c, h)
		}
	}
	for _, m := range w.computers() {
		if m.lives == nil {
			w.check(os.MkdirAll(w.keptState(m), 0o755))
			w.check(copyTree(m.state(), w.keptState(m)))
		}
	}
	w.story.Reset()
}

// keptState is what a machine's state directory is in the beginning.
func (w *world) keptState(m *computer) string { return filepath.Join(w.dir, "begin", m.name) }

func (w *world) check(err error) {
	if err != nil {
		w.t.Helper()
		w.t.Fatalf("the world of the histories: %v\n%s", err, w.log())
	}
}

// clear removes everything below a directory.
func (w *world) clear(dir string) {
	entries, err := os.ReadDir(dir)
	w.check(err)
	for _, e := range entries {
		w.check(os.RemoveAll(filepath.Join(dir, e.Name())))
	}
}

// log is what happened, the last of it if it is much.
func (w *world) log() string {
	const most = 30_000
	text := w.story.String()
	if len(text) > most {
		text = "...\n" + text[len(text)-most:]
	}
	return strings.ReplaceAll(text, w.dir+"/", "")
}

// live takes a history from its beginning to its end, and then goes for the state in which all is
// there.
func (w *world) live(steps []step) error {
	w.begin()
	w.part = map[*computer]bool{w.hosts[0]: true, w.clients[0]: true}
	for _, s := range steps {
		w.part[w.hosts[s.Host]], w.part[w.clients[s.Client]] = true, true
	}
	for _, s := range steps {
		if err := w.take(s); err != nil {
			return err
		}
	}
	return w.recover()
}

// take takes a step and holds the promises.
func (w *world) take(s step) error {
	w.steps++
	w.now = w.now.Add(time.Hour)
	if touches := []string{"own-add", "own-rebuild", "own-remove", "own-copy", "client-delete",
		"client-lost", "import-twice", "client-index"}; slices.Contains(touches, s.Op) {
		w.clients[s.Client].undoTo = nil
	}
	fmt.Fprintf(&w.story, "== %s\n", s)
	r := rand.New(rand.NewPCG(s.N, 1))
	host, client, drive := w.hosts[s.Host], w.clients[s.Client], w.drives[s.Drive]
	switch s.Op {
	case "export":
		return w.export(host, drive, s)
	case "import":
		return w.imports(client, drive, s)
	case "host-add", "host-rebuild", "host-remove", "own-add", "own-rebuild", "own-remove":
		m := host
		if strings.HasPrefix(s.Op, "own-") {
			m = client
		}
		w.change(m, s.Op[strings.Index(s.Op, "-")+1:], r)
		return nil
	case "host-index":
		w.run(host, "index")
	case "client-index":
		if res := w.run(client, "index"); res.code == exitDone {
			clear(client.dirty)
		}
		return w.promises(client)
	case "client-delete":
		w.deleteHere(client, r)
	case "flip":
		w.flip(drive, r)
	case "drive-lose":
		if files := w.driveFiles(drive, ""); len(files) > 0 {
			name := files[r.IntN(len(files))]
			fmt.Fprintf(&w.story, "%s is gone\n", name)
			w.check(os.Remove(name))
			drive.harmed(name)
		}
	case "drive-copy":
		w.copyDrive(drive, w.drives[r.IntN(len(w.drives))])
	case "drive-new":
		w.clear(drive.root)
		drive.carries, drive.hurt, drive.small = map[string]content{}, false, false
	case "host-lost", "client-lost":
		m := host
		if s.Op == "client-lost" {
			m = client
		}
		w.check(os.RemoveAll(m.state()))
		if s.Op == "client-lost" {
			clear(m.never)
		}
		w.lost = true
	case "key-rotate":
		w.run(host, "key", "rotate")
		w.learnKey(host)
		w.lost = true
	case "trust":
		w.trust(client, host)
	case "trust-never":
		w.trustNever(client, host)
	case "trust-replaces":
		w.trustReplaces(client, host)
	case "forget":
		return w.forget(host, drive, s, r)
	case "own-copy":
		w.copyOwn(client, host, r)
		return w.promises(client)
	case "undo":
		return w.undo(client, s)
	case "request":
		return w.request(client, host, drive, s)
	case "drive-small":
		w.makeSmall(drive, r)
	case "import-twice":
		return w.importsTwice(client, drive, s)
	case "host-leaves":
		w.leave(host)
	case "host-clock", "client-clock":
		m := host
		if s.Op == "client-clock" {
			m = client
		}
		w.setClock(m, r)
	case "look":
		w.run(client, "verify", drive.root)
		w.run(client, "status", drive.root)
		w.run(host, "export", "--pretend", drive.root)
		w.run(client, "import", "--pretend", drive.root)
		return errors.Join(w.promises(client), w.untouched(host))
	default:
		return fmt.Errorf("there is no operation %q", s.Op)
	}
	return nil
}

// setClock lets a clock jump.
func (w *world) setClock(m *computer, r *rand.Rand) {
	const day = 24 * time.Hour
	jump := []time.Duration{0, 0, 10 * day, -40 * day, 400 * day, -700 * day}[r.IntN(6)]
	m.clock = func(t time.Time) time.Time { return t.Add(jump) }
	if r.IntN(6) == 0 {
		// no battery
		m.clock = func(t time.Time) time.Time { return time.Unix(t.Unix()-historiesBegin, 0) }
	}
	fmt.Fprintf(&w.story, "clock of %s: %s\n", m.name, m.clock(w.now).UTC())
}

// places are the names that packages and distfiles have; few, so that they meet. A shared file has
// the same bytes on every host; a distfile of a host has the host's name in it, since two distfiles
// with one name cannot both be there.
var places = []string{"p/app-misc/shared-1.0.tbz2", "p/dev-libs/shared/shared-2-1.xpak",
	"d/shared-1.tar.gz",
	"p/app-misc/a-1.0.tbz2", "p/app-misc/b-2-r1.tbz2", "p/dev-libs/c-1.0.tbz2",
	"p/app-misc/a/a-1.0-1.xpak", "p/app-misc/a/a-1.0-2.xpak",
	"p/dev-libs/c/c-1.0-1.gpkg.tar", "p/dev-libs/d/d-3-1.gpkg.tar", "p/dev-libs/d/d-3-2.gpkg.tar",
	"d/HOST-1.0.tar.gz", "d/HOST-2.tar.xz"}

// change adds, rebuilds or removes a file of a host, or one of a client's own.
func (w *world) change(m *computer, how string, r *rand.Rand) {
	have := slices.Sorted(maps.Keys(m.has))
	key := places[r.IntN(len(places))]
	if how != "add" {
		if len(have) == 0 {
			return
		}
		key = have[r.IntN(len(have))]
	}
	if shared := strings.Contains(key, "shared"); shared {
		// a file that the origins have, too, is theirs as soon as it is imported
		if how == "rebuild" || slices.Contains(w.clients, m) {
			return
		}
		r = rand.New(rand.NewPCG(uint64(len(key)), 1))
	}
	if name := m.name; strings.Contains(key, "HOST") {
		if slices.Contains(w.clients, m) {
			name = w.hosts[r.IntN(len(w.hosts))].name
		}
		key = strings.ReplaceAll(key, "HOST", name)
	}
	name := m.file(key)
	m.dirty[strings.TrimPrefix(key, "p/")] = true
	if how == "remove" {
		fmt.Fprintf(&w.story, "%s: %s is removed\n", m.name, key)
		delete(m.has, key)
		w.check(os.Remove(name))
		return
	}
	w.build(m, key, r)
}

// build makes a file of a machine's own.
func (w *world) build(m *computer, key string, r *rand.Rand) {
	name := m.file(key)
	data := payloadFor(key, r)
	m.has[key] = sumOf(data)
	fmt.Fprintf(&w.story, "%s: %s is made, %d bytes, %s\n", m.name, key, len(data), m.has[key][:8])
	w.check(os.MkdirAll(filepath.Dir(name), 0o755))
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.check(err)
	}
	w.check(os.WriteFile(name, data, 0o644))
	w.check(os.Chtimes(name, w.now, w.now))
}

// deleteHere removes a file that an import brought, by hand.
func (w *world) deleteHere(c *computer, r *rand.Rand) {
	here := w.contentOf(c)
	maps.DeleteFunc(here, func(key, _ string) bool { return c.has[key] != "" })
	if len(here) == 0 {
		return
	}
	key := slices.Sorted(maps.Keys(here))[r.IntN(len(here))]
	fmt.Fprintf(&w.story, "%s: %s is deleted by hand\n", c.name, key)
	c.dirty[strings.TrimPrefix(key, "p/")] = true
	w.check(os.Remove(c.file(key)))
}

// driveFiles lists the files of a drive whose path has the text in it.
func (w *world) driveFiles(d *usbDrive, text string) []string {
	var names []string
	w.check(filepath.WalkDir(d.root, func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.Contains(strings.TrimPrefix(name, d.root), text) {
			names = append(names, name)
		}
		return err
	}))
	return names
}

// flip turns a bit on a drive, in a file of a kind that is drawn.
func (w *world) flip(d *usbDrive, r *rand.Rand) {
	kinds := []string{".Packages.zst", ".json", "/Manifest", "/packages/", "/packages/",
		"packages/Packages", "/distfiles/", "layout.conf", "keys/", "README", "facts"}
	files := w.driveFiles(d, kinds[r.IntN(len(kinds))])
	if len(files) == 0 {
		return
	}
	name := files[r.IntN(len(files))]
	data, err := os.ReadFile(name)
	w.check(err)
	used := len(bytes.TrimRight(data, "\n")) // the padding is long, and nobody reads it
	if used == 0 {
		return
	}
	at := r.IntN(used)
	fmt.Fprintf(&w.story, "%s: bit flip at %d of %d\n", name, at, used)
	info, err := os.Stat(name)
	w.check(err)
	d.harmed(name)
	data[at] ^= 1 << r.IntN(8)
	w.check(os.WriteFile(name, data, 0o644))
	w.check(os.Chtimes(name, info.ModTime(), info.ModTime()))
}

// copyDrive makes a drive what another one is now.
func (w *world) copyDrive(from, to *usbDrive) {
	if from == to {
		return
	}
	w.makeLarge(from)
	w.clear(to.root)
	w.check(copyTree(from.root, to.root))
	to.small = false
	to.carries, to.hurt = map[string]content{}, from.hurt
	for key, c := range from.carries {
		to.carries[key] = maps.Clone(c)
	}
}

// contentOf reads what a machine has.
func (w *world) contentOf(m *computer) content {
	c := content{}
	for _, dir := range []struct{ prefix, path string }{{"p/", m.pkgdir()}, {"d/", m.distdir()}} {
		files, err := treeOf(dir.path)
		w.check(err)
		for _, f := range files {
			isPackage := strings.HasSuffix(f.path, ".tbz2") || strings.HasSuffix(f.path, ".xpak") ||
				strings.HasSuffix(f.path, ".gpkg.tar")
			if f.path[0] != '.' && (dir.prefix == "d/" || isPackage) {
				c[dir.prefix+f.path] = f.sum
			}
		}
	}
	return c
}

// export exports, and notes what the drive carries from then on.
func (w *world) export(h *computer, d *usbDrive, s step) error {
	// of what a generation lists: leftovers of a run that ended are nobody's
	had := map[string]bool{}
	if s.Fate == "full" || d.small {
		sums := w.sumsOn(d)
		for _, sum := range d.carries[h.id()] {
			had[sum] = sums[sum]
		}
	}
	res := w.runWithFate(h, d.root, s, append([]string{"export", "--no-progress", "-v"},
		append(strings.Fields(s.Flags), d.root)...))
	w.learnKey(h)
	before, after := d.carries[h.id()], content{}
	switchedOff := func(key string) bool {
		return key[0] == 'p' && res.flag("--no-packages") || key[0] == 'd' &&
			res.flag("--no-distfiles")
	}
	named := func(key string) bool {
		return res.code == exitLeftOut && strings.Contains(res.out, key[2:])
	}
	small := stayHere.MatchString(res.out) // this drive cannot take all
	var there map[string]bool
	if small {
		there = w.sumsOn(d)
		if err := nothingForNothing(h, res, had, there); err != nil {
			return err
		}
	}
	for key, sum := range h.has {
		if small && !there[sum] {
			continue
		}
		// A run that failed may have committed generations on its way: what was there and is still
		// wanted is there at the least.
		if !named(key) && !switchedOff(key) && (res.code == exitDone || res.code == exitLeftOut ||
			before[key] == sum) {
			after[key] = sum
		}
	}
	// what a kind that is switched off has on the drive stays as it is
	for key, sum := range before {
		if switchedOff(key) && !named(key) && !d.hurt {
			after[key] = sum
		}
	}
	d.carries[h.id()] = after
	if !strings.Contains(res.out, "nothing changed") {
		h.last = d
	}
	if err := w.untouched(h); err != nil {
		return err
	}
	return res.sane()
}

// sumsOn are the bytes of all files on a drive.
func (w *world) sumsOn(d *usbDrive) map[string]bool {
	files, err := treeOf(d.root)
	w.check(err)
	sums := make(map[string]bool, len(files))
	for _, f := range files {
		sums[f.sum] = true
	}
	return sums
}

// nothingForNothing: what the host has does not leave a drive to which nothing came instead.
func nothingForNothing(h *computer, res result, had, there map[string]bool) error {
	for key, sum := range h.has {
		if had[sum] && !there[sum] && !strings.Contains(res.out, "    copied ") {
			return &broken{promiseSmall,
				fmt.Sprintf("%s of %s has left, and nothing came", key, h.name)}
		}
	}
	return nil
}

// imports imports, and holds the promises of that.
func (w *world) imports(c *computer, d *usbDrive, s step) error {
	before := w.contentOf(c)
	res := w.runWithFate(c, c.root, s, append([]string{"import", "--no-progress", "-v"},
		append(strings.Fields(s.Flags), d.root)...))
	return w.imported(c, d, before, res)
}

func (w *world) imported(c *computer, d *usbDrive, before content, res result) error {
	if res.flag("--allow-older") {
		w.lost = true
	}
	// distfiles of that name, also of a state before an export that failed
	if res.flag("--replace") {
		files, err := treeOf(d.root)
		w.check(err)
		maps.DeleteFunc(c.has, func(key, sum string) bool {
			return key[0] == 'd' && slices.ContainsFunc(files, func(f treeFile) bool {
				return path.Base(f.path) == key[2:] && f.sum != sum
			})
		})
	}
	if err := w.promises(c); err != nil {
		return err
	}
	if err := res.sane(); err != nil {
		return err
	}
	here := w.contentOf(c)
	whole := !w.fated && (res.code == exitDone || res.code == exitLeftOut)
	changed := !maps.Equal(before, here)
	if changed || w.fated { // it may have been noted at least
		if c.undoTo = nil; changed && whole && !c.ended {
			c.undoTo = before
		}
	}
	c.ended = !whole || c.ended && !changed
	for key, sum := range here {
		c.came[sum] = c.came[sum] || c.has[key] != sum
	}
	after := here.sums()
	if !res.flag("--allow-older") {
		for key, sum := range before {
			if after[sum] || c.has[key] == sum || key[0] == 'd' && res.flag("--replace") {
				continue
			}
			for _, h := range slices.Concat(w.hosts, w.gone) {
				for path, wanted := range h.has {
					// A shared file may have been away in between, and this drive may lack it.
					if wanted == sum && (!strings.Contains(path, "shared") || w.trusts(c, h) &&
						d.carries[h.id()][path] == sum) {
						return &broken{promiseKept,
							fmt.Sprintf("%s had %s of %s, which has it as %s, and lost it", c.name,
								key, h.name, path)}
					}
				}
			}
		}
	}
	return w.allSaid(c, d, after, res)
}

// allSaid: after 0 everything is here, after 3 everything but what was named.
func (w *world) allSaid(c *computer, d *usbDrive, here map[string]bool, res result) error {
	// each origin alone: the others are here
	judged := res.code == exitUntrusted || res.code == exitOlder || res.code == exitGone
	if res.code != exitDone && res.code != exitLeftOut && (!judged || w.fated) {
		return nil
	}
	for _, h := range w.hosts {
		if !w.trusts(c, h) || judged && strings.Contains(res.out, `origin "`+h.name) {
			continue
		}
		for key, sum := range d.carries[h.id()] {
			off := key[0] == 'p' && res.flag("--no-packages") || key[0] == 'd' &&
				res.flag("--no-distfiles")
			if off || here[sum] || here[h.has[key]] || (judged || res.code == exitLeftOut) &&
				(strings.Contains(res.out, key[2:]) ||
					strings.Contains(res.out, fmt.Sprintf("origin %q", h.name))) {
				continue
			}
			if res.flag("--replace") && key[0] == 'd' && d.disagree(key) {
				continue // two cannot have one name, and the person was asked
			}
			// The host gave it up, or has another build, and an older drive is no news. Of a
			// distfile it cannot tell whether it has the newest one.
			if (h.has[key] != sum || key[0] == 'd') && strings.Contains(res.out, "superseded") {
				continue
			}
			// it has no manifest, and never had one as far as this client can tell
			if strings.Contains(res.out, fmt.Sprintf("note: reading %q: ", h.name)) {
				continue
			}
			return &broken{promiseSaid,
				fmt.Sprintf("exit code %d, and %s has not got %s of %s (%s)", res.code, c.name, key,
					h.name, sum[:8])}
		}
	}
	return nil
}

// untouched: an export changes nothing on the host.
func (w *world) untouched(h *computer) error {
	if here := w.contentOf(h); !maps.Equal(here, h.has) {
		return &broken{promiseHost, fmt.Sprintf("%s has %v, had %v", h.name, here, h.has)}
	}
	return nil
}

// promises holds what is true of a client at any moment.
func (w *world) promises(c *computer) error {
	here := w.contentOf(c)
	for key, sum := range c.has {
		if here[key] != sum {
			return &broken{promiseOwn, fmt.Sprintf("%s: %s is %.8q, was %.8q", c.name, key,
				here[key], sum)}
		}
	}
	return w.indexHolds(c, true)
}

// indexHolds: the entries match, but for what was changed by hand. At a moment within a run
// packages without an entry are allowed (partial).
func (w *world) indexHolds(c *computer, partial bool) error {
	problems, err := indexProblems(c.pkgdir(), partial)
	if errors.Is(err, fs.ErrNotExist) && len(w.contentOf(c)) == 0 {
		return nil
	}
	if err != nil {
		return &broken{promiseIndex, err.Error()}
	}
	for _, p := range problems {
		if path, _, _ := strings.Cut(p, ": "); !c.dirty[path] {
			return &broken{promiseIndex, c.name + ": " + p}
		}
	}
	return nil
}

// recover goes for the state in which all is there, as a person would: with the plain commands, and
// those that hints name.
func (w *world) recover() error {
	fmt.Fprintf(&w.story, "== recover\n")
	for _, m := range w.computers() {
		m.clock = func(t time.Time) time.Time { return t }
	}
	for _, d := range w.drives {
		w.makeLarge(d)
	}
	d := w.drives[0]
	for _, h := range w.hosts {
		if !w.part[h] {
			continue
		}
		if len(h.has) == 0 { // an export of nothing fails, rightly
			w.build(h, "p/app-misc/last-1.0.tbz2", rand.New(rand.NewPCG(1, 1)))
		}
		if err := w.settle(h, d, "export"); err != nil {
			return err
		}
	}
	for _, c := range w.clients {
		if !w.part[c] {
			continue
		}
		for _, h := range w.hosts { // who did not want something and does now, asks for it
			if c.never[h.key] {
				w.trust(c, h)
			}
		}
		for _, words := range [][]string{{"import"}, {"import", "--prune"}} {
			if err := w.settle(c, d, words...); err != nil {
				return err
			}
		}
		if strings.Contains(w.last.out, "--allow-older takes it") {
			if err := w.settle(c, d, "import", "--allow-older"); err != nil {
				return err
			}
		}
		if err := w.complete(c, d); err != nil {
			return err
		}
	}
	return nil
}

// complete: everything is there, the index is whole, and nothing is left of what the origins had
// before.
func (w *world) complete(c *computer, d *usbDrive) error {
	here := w.contentOf(c)
	want := c.has.sums()
	for _, h := range w.hosts {
		for key, sum := range h.has {
			if want[sum] = true; !here.sums()[sum] {
				return &broken{promiseWay, fmt.Sprintf("%s has not got %s of %s in the end",
					c.name, key, h.name)}
			}
		}
	}
	clear(c.dirty)
	if err := w.indexHolds(c, false); err != nil {
		return err
	}
	if strings.Contains(w.last.out, "not removed") { // it was named, with the reason
		return nil
	}
	if w.lost || slices.ContainsFunc(w.hosts, func(h *computer) bool {
		return w.part[h] &&
			h.last != d
	}) {
		return nil
	}
	for key, sum := range here {
		if !want[sum] {
			return &broken{promiseExact, fmt.Sprintf("%s still has %s (%s)", c.name, key, sum[:8])}
		}
	}
	return nil
}

// settle runs a command until it ends with 0, and follows its hints between its runs.
func (w *world) settle(m *computer, d *usbDrive, words ...string) error {
	var extra []string
	var res result
	for round := range 8 {
		w.now = w.now.Add(time.Minute)
		command := slices.Concat(words, []string{"--no-progress", "-v"}, extra, []string{d.root})
		switch words[0] {
		case "export":
			if err := w.export(m, d, step{Flags: strings.Join(append(slices.Clone(words[1:]),
				extra...), " ")}); err != nil {
				return err
			}
			res = w.last
		case "import":
			w.fated = false
			before := w.contentOf(m)
			res = w.run(m, command...)
			if err := w.imported(m, d, before, res); err != nil {
				return err
			}
		}
		if res.code == exitDone {
			return nil
		}
		for _, flag := range w.follow(m, d, words[0], res, round+1) {
			if !slices.Contains(extra, flag) {
				extra = append(extra, flag)
			}
		}
	}
	return &broken{promiseWay, fmt.Sprintf("%s: %s never ends with 0, but with %d: %.300s", m.name,
		strings.Join(words, " "), res.code, res.out)}
}

var (
	stayHere    = regexp.MustCompile(` stays? here \(`)
	hintCommand = regexp.MustCompile(`pkgsneak ([a-z]+)((?: +(?:--?[a-zA-Z-]+(?:[= ][0-9A-F]{40})?|/[^ ;,]+|[0-9A-F]{40}))*)`)
	hintFlag    = regexp.MustCompile(`--(?:allow-shrink|accept-clock|accept-future|accept-rotation|allow-older|replace)`)
	forgetHint  = regexp.MustCompile(`pkgsneak forget ('[^']+'|[^\s';]+) (/[^\s;,]+)`)
)

// follow does what hints ask for, and gives the flags that they add to the command. Rounds are
// counted from 1: what cannot be taken back is done when the rest did not help.
func (w *world) follow(m *computer, d *usbDrive, verb string, res result,
	round int) (extra []string) {
	const patient = 2
	for line := range strings.Lines(res.out) {
		hint, ok := strings.CutPrefix(strings.TrimSpace(line), "hint: ")
		if !ok {
			continue
		}
		if strings.Contains(hint, "pkgsneak key renew") {
			w.renew(m, verb, res, round > patient)
		}
		if round > patient {
			w.forgetAsTold(m, d, hint)
		}
		for _, flag := range hintFlag.FindAllString(hint, -1) {
			if !slices.Contains(extra, flag) {
				extra = append(extra, flag)
			}
		}
		for _, found := range hintCommand.FindAllStringSubmatch(hint, -1) {
			words := strings.Fields(found[2])
			switch found[1] {
			case "trust":
				w.trustAsTold(m, d, words)
			case "export":
				if verb != "export" {
					w.exportAsTold(d, slices.Contains(words, "--repair"), round > patient)
				}
			case "index":
				if w.run(m, "index").code == exitDone {
					clear(m.dirty)
				}
			case "import", "key", "verify", "status", "forget":
			default:
				w.run(m, append([]string{found[1]}, words...)...)
			}
		}
	}
	return extra
}

// renew gives an origin another name, where its host is told to, or the people at a client have
// nothing else left to try.
func (w *world) renew(m *computer, verb string, res result, last bool) {
	hosts := []*computer{m}
	if verb != "export" {
		if hosts = nil; last {
			hosts = slices.DeleteFunc(slices.Clone(w.hosts), func(h *computer) bool {
				return !strings.Contains(res.out, `origin "`+h.name)
			})
		}
	}
	for _, h := range hosts {
		w.run(h, "key", "renew")
		w.learnKey(h)
		w.lost = true
	}
}

func (w *world) trustAsTold(m *computer, d *usbDrive, words []string) {
	switch {
	case slices.Contains(words, "--replaces") && slices.Contains(words, "--fingerprint"):
		// the hint asks for what "pkgsneak key" shows on the build host
		shown := words[slices.Index(words, "--fingerprint")+1]
		if slices.ContainsFunc(w.hosts, func(h *computer) bool { return h.key == shown }) {
			w.run(m, append([]string{"trust"}, words...)...)
		}
	case slices.Contains(words, "--replaces"):
		for _, h := range w.hosts {
			w.run(m, append([]string{"trust", "--fingerprint", h.key}, words...)...)
		}
	default:
		for _, key := range slices.Sorted(maps.Keys(w.keys)) {
			w.run(m, "trust", d.root, "--fingerprint", key)
		}
	}
}

// exportAsTold exports from each host; the next import shows what came of it. The advice of an
// export to forget origins that nobody writes any more is followed only if last is set.
func (w *world) exportAsTold(d *usbDrive, repair, last bool) {
	for _, h := range w.hosts {
		if !w.part[h] {
			continue
		}
		w.now = w.now.Add(time.Minute)
		flags := ""
		if repair {
			flags = "--repair"
		}
		_ = w.export(h, d, step{Flags: flags})
		// the clock is right now, and was wrong when this host exported before
		if strings.Contains(w.last.out, "--accept-clock") {
			_ = w.export(h, d, step{Flags: flags + " --accept-clock"})
		}
		if last {
			w.forgetAsTold(h, d, w.last.out)
		}
	}
}

// forgetAsTold takes origins off a drive that are to be forgotten according to a text, unsigned
// ones where that is the way out.
func (w *world) forgetAsTold(m *computer, d *usbDrive, text string) {
	for _, found := range forgetHint.FindAllStringSubmatch(text, -1) {
		res := w.run(m, "forget", strings.Trim(found[1], "'"), d.root, "--yes")
		if strings.Contains(res.out, "--unsigned") {
			w.run(m, "forget", strings.Trim(found[1], "'"), d.root, "--yes", "--unsigned")
		}
	}
}

// result is how a command ended.
type result struct {
	words []string
	code  int // -1: it was killed
	out   string
}

func (r result) flag(name string) bool { return slices.Contains(r.words, name) }

// sane: the code is one of the list, and whoever fails reports why.
func (r result) sane() error {
	known := r.code == -1
	for _, m := range exitMeanings {
		known = known || m.code == r.code && m.code != exitUsage
	}
	if !known || r.code > 0 && !strings.Contains(r.out, "pkgsneak: ") &&
		!strings.Contains(r.out, "warning: ") {
		return &broken{promiseErrors, fmt.Sprintf("%q: exit code %d: %s", r.words, r.code, r.out)}
	}
	return nil
}

// run runs a command on a machine, in this process.
func (w *world) run(m *computer, words ...string) result {
	return w.runIn(context.Background(), m, nil, nil, words)
}

// forking keeps the worlds of one process apart: between fork and exec a child has all files that
// are open, and with them the locks and the space of files that are removed.
var forking sync.RWMutex

// runIn is run with somebody who sees each event, and with a hook under the changes of files.
func (w *world) runIn(ctx context.Context, m *computer, observe func(), hook durable.Hook,
	words []string) result {
	w.commands++
	words = m.second(slices.Clone(words))
	var out bytes.Buffer
	e := &env{stdin: strings.NewReader(""), stdout: &out, stderr: &out, hostname: m.name,
		root: m.root, version: "story", now: func() time.Time { return m.clock(w.now) }, hook: hook}
	e.lookup = func(key string) (string, bool) {
		v, ok := map[string]string{"PKGSNEAK_ANY_DIRECTORY": "yes", "LC_ALL": "C.UTF-8"}[key]
		return v, ok
	}
	if observe != nil {
		e.observe = func(progress.Message) { observe() }
	}
	forking.RLock()
	code := run(ctx, e, words)
	forking.RUnlock()
	return w.ended(m, words, code, out.String())
}

func (w *world) ended(m *computer, words []string, code int, out string) result {
	if w.sabotage != nil {
		w.sabotage()
	}
	fmt.Fprintf(&w.story, "%s$ pkgsneak %s\n%s  -> %d\n", m.name,
		strings.Join(words, " "), out, code)
	w.last = result{words, code, out}
	return w.last
}

// runWithFate runs a command, and what the step has in mind befalls it. disk is where it writes.
func (w *world) runWithFate(m *computer, disk string, s step, words []string) result {
	w.fated = s.Fate != ""
	switch s.Fate {
	case "kill":
		return w.runKilled(m, s.At, words)
	case "interrupt":
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		events := 0
		return w.runIn(ctx, m, func() {
			if events++; events == s.At {
				cancel()
			}
		}, nil, words)
	case "fail":
		hook := durabletest.FailFrom(s.At, syscall.ENOSPC)
		if s.N%3 == 0 {
			hook = durabletest.FailAt(s.At, syscall.EIO)
		}
		return w.runIn(context.Background(), m, nil, hook, words)
	case "full":
		if !w.mounted {
			break
		}
		ballast := filepath.Join(disk, "ballast")
		defer os.Remove(ballast)
		fill := func() {
			w.check(fillDisk(disk, ballast, []int64{0, 4096, 20_000, 100_000, 2_200_000}[s.N%5]))
		}
		if s.At < 3 {
			fill()
			return w.run(m, words...)
		}
		events := 0
		return w.runIn(context.Background(), m, func() {
			if events++; events == s.At {
				fill()
			}
		}, nil, words)
	}
	return w.run(m, words...)
}

// fillDisk leaves so many bytes free.
func fillDisk(disk, ballast string, leave int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(disk, &st); err != nil {
		return err
	}
	n := int64(st.Bfree)*int64(st.Bsize) - leave
	if n <= 0 {
		return nil
	}
	f, err := os.Create(ballast)
	if err != nil {
		return err
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, n); err != nil && !errors.Is(err, unix.ENOSPC) {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// runKilled runs a command in a process of its own and kills it: mostly before a change of its own,
// which all go through the hook; else at a change that is seen in the file system.
func (w *world) runKilled(m *computer, at int, words []string) result {
	w.commands++
	words = m.second(slices.Clone(words))
	changes, err := newChanges(w.dir)
	w.check(err)
	defer changes.close()
	cmd := exec.Command(w.program, words...)
	cmd.Dir = w.dir
	cmd.Env = w.environment(m)
	if words[0] == "import" || words[0] == "export" && at%3 > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprint("STORY_KILL=", at))
		at = math.MaxInt
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	forking.Lock()
	err = cmd.Start()
	forking.Unlock()
	w.check(err)
	changes.stop = cmd.Process
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for seen := 0; ; {
		n, err := changes.next()
		w.check(err)
		if seen += n; seen >= at {
			_ = cmd.Process.Kill() // it may have ended just now
		}
		select {
		case err := <-ended:
			var failed *exec.ExitError
			switch {
			case err == nil:
				return w.ended(m, words, 0, out.String())
			case errors.As(err, &failed):
				if status, ok := failed.Sys().(syscall.WaitStatus); ok && status.Signaled() {
					w.kills++
				}
				return w.ended(m, words, failed.ExitCode(), out.String())
			}
			w.check(err)
		default:
			_ = cmd.Process.Signal(syscall.SIGCONT)
		}
	}
}

// environment is that of a command of a machine in a process of its own.
func (w *world) environment(m *computer) []string {
	return []string{"PKGSNEAK_ANY_DIRECTORY=yes", "LC_ALL=C.UTF-8", "PATH=" + os.Getenv("PATH"),
		"STORY_ROOT=" + m.root, "STORY_NAME=" + m.name,
		"STORY_NOW=" + m.clock(w.now).UTC().Format(storyClock)}
}

// learnKey reads which key a host signs with.
func (w *world) learnKey(h *computer) {
	var out bytes.Buffer
	e := &env{stdin: strings.NewReader(""), stdout: &out, stderr: &out, hostname: h.name,
		root: h.root, version: "story", now: func() time.Time { return w.now },
		lookup: func(string) (string, bool) { return "", false }}
	if run(context.Background(), e, h.second([]string{"key", "--json"})) != exitDone {
		return
	}
	var line struct {
		Result struct{ Fingerprint string }
	}
	w.check(json.Unmarshal(out.Bytes(), &line))
	for _, m := range w.hosts { // a second PKGDIR has the same
		if m.state() == h.state() && m.key != line.Result.Fingerprint {
			m.key = line.Result.Fingerprint
			m.keys = append(m.keys, m.key)
		}
	}
	w.keys[h.key] = true
}

// trust lets a client trust a host's key, given by hand.
func (w *world) trust(c, h *computer) {
	armor := w.run(h, "key", "--armor")
	if armor.code != exitDone {
		return
	}
	file := filepath.Join(w.dir, "key.asc")
	w.check(os.WriteFile(file, []byte(armor.out), 0o644))
	if w.run(c, "trust", file, "--fingerprint", h.key).code == exitDone {
		delete(c.never, h.key)
	}
}

// trusts tells whether a client trusts a host's key, by the file that states it.
func (w *world) trusts(c, h *computer) bool {
	_, err := os.Stat(filepath.Join(c.state(), "trusted", h.key+".asc"))
	return err == nil
}

// harm removes or changes files of a machine, for the test of the model.
func (w *world) harm(m *computer, which func(file string, own bool) bool, data []byte) {
	files, err := treeOf(m.pkgdir())
	w.check(err)
	for _, f := range files {
		if !which(f.path, m.has["p/"+f.path] != "") || f.path[0] == '.' {
			continue
		}
		name := filepath.Join(m.pkgdir(), f.path)
		w.check(os.Remove(name))
		if data != nil {
			w.check(os.WriteFile(name, data, 0o644))
		}
	}
}
