package vm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/scripts/vm"
	"pkgsneak/scripts/vm/disk"
	"pkgsneak/scripts/vm/wire"
)

// flavour is a file system as it comes on drives.
type flavour struct {
	name    string
	kind    string // for mount
	mkfs    []string
	mib     int64
	options string
	// The unit in bytes in which writes are torn. FAT is written with nothing but
	// sectors in mind; ext4, xfs and btrfs take for granted that a block, their
	// superblock above all, is written whole, and cannot be mounted otherwise.
	unit int
	// The byte at which the file system begins: 0, or that of the first partition
	// of a table.
	start int64
}

// flavours are the file systems that each state is tried of.
var flavours = []flavour{
	{"vfat-512", "vfat", []string{"mkfs.vfat", "-F", "32", "-s", "1"}, 64, "", 512, 0},
	{"vfat-4k", "vfat", []string{"mkfs.vfat", "-F", "32", "-s", "8"}, 64, "", 512, 0},
	{"vfat-32k", "vfat", []string{"mkfs.vfat", "-F", "32", "-s", "64"}, 128, "", 512, 0},
	{"exfat", "exfat", []string{"mkfs.exfat"}, 64, "", 512, 0},
	{"ext4", "ext4", []string{"mkfs.ext4", "-q", "-F"}, 64, "", 4096, 0},
}

// further are those that are looked at less closely.
var further = []flavour{
	{"vfat-partition", "vfat", []string{"mkfs.vfat", "-F", "32", "-s", "8"}, 64, "", 512,
		partitionStart},
	{"exfat-partition", "exfat", []string{"mkfs.exfat"}, 64, "", 512, partitionStart},
	{"xfs", "xfs", []string{"mkfs.xfs", "-q", "-f"}, 320, "", 4096, 0},
	{"btrfs", "btrfs", []string{"mkfs.btrfs", "-q", "-f"}, 128, "", 4096, 0},
}

// partitionStart is where a drive's first partition begins, as fdisk does it.
const partitionStart = 1 << 20

// partitioned puts an image into the first partition of a larger one.
func partitioned(t testing.TB, image string, mib int64) string {
	t.Helper()
	outer := blank(t, mib+partitionStart>>20)
	table := make([]byte, disk.Sector)
	entry := table[446:]
	entry[4] = 0x0c // FAT32, LBA: Linux does not look
	binary.LittleEndian.PutUint32(entry[8:], partitionStart/disk.Sector)
	binary.LittleEndian.PutUint32(entry[12:], uint32(mib<<20/disk.Sector))
	copy(table[510:], "\x55\xaa")
	src := must[*os.File](t)(os.Open(image))
	defer src.Close()
	dst := must[*os.File](t)(os.OpenFile(outer, os.O_WRONLY, 0))
	must[int](t)(dst.Write(table))
	must[int64](t)(dst.Seek(partitionStart, io.SeekStart))
	must[int64](t)(io.Copy(dst, src))
	ok(t, dst.Close())
	return outer
}

// device is what is mounted of a drive that was plugged in. Its partitions come
// a little later than it.
func (f flavour) device(t testing.TB, m *vm.Machine, p *vm.Plugged) string {
	t.Helper()
	if f.start == 0 {
		return p.Device
	}
	must[string](t)(m.Sh(t.Context(), "until [ -b "+p.Device+"1 ]; do true; done"))
	return p.Device + "1"
}

// format makes a blank drive of a flavour.
func (f flavour) format(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath(f.mkfs[0]); err != nil {
		t.Skipf("THE MACHINE LAB DID NOT RUN ON %s: %v", f.name, err)
	}
	image := blank(t, f.mib)
	run(t, f.mkfs[0], append(slices.Clone(f.mkfs[1:]), image)...)
	return image
}

// generation is what one export committed; the first one of a recording is the
// empty drive.
type generation struct {
	serial int64
	want   content
	// Of the log: where its signed list is first written, and the number of
	// entries after which it is committed: the flush of that fsync is over.
	begun, committed int
}

