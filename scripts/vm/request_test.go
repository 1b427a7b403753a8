package vm_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/scripts/vm"
	"pkgsneak/scripts/vm/disk"
	"pkgsneak/scripts/vm/wire"
)

// askDir is a client that asks: its state, settings and installed packages.
const askDir = "/t/asks"

// requestCommand writes a request with so many wishes.
func requestCommand(wishes int) wire.Command {
	argv := []string{program, "request", "--json", "--state-dir", askDir + "/state", "--pkgdir",
		askDir + "/pkgdir", "--distdir", askDir + "/distdir", "--name", "asker", drive}
	for i := range wishes {
		argv = append(argv, fmt.Sprintf("app-misc/%s%d", strings.Repeat("wished-", 12)+"w", i))
	}
	return wire.Command{Argv: argv, Unnamed: true,
		Env: []string{"PORTAGE_CONFIGROOT=" + askDir, "ROOT=" + askDir}}
}

// furnishAsker makes the client that asks: it has the host's key, and an older package installed.
func furnishAsker(t testing.TB, m *vm.Machine) {
	t.Helper()
	for name, text := range map[string]string{
		"/etc/portage/make.conf":              "ARCH=amd64\nCHOST=x86_64-pc-linux-gnu\n",
		"/var/lib/portage/world":              "app-misc/hello\ndev-libs/nowhere\n",
		"/var/db/pkg/app-misc/hello-0.9/SLOT": "0\n",
		"/var/db/pkg/app-misc/hello-0.9/EAPI": "8\n", "/pkgdir/empty": "", "/distdir/empty": "",
	} {
		ok(t, m.Put(t.Context(), wire.Put{Path: askDir + name, Data: []byte(text), Mode: 0o644}))
	}
	must[string](t)(m.Sh(t.Context(), fmt.Sprintf("cp -a %s %s/state", clientSeed, askDir)))
}

// ask runs a request that must succeed, and returns its serial.
func ask(t testing.TB, m *vm.Machine, wishes int) generation {
	t.Helper()
	ran := must[wire.Result](t)(m.Run(t.Context(), requestCommand(wishes)))
	rep, err := result(ran)
	ok(t, err)
	if ran.Code != 0 {
		t.Fatalf("request ended with %d: %s", ran.Code, ran.Stderr)
	}
	return generation{serial: rep.Report.Serial}
}

// recordLoop records exports with requests between them: a first one, which makes everything, one
// in place, and one that has outgrown its files.
func recordLoop(t testing.TB, m *vm.Machine, f flavour) *recording {
	t.Helper()
	furnishAsker(t, m)
	return record(t, m, f, program, sequence()[:3], func(r *recording, turn int) {
		ctx := t.Context()
		if turn == 1 {
			r.asks = []generation{{}, ask(t, m, 0)}
			export(t, m, program) // it reads who asks
			must[string](t)(m.Sh(ctx, program+" clients accept asker --yes --state-dir "+hostState+
				"; cp -a "+askDir+"/state /t/asked1"))
			r.asks = append(r.asks, ask(t, m, 1))
			return
		}
		if turn == 2 {
			r.asks = append(r.asks, ask(t, m, 60))
		}
		must[string](t)(m.Sh(ctx, fmt.Sprintf("cp -a %s/state /t/asked%d", askDir, turn)))
	})
}

// showAll tries a state: which generation does a client find there, and which request lies there?
func (r *recording) showAll(s disk.State) (gen, asked int, reason string) {
	try := wire.Try{Attach: wire.Attach{Size: r.mib << 20, Layers: append(slices.Clone(r.below),
		wire.Layer{Log: r.name, State: s})},
		Mount: r.mount("", true), Reset: freshClient(),
		Commands: []wire.Command{importCommand(), verifyCommand()},
		Trees:    []string{clientDir + "/pkgdir", clientDir + "/distdir"}}
	tried, before := r.looks.try(r.t, r.m, try)
	if tried.MountError != "" {
		return -1, -1, tried.MountError
	}
	gen, asked, reason = r.verdictOfBoth(tried)
	if before != nil {
		g, a, why := r.verdictOfBoth(*before)
		if g != gen || a != asked || why != reason {
			return -1, -1, fmt.Sprintf("drives that look the same: %d, %d (%s), then %d, %d (%s)",
				g, a, why, gen, asked, reason)
		}
	}
	return gen, asked, reason
}