// recording is a sequence of exports, write by write.
type recording struct {
	flavour
	t     testing.TB
	m     *vm.Machine
	below []wire.Layer // the drive before
	name  string       // of the log in the guest
	log   disk.Log
	gens  []generation
	asks  []generation // the requests of a client; the first one is none
	turn  int          // before which the drive was pulled that it goes on with; 0: it begins anew

	note     string // what import printed of the state at hand, if it brought nothing
	repaired int    // second runs that needed fsck
	overdue  func() bool
	trials   *trials
	looks    *trials // with the requests
}

// trials are the tries of one series: a drive in which a client sees what it saw
// before is not shown to it again. Now and then it is all the same, to see that
// this is no loss.
type trials struct {
	series        string
	tried         map[uint64]wire.Tried
	alike, afresh int // drives that look like one before, and those shown all the same
}

// afreshEvery is how many drives that are alike there are to one that is shown
// again.
const afreshEvery = 20

func newTrials(m *vm.Machine, f flavour) *trials {
	return &trials{series: fmt.Sprintf("%s %p %d", f.name, m, time.Now().UnixNano()),
		tried: make(map[uint64]wire.Tried)}
}

// offer puts a log where the guest can load it, and loads it.
func offer(t testing.TB, m *vm.Machine, name string, l disk.Log) {
	t.Helper()
	f, err := os.CreateTemp(theLab().share("."), name)
	ok(t, err)
	defer os.Remove(f.Name())
	ok(t, errors.Join(l.Encode(f), f.Close()))
	must[int](t)(m.Load(t.Context(), name, wire.ShareDir+"/"+filepath.Base(f.Name())))
}

// whole is a layer of all of a log.
func whole(name string) wire.Layer { return wire.Layer{Log: name, State: disk.State{Prefix: -1}} }

// record exports a sequence onto a fresh USB drive. The steps of between follow each export, while
// the drive is mounted.
func record(t testing.TB, m *vm.Machine, f flavour, bin string, states [][]payload,
	between ...func(r *recording, turn int)) *recording {
	t.Helper()
	ctx := t.Context()
	image, file := f.format(t), filepath.Join(t.TempDir(), "writes")
	r := &recording{flavour: f, t: t, m: m, name: "writes", below: []wire.Layer{whole("blank")},
		gens: []generation{{want: content{}}}, trials: newTrials(m, f),
		looks: newTrials(m, f)}
	r.loadBase(image)
	if f.start > 0 {
		image = partitioned(t, image, f.mib)
	}
	p := must[*vm.Plugged](t)(m.Plug(ctx, vm.Stick{Image: image, Log: file}))
	for i, files := range states {
		want := furnish(t, m, files)
		ok(t, m.Mount(ctx, r.mount(f.device(t, m, p), false)))
		must[string](t)(m.Sh(ctx, fmt.Sprintf("cp -a %s /t/before%d", hostState, i+1)))
		rep := export(t, m, bin)
		for _, step := range between {
			step(r, i+1)
		}
		ok(t, m.Unmount(ctx, drive))
		r.gens = append(r.gens, generation{serial: rep.Report.Serial, want: want})
	}
	ok(t, p.Pull(ctx))
	src, err := os.Open(file)
	ok(t, err)
	defer src.Close()
	r.log = must[disk.Log](t)(disk.ReadLog(src))
	for i := range r.log { // the replay has the file system only
		r.log[i].Offset = max(0, r.log[i].Offset-f.start)
	}
	offer(t, m, r.name, r.log)
	r.findCommits()
	return r
}

func (r *recording) loadBase(image string) {
	f, err := os.Open(image)
	ok(r.t, err)
	defer f.Close()
	offer(r.t, r.m, "blank", must[disk.Log](r.t)(disk.Dump(f, r.mib<<20)))
}

func (r *recording) mount(device string, readOnly bool) wire.Mount {
	return wire.Mount{Device: device, Dir: drive, Type: r.kind, Options: r.options,
		ReadOnly: readOnly}
}

// furnish gives the guest's host files.
func furnish(t testing.TB, m *vm.Machine, files []payload) content {
	t.Helper()
	dir, err := os.MkdirTemp(theLab().share("."), "host")
	ok(t, err)
	defer os.RemoveAll(dir)
	want := plant(t, dir, files)
	for sub, to := range map[string]string{"pkgdir": hostPkgdir, "distdir": hostDistdir} {
		ok(t, m.Copy(t.Context(), wire.ShareDir+"/"+filepath.Base(dir)+"/"+sub, to))
	}
	return want
}

// export runs an export that must succeed.
func export(t testing.TB, m *vm.Machine, bin string, more ...string) report {
	t.Helper()
	r := must[wire.Result](t)(m.Run(t.Context(), exportCommand(bin, more...)))
	rep, err := result(r)
	ok(t, err)
	if r.Code != 0 {
		t.Fatalf("export ended with %d: %s", r.Code, r.Stderr)
	}
	return rep
}

// findCommits looks for the signed lists in the log. A list goes to the copy that
// does not count first, and the fsync of that ends with a flush.
func (r *recording) findCommits() {
	for i := range r.gens[1:] {
		r.findCommit(&r.gens[i+1], false)
	}
	for i := range r.asks {
		if i > 0 {
			r.findCommit(&r.asks[i], true)
		}
	}
}

// findCommit looks for one list.
func (r *recording) findCommit(gen *generation, asked bool) {
	if gen.begun < 0 {
		return // from before this log
	}
	var found bool
	gen.begun, gen.committed, found = commitOf(r.log, gen.serial, asked)
	if !found {
		r.t.Fatalf("%s: the signed list of %d is not in the log of %d entries", r.flavour.name,
			gen.serial, len(r.log))
	}
}

// commitOf finds where a signed list is first written, and after how many entries it is committed.
// Two more texts may be of the same second: a request, whose list names the client's key (asked),
// and the note of the owner, which lists nothing.
func commitOf(log disk.Log, serial int64, asked bool) (begun, committed int, found bool) {
	list := []byte("TIMESTAMP " + time.Unix(serial, 0).UTC().Format(time.RFC3339) + "\nDATA ")
	begun = slices.IndexFunc(log, func(e disk.Entry) bool {
		return bytes.Contains(e.Data, list) &&
			asked == bytes.Contains(e.Data, []byte("DATA key.asc "))
	})
	if begun < 0 {
		return 0, 0, false
	}
	flush := slices.IndexFunc(log[begun:], func(e disk.Entry) bool {
		return e.Flags&disk.Flush != 0
	})
	return begun, begun + flush + 1, flush >= 0
}

// An export on a fast machine notes its owner and commits within one second, and a client asks.
func TestCommitIsFoundAmongTextsOfTheSameSecond(t *testing.T) {
	const when = "TIMESTAMP 2026-11-30T00:36:16Z\n"
	text := func(s string) disk.Entry { return disk.Entry{Data: []byte(s)} }
	flush := disk.Entry{Flags: disk.Flush}
	log := disk.Log{
		text(when + "-----BEGIN PGP SIGNATURE-----"), flush,
		text(when + "DATA key.asc 1 BLAKE2B 0"), flush,
		text(when + "DATA host/catalogue 1 BLAKE2B 0"), text("FAT"), flush,
	}
	serial := must[time.Time](t)(time.Parse(time.RFC3339, "2026-11-30T00:36:16Z")).Unix()
	for _, c := range []struct {
		asked            bool
		begun, committed int
	}{{true, 2, 4}, {false, 4, 7}} {
		begun, committed, found := commitOf(log, serial, c.asked)
		if !found || begun != c.begun || committed != c.committed {
			t.Errorf("asked %v: %d, %d, %v, not %d, %d", c.asked, begun, committed, found,
				c.begun, c.committed)
		}
	}
	for _, cut := range []disk.Log{log[:2], log[:6]} {
		if _, _, found := commitOf(cut, serial, false); found {
			t.Errorf("a list is found in %d entries", len(cut))
		}
	}
}

// allowed are the first and the last generation that a drive may show in a
// state: all that were committed, and one that is just being.
func (r *recording) allowed(s disk.State) (least, most int) { return allowedOf(r.gens, s) }

func allowedOf(list []generation, s disk.State) (least, most int) {
	for g, gen := range list {
		if gen.committed <= s.Prefix {
			least = max(least, g)
		}
		if gen.begun < s.Prefix {
			most = max(most, g)
		}
	}
	return least, most
}