// verdictOfBoth is what import and verify made of a state.
func (r *recording) verdictOfBoth(tried wire.Tried) (gen, asked int, reason string) {
	if gen, reason = r.verdict(tried); reason != "" {
		return gen, -1, fmt.Sprintf("%s (kernel: %q)", reason, tried.Kernel)
	}
	verified, _ := result(tried.Results[1]) // verdict has read it, too
	for _, a := range verified.Report.Asked {
		i := slices.IndexFunc(r.asks, func(g generation) bool { return g.serial == a.Serial })
		if a.Serial == 0 || a.State == "damaged" {
			r.note += fmt.Sprintf(": there is %+v", a)
		} else if i < 0 || !readable(a.State) || a.Problem != "" {
			return gen, -1, fmt.Sprintf("there is a request that nobody wrote: %+v", a)
		} else {
			asked = max(asked, i)
		}
	}
	return gen, asked, ""
}

// readable reports whether a request that verify has found is whole, or was when a host blanked it.
func readable(state string) bool { return state == "whole" || state == "taken" }

// checkAll tries a state and returns a description of the fault: a generation or a request that was
// committed is not there, or one that is neither old nor new.
func (r *recording) checkAll(s disk.State, count *tally) string {
	least, most := r.allowed(s)
	first, last := allowedOf(r.asks, s)
	r.note = ""
	gen, asked, reason := r.showAll(s)
	if reason == "" && (gen < least || gen > most || asked < first || asked > last) {
		reason = fmt.Sprintf("it shows generation %d and request %d%s", gen, asked, r.note)
	}
	count.tried[s.Kind()]++
	if reason == "" {
		return ""
	}
	count.bad[s.Kind()]++
	return fmt.Sprintf("%s: state %v of %d (generations %d to %d and requests %d to %d are right): %s",
		r.flavour.name, s, len(r.log), least, most, first, last, reason)
}

// asking are the states in which a request is being written: all that lies between the end of the
// export before and the end of its commit, and a little more.
func (r *recording) asking(p sampler) (states []disk.State) {
	for i := range r.asks[1:] {
		a := &r.asks[i+1]
		if a.begun < 0 {
			continue
		}
		states = append(states, p.states(r.log, r.commitBefore(a),
			min(len(r.log), a.committed+4))...)
	}
	return states
}

// commitBefore is where the last commit before a request ends in the log.
func (r *recording) commitBefore(a *generation) (end int) {
	for _, list := range [][]generation{r.gens, r.asks} {
		for _, g := range list {
			if g.committed < a.begun {
				end = max(end, g.committed)
			}
		}
	}
	return end
}

// turnOf is the export that follows a state.
func (r *recording) turnOf(s disk.State) int {
	turn := max(1, r.turn)
	for turn+1 < len(r.gens) && r.gens[turn+1].begun >= 0 && r.gens[turn+1].begun < s.Prefix {
		turn++
	}
	return turn
}

// askOn lets the client ask on a drive on which an export was pulled in a state. It is nil where
// the request was refused, as it is where it would have to allocate: then nothing was written.
func (r *recording) askOn(start disk.State, turn int) (*recording, string) {
	ctx := r.t.Context()
	shown, asked, reason := r.showAll(start)
	if reason != "" {
		return nil, "the state to start from: " + reason
	}
	must[string](r.t)(r.m.Sh(ctx, fmt.Sprintf("rm -rf %[1]s/state; cp -a /t/asked%[2]d %[1]s/state",
		askDir, turn)))
	next := &recording{flavour: r.flavour, t: r.t, m: r.m, name: "request", trials: r.trials,
		looks: r.looks, turn: turn,
		below: append(slices.Clone(r.below), wire.Layer{Log: r.name, State: start})}
	device := must[string](r.t)(r.m.Attach(ctx, wire.Attach{Size: r.mib << 20, Layers: next.below,
		Record: next.name}))
	ok(r.t, r.m.Mount(ctx, r.mount(device, false)))
	ran := must[wire.Result](r.t)(r.m.Run(ctx, requestCommand(0)))
	ok(r.t, r.m.Unmount(ctx, drive))
	ok(r.t, r.m.Detach(ctx, device))
	rep, err := result(ran)
	if err != nil {
		return nil, err.Error()
	}
	next.log = must[disk.Log](r.t)(r.m.Log(ctx, next.name))
	if next.gens = []generation{{want: content{}}}; shown > 0 {
		next.gens = append(next.gens, generation{serial: r.gens[shown].serial,
			want: r.gens[shown].want, begun: -1})
	}
	if next.asks = []generation{{}}; asked > 0 {
		next.asks = append(next.asks, generation{serial: r.asks[asked].serial, begun: -1})
	}
	switch {
	case ran.Code == 0:
		next.asks = append(next.asks, generation{serial: rep.Report.Serial})
	case ran.Code != 14 && ran.Code != 1 || len(rep.Hints) == 0:
		return nil, fmt.Sprintf("request ended with %d: %s %q", ran.Code, rep.Error, rep.Hints)
	}
	next.findCommits()
	return next, ""
}