// show tries a state: which generation does a client find there? reason is
// what is wrong.
func (r *recording) show(s disk.State) (gen int, reason string) {
	try := wire.Try{
		Attach: wire.Attach{Size: r.mib << 20, Layers: append(slices.Clone(r.below),
			wire.Layer{Log: r.name, State: s})},
		Mount:    r.mount("", true),
		Reset:    freshClient(),
		Commands: []wire.Command{importCommand(), verifyCommand()},
		Trees:    []string{clientDir + "/pkgdir", clientDir + "/distdir"},
	}
	tried, before := r.trials.try(r.t, r.m, try)
	if tried.MountError != "" {
		return -1, tried.MountError
	}
	gen, reason = r.verdict(tried)
	if before != nil {
		if g, why := r.verdict(*before); g != gen || why != reason {
			return -1, fmt.Sprintf("drives that look the same: generation %d (%s), then %d (%s)",
				g, why, gen, reason)
		}
	}
	return gen, reason
}

// try shows a drive, unless one that looks the same was shown before: then it returns what that one
// showed. before is what one showed that was shown all the same.
func (c *trials) try(t testing.TB, m *vm.Machine, try wire.Try) (tried wire.Tried,
	before *wire.Tried) {
	t.Helper()
	try.Series, try.Afresh = c.series, c.alike/afreshEvery > c.afresh
	tried = must[wire.Tried](t)(m.Try(t.Context(), try))
	last, alike := c.tried[tried.Fingerprint]
	switch {
	case tried.MountError != "":
	case !alike:
		c.tried[tried.Fingerprint] = tried
	case try.Afresh:
		c.alike++
		c.afresh++
		return tried, &last
	default:
		c.alike++
		return last, nil
	}
	return tried, nil
}

// verdict is what import and verify made of a state.
func (r *recording) verdict(tried wire.Tried) (gen int, reason string) {
	imported, err := result(tried.Results[0])
	if err != nil {
		return -1, "import: " + err.Error()
	}
	verified, err := result(tried.Results[1])
	if err != nil {
		return -1, "verify: " + err.Error()
	}
	return r.judge(received(r.t, tried.Trees), imported, verified)
}

// judge finds the generation that import brought, exactly, and compares it with
// what verify reports.
func (r *recording) judge(got content, imported, verified report) (gen int, reason string) {
	if imported.Exit != 0 {
		if len(got) > 0 {
			return -1, fmt.Sprintf("import ended with %d (%s) and brought %d files", imported.Exit,
				imported.Error, len(got))
		}
		// Nothing was ever committed, or so it seems: whether that is right its caller
		// decides. Then a directory that was just being made may be unreadable on FAT.
		r.note = fmt.Sprintf(": import ended with %d: %s", imported.Exit, imported.Error)
		if imported.Exit != 10 && imported.Exit != 14 {
			return -1, strings.TrimPrefix(r.note, ": ")
		}
		return 0, ""
	}
	serial := imported.Report.Origins[0].Plan.Serial
	gen = slices.IndexFunc(r.gens, func(g generation) bool { return g.serial == serial })
	if gen < 0 {
		return -1, fmt.Sprintf("import found generation %d, which nobody made", serial)
	}
	if !maps.Equal(got, r.gens[gen].want) {
		return -1, fmt.Sprintf("import brought something else than generation %d: %s", gen,
			difference(got, r.gens[gen].want))
	}
	if len(verified.Report.Origins) != 1 {
		return -1, fmt.Sprintf("verify ended with %d: %s", verified.Exit, verified.Error)
	}
	o := verified.Report.Origins[0]
	if o.Serial != serial || len(o.Bad) > 0 || o.Problem != "" {
		return -1,
			fmt.Sprintf("verify ended with %d, generation %d where import found %d, bad %v, %s",
				verified.Exit, o.Serial, serial, o.Bad, o.Problem)
	}
	return gen, ""
}

// difference names what two contents do not have in common.
func difference(got, want content) string {
	var lines []string
	for name, sum := range want {
		if have, ok := got[name]; !ok {
			lines = append(lines, name+" is missing")
		} else if have != sum {
			lines = append(lines, name+" differs")
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			lines = append(lines, name+" is too many")
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}

// tally counts states by kind.
type tally struct{ tried, bad map[string]int }

func newTally() *tally { return &tally{make(map[string]int), make(map[string]int)} }

func (c *tally) String() string {
	var words []string
	for _, kind := range []string{"prefix", "tear", "reorder"} {
		words = append(words, fmt.Sprintf("%s %d / %d", kind, c.bad[kind], c.tried[kind]))
	}
	return "bad / tried: " + strings.Join(words, ", ")
}

func (c *tally) all() (tried, bad int) {
	for kind := range c.tried {
		tried, bad = tried+c.tried[kind], bad+c.bad[kind]
	}
	return tried, bad
}

// check tries a state and reports what is wrong with it; "" if nothing is.
func (r *recording) check(s disk.State, count *tally) string {
	least, most := r.allowed(s)
	r.note = ""
	gen, reason := r.show(s)
	if reason == "" && (gen < least || gen > most) {
		reason = fmt.Sprintf("it shows generation %d%s", gen, r.note)
	}
	count.tried[s.Kind()]++
	if reason == "" {
		return ""
	}
	count.bad[s.Kind()]++
	return fmt.Sprintf("%s: state %v of %d (generations %d to %d are right): %s", r.flavour.name, s,
		len(r.log), least, most, reason)
}

// sampler picks states of a log.
type sampler struct {
	prefixes, tears, reorders int // at most; 0: all
	unit                      int // bytes that a drive writes whole: see flavour
	r                         *rand.Rand
}

// states returns prefixes of a part of the log, and torn and reordered ones.
func (p sampler) states(l disk.Log, from, to int) []disk.State {
	prefixes := l.Prefixes(from, to)
	var tears, reorders []disk.State
	for _, s := range prefixes {
		if torn, ok := l.Tear(s.Prefix, p.unit, p.r); ok {
			tears = append(tears, torn)
		}
		for _, keep := range []float64{0.2, 0.5, 0.8} {
			if lost, ok := l.Reorder(s.Prefix, keep, p.r); ok {
				reorders = append(reorders, lost)
			}
		}
	}
	all := slices.Concat(disk.Sample(prefixes, p.prefixes), disk.Sample(tears, p.tears),
		disk.Sample(reorders, p.reorders))
	slices.SortStableFunc(all, func(a, b disk.State) int { return a.Prefix - b.Prefix })
	return all
}

// sampled picks states of each export, the same number of each: the first one
// writes most, and is not where most can be lost.
func (r *recording) sampled(p sampler) []disk.State {
	part := func(n int) int { return (n + len(r.gens) - 1) / len(r.gens) }
	p.prefixes, p.tears, p.reorders = part(p.prefixes), part(p.tears), part(p.reorders)
	var states []disk.State
	from := 0
	for _, g := range r.gens[1:] {
		states = append(states, p.states(r.log, from, g.committed)...)
		from = g.committed + 1
	}
	return append(states, p.states(r.log, from, len(r.log))...)
}

// focus returns the states around the commits: there everything is decided.
func (r *recording) focus(rng *rand.Rand, around int) []disk.State {
	var states []disk.State
	for _, g := range r.gens {
		if g.begun < 0 || g.committed == 0 {
			continue
		}
		p := sampler{unit: r.unit, r: rng}
		states = append(states, p.states(r.log, max(0, g.begun-around),
			min(len(r.log), g.committed+3*around))...)
	}
	return states
}

// second lets the host go on, with a program, on a drive that was pulled in a
// state: files are what it has now, turn is the export that was pulled. It
// returns that run as a recording of its own.
func (r *recording) second(start disk.State, turn int, bin string,
	files []payload) (*recording, error) {
	ctx := r.t.Context()
	shown, reason := r.show(start)
	if reason != "" {
		return nil, fmt.Errorf("the state to start from: %s", reason)
	}
	want := furnish(r.t, r.m, files)
	must[string](r.t)(r.m.Sh(ctx, fmt.Sprintf("rm -rf %[1]s; cp -a /t/before%[2]d %[1]s",
		hostState, turn)))
	next := &recording{flavour: r.flavour, t: r.t, m: r.m, name: "second", trials: r.trials,
		below: append(slices.Clone(r.below), wire.Layer{Log: r.name, State: start})}
	device := must[string](r.t)(r.m.Attach(ctx, wire.Attach{Size: r.mib << 20, Layers: next.below,
		Record: next.name}))
	rep, err := next.goOn(device, bin)
	ok(r.t, r.m.Detach(ctx, device))
	if err != nil {
		return nil, err
	}
	next.log = must[disk.Log](r.t)(r.m.Log(ctx, next.name))
	next.gens = []generation{{want: content{}}}
	if shown > 0 {
		next.gens = append(next.gens, generation{serial: r.gens[shown].serial,
			want: r.gens[shown].want, begun: -1})
	}
	if rep.Report.Unchanged {
		return next, nil
	}
	next.gens = append(next.gens, generation{serial: rep.Report.Serial, want: want})
	next.findCommits()
	return next, nil
}

// goOn mounts a pulled drive and exports to it, after a check of the file
// system where the export asks for one.
func (r *recording) goOn(device, bin string) (report, error) {
	ctx := r.t.Context()
	for attempt := 0; ; attempt++ {
		ok(r.t, r.m.Mount(ctx, r.mount(device, false)))
		ran := must[wire.Result](r.t)(r.m.Run(ctx, exportCommand(bin)))
		ok(r.t, r.m.Unmount(ctx, drive))
		rep, err := result(ran)
		switch {
		case err != nil:
			return rep, err
		case ran.Code == 0:
			return rep, nil
		case attempt > 0 || ran.Code != 14 ||
			!slices.ContainsFunc(rep.Hints, func(h string) bool {
				return strings.Contains(h, "fsck.")
			}):
			return rep, fmt.Errorf("export ended with %d: %s %q", ran.Code, rep.Error, rep.Hints)
		}
		r.repaired++
		r.repair(device)
	}
}

// repair follows the hint of the export.
func (r *recording) repair(device string) {
	vfat := []string{"/bin/fsck.vfat", "-a", device}
	checks := map[string][][]string{"vfat": {vfat, vfat},
		"exfat": {{"/bin/fsck.exfat", "-p", device}}}[r.kind]
	if checks == nil {
		r.t.Fatalf("there is nothing to repair %s with", r.kind)
	}
	for _, argv := range checks {
		ran := must[wire.Result](r.t)(r.m.Run(r.t.Context(), wire.Command{Argv: argv}))
		if ran.Code > 1 {
			r.t.Fatalf("%q ended with %d: %s%s", argv, ran.Code, ran.Stdout, ran.Stderr)
		}
		r.t.Logf("%s: %q: %s", r.flavour.name, argv, bytes.TrimSpace(ran.Stdout))
	}
}

// spread reorders states so that a run which ends early has seen some of
// everything.
func spread(states []disk.State) []disk.State {
	const passes = 5
	var all []disk.State
	for first := range passes {
		for i := first; i < len(states); i += passes {
			all = append(all, states[i])
		}
	}
	return all
}

// try checks states until there is no more time, and reports how many it did.
func (r *recording) try(states []disk.State, count *tally) {
	r.t.Helper()
	for i, s := range spread(states) {
		if r.overdue() {
			r.t.Logf("%s: NO TIME for %d of %d states; PKGSNEAK_VM=long has it", r.flavour.name,
				len(states)-i, len(states))
			return
		}
		if problem := r.check(s, count); problem != "" {
			r.t.Error(problem)
		}
		if done := i + 1; done%200 == 0 {
			r.t.Logf("%s: %d of %d states; %v", r.flavour.name, done, len(states), count)
		}
	}
}

// effort is how much of a crash replay a run can afford.
type effort struct {
	sampler
	starts, seconds int // second runs, and the states of each
}

func (f flavour) effort(thorough bool) effort {
	// each run tries the same, so that what fails can be tried again
	p := sampler{unit: f.unit, r: rand.New(rand.NewPCG(3, 5))}
	switch {
	case long() && thorough:
		p.tears, p.reorders = 160, 480
		return effort{p, 24, 60}
	case long():
		p.prefixes, p.tears, p.reorders = 80, 20, 60
		return effort{p, 6, 20}
	}
	p.prefixes, p.tears, p.reorders = 48, 12, 36
	return effort{p, 4, 12}
}

// Old or new, never broken: whatever part of its writes a drive holds when it
// is pulled. And again for the export that follows a pull.
func TestCrashReplay(t *testing.T) {
	for _, f := range flavours {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			replay(t, f, f.effort(true))
		})
	}
}