// trip is what comes after a request that was pulled: the host exports, the client asks, and a
// client imports and verifies; in the end the file system is checked and mended, and it does so
// again.
type trip struct {
	*recording
	device string
	want   content
	serial int64 // of the export
	asked  int64 // the serial of the request
}

// tripAfter makes a trip on a drive on which a request was pulled in a state. The host has files.
func (r *recording) tripAfter(s disk.State, turn int, files []payload) string {
	ctx := r.t.Context()
	p := &trip{recording: r, want: furnish(r.t, r.m, files)}
	must[string](r.t)(r.m.Sh(ctx, fmt.Sprintf(
		"rm -rf %[1]s %[2]s/state; cp -a /t/before%[3]d %[1]s; cp -a /t/asked%[4]d %[2]s/state",
		hostState, askDir, turn+1, turn)))
	p.device = must[string](r.t)(r.m.Attach(ctx, wire.Attach{Size: r.mib << 20,
		Layers: append(slices.Clone(r.below), wire.Layer{Log: r.name, State: s}),
		Record: "trip"}))
	problem := p.run()
	ok(r.t, r.m.Detach(ctx, p.device))
	return problem
}

func (p *trip) run() string {
	rep, err := p.goOnWith(exportCommand(program))
	if err != nil {
		return "the export: " + err.Error()
	}
	p.serial = rep.Report.Serial
	if rep, err = p.goOnWith(requestCommand(0)); err != nil {
		return "the request after the export: " + err.Error()
	}
	p.asked = rep.Report.Serial
	if problem := p.look(); problem != "" {
		return problem
	}
	if p.isClean() {
		return ""
	}
	p.repair(p.device)
	if problem := p.look(); problem != "" {
		return "after a check of the file system: " + problem
	}
	return ""
}

// look shows the drive to a client that has nothing, and lets it be verified.
func (p *trip) look() string {
	ctx := p.t.Context()
	for _, c := range freshClient() {
		ok(p.t, p.m.Copy(ctx, c.From, c.To))
	}
	if err := p.m.Mount(ctx, p.mount(p.device, true)); err != nil {
		return err.Error()
	}
	var reports []report
	for _, c := range []wire.Command{importCommand(), verifyCommand()} {
		rep, err := result(must[wire.Result](p.t)(p.m.Run(ctx, c)))
		if err != nil {
			ok(p.t, p.m.Unmount(ctx, drive))
			return fmt.Sprintf("%s: %v", c.Argv[1], err)
		}
		reports = append(reports, rep)
	}
	ok(p.t, p.m.Unmount(ctx, drive))
	got := received(p.t, [][]wire.File{must[[]wire.File](p.t)(p.m.Tree(ctx, clientDir+"/pkgdir")),
		must[[]wire.File](p.t)(p.m.Tree(ctx, clientDir+"/distdir"))})
	judge := &recording{gens: []generation{{want: content{}}, {serial: p.serial, want: p.want}}}
	if gen, reason := judge.judge(got, reports[0], reports[1]); gen != 1 {
		return fmt.Sprintf("generation %d: %s%s", gen, reason, judge.note)
	}
	for _, a := range reports[1].Report.Asked {
		if a.Serial == p.asked && readable(a.State) && a.Problem == "" {
			return ""
		}
	}
	return fmt.Sprintf("verify finds %+v, and not the request %d", reports[1].Report.Asked, p.asked)
}

// isClean reports whether a check of the file system finds nothing but that it was pulled.
func (p *trip) isClean() bool {
	argv := map[string][]string{"vfat": {"/bin/fsck.vfat", "-n", p.device},
		"exfat": {"/bin/fsck.exfat", "-n", p.device}}[p.kind]
	if argv == nil {
		return true
	}
	ran := must[wire.Result](p.t)(p.m.Run(p.t.Context(), wire.Command{Argv: argv}))
	// the last line of fsck.vfat is "FILE: 39 files, 974/16348 clusters"
	return ran.Code == 0 || p.kind == "vfat" && bytes.Count(ran.Stdout, []byte("cluster")) == 1
}

// goOnWith runs a command on the drive, after a check of the file system where it asks for one.
func (p *trip) goOnWith(c wire.Command) (report, error) {
	ctx := p.t.Context()
	for attempt := 0; ; attempt++ {
		ok(p.t, p.m.Mount(ctx, p.mount(p.device, false)))
		ran := must[wire.Result](p.t)(p.m.Run(ctx, c))
		ok(p.t, p.m.Unmount(ctx, drive))
		rep, err := result(ran)
		switch {
		case err != nil || ran.Code == 0:
			return rep, err
		case attempt > 0 || ran.Code != 14 ||
			!slices.ContainsFunc(rep.Hints, func(h string) bool {
				return strings.Contains(h, "fsck.")
			}):
			return rep, fmt.Errorf("it ended with %d: %s %q", ran.Code, rep.Error, rep.Hints)
		}
		p.repair(p.device)
	}
}

// A request that is pulled in any moment harms nothing: the generation that was committed is there,
// the request is the old or the new one, and the export that follows brings all of its own. The
// same on a drive on which an export was pulled before.
func TestCrashReplayRequest(t *testing.T) {
	if !long() {
		t.Skipf("requests are not pulled in a short run; %s=long has it", modeVariable)
	}
	for _, f := range flavours {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			m := borrow(t)
			began := time.Now()
			r := recordLoop(t, m, f)
			took := time.Since(began)
			p := sampler{60, 20, 60, f.unit, rand.New(rand.NewPCG(29, 31))}
			const trips = 6
			all, after, refused := newTally(), newTally(), 0
			r.tryAsking(r.asking(p), trips, all, after)
			r.tryTrips(r.log.WithoutOne(r.gens[1].committed, r.asks[1].committed), after)
			refused += r.askAfterPulls(1, r.gens[1].committed, r.gens[2].begun-1, p, all, after)
			// the third request has outgrown its files: the next one fits the other pair
			outgrown := &r.asks[len(r.asks)-1]
			refused += r.askAfterPulls(2, r.commitBefore(outgrown), outgrown.committed+8, p, all,
				after)
			for _, count := range []*tally{all, after} {
				if tried, _ := count.all(); tried == 0 {
					t.Errorf("%s: not one state was tried", f.name)
				}
			}
			t.Logf("%s: %d entries recorded in %.1f s; %v; trips after it %v; %d requests refused beside leftovers",
				f.name, len(r.log), took.Seconds(), all, after, refused)
		})
	}
}

// askAfterPulls lets the client ask on the drive, pulled in a sample of the states of a part of the
// log, and pulls it once more then. It returns how often the request was refused.
func (r *recording) askAfterPulls(turn, from, to int, p sampler, all, after *tally) (refused int) {
	r.t.Helper()
	const pulls, each = 6, 12
	for _, start := range disk.Sample(p.states(r.log, from, to), pulls) {
		next, problem := r.askOn(start, turn)
		if next == nil {
			r.t.Errorf("%s: a request on the drive pulled in state %v: %s", r.flavour.name, start,
				problem)
			continue
		}
		if newest := next.asks[len(next.asks)-1]; newest.begun <= 0 {
			refused++
		}
		q := sampler{unit: r.flavour.unit, r: p.r}
		next.tryAsking(disk.Sample(q.states(next.log, 0, len(next.log)), each), 2, all, after)
	}
	return refused
}

// tryAsking checks states, and makes a trip with the drive in so many of them.
func (r *recording) tryAsking(states []disk.State, trips int, all, after *tally) {
	r.t.Helper()
	var sample []disk.State
	for i, s := range spread(states) {
		if problem := r.checkAll(s, all); problem != "" {
			// a state is the same each time: a fault that is not is none of the drive's
			r.t.Errorf("%s; once more: %q", problem, r.checkAll(s, newTally()))
		} else if i%max(1, len(states)/trips) == 0 {
			sample = append(sample, s)
		}
	}
	r.tryTrips(sample, after)
}

// tryTrips makes a trip with the drive in each of several states.
func (r *recording) tryTrips(states []disk.State, after *tally) {
	r.t.Helper()
	sequence := sequence()
	for _, s := range states {
		turn := min(r.turnOf(s), len(sequence)-1)
		after.tried[s.Kind()]++
		if problem := r.tripAfter(s, turn, sequence[turn]); problem != "" {
			after.bad[s.Kind()]++
			r.t.Errorf("%s: the trip after a request pulled in state %v: %s", r.flavour.name, s,
				problem)
		}
	}
}