// The same, of drives that have a table of partitions, and of xfs and btrfs.
func TestCrashReplayFurther(t *testing.T) {
	for _, f := range further {
		t.Run(f.name, func(t *testing.T) {
			if !long() {
				t.Skipf("NO TIME: %s=long has it", modeVariable)
			}
			t.Parallel()
			replay(t, f, f.effort(false))
		})
	}
}

func replay(t *testing.T, f flavour, e effort) {
	m := borrow(t)
	states := sequence()
	began := time.Now()
	r := record(t, m, f, program, states)
	r.overdue = share(replayShare)
	took := time.Since(began)
	began = time.Now()
	count, again := newTally(), newTally()
	r.try(r.sampled(e.sampler), count)
	t.Logf("%s: %d entries recorded in %.1f s; %v", f.name, len(r.log), took.Seconds(), count)
	r.overdue = share(againShare)
	ended, repaired := r.tryAgain(states, e, again)
	tried, _ := count.all()
	triedAgain, _ := again.all()
	if tried == 0 {
		t.Errorf("%s: not one state was tried", f.name)
	}
	t.Logf("%s: %d second runs (%d after fsck): %v; %d drives that differ for a reader, %d alike (%d of them shown all the same); %.2f s a state",
		f.name, ended, repaired, again, len(r.trials.tried), r.trials.alike, r.trials.afresh,
		time.Since(began).Seconds()/float64(max(1, tried+triedAgain)))
}

// tryAgain starts second runs from states of this one.
func (r *recording) tryAgain(states [][]payload, e effort, count *tally) (ended, repaired int) {
	r.t.Helper()
	for i, start := range r.starts(e) {
		if i > 0 && r.overdue() {
			return ended, repaired
		}
		next, err := r.second(start.State, start.turn, program, states[start.turn])
		if err != nil {
			r.t.Errorf("%s: the run after a pull in state %v: %v", r.flavour.name, start.State, err)
			continue
		}
		next.overdue = r.overdue
		ended++
		repaired += next.repaired
		all := sampler{unit: r.unit, r: e.r}.states(next.log, 0, len(next.log))
		next.try(disk.Sample(all, e.seconds), count)
	}
	return ended, repaired
}

// start is a state of an export that was pulled; the next one follows.
type start struct {
	disk.State
	turn int
}

// starts picks states for second runs, of each export but the last: as many from
// between the two manifest copies, torn and reordered ones among them, as from elsewhere.
func (r *recording) starts(e effort) []start {
	var all [2][]start
	turns := len(r.gens) - 2
	for turn := 1; turn <= turns; turn++ {
		gen := r.gens[turn]
		mended := gen.committed // by the next flush Manifest is what Manifest.next is
		for mended < len(r.log) && r.log[mended].Flags&disk.Flush == 0 {
			mended++
		}
		p := sampler{unit: r.unit, r: e.r}
		near := p.states(r.log, gen.begun, mended)
		rest := append(p.states(r.log, r.gens[turn-1].committed, gen.begun-1),
			p.states(r.log, mended+1, min(len(r.log), r.gens[turn+1].begun))...)
		for kind, states := range [][]disk.State{near, rest} {
			for _, s := range disk.Sample(states, (e.starts/2+turns-1)/turns) {
				all[kind] = append(all[kind], start{s, turn})
			}
		}
	}
	var mixed []start
	for i := range max(len(all[0]), len(all[1])) {
		for _, kind := range all {
			if i < len(kind) {
				mixed = append(mixed, kind[i])
			}
		}
	}
	return mixed
}
