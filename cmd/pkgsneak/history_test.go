package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A history is a list of steps: what people, machines and time do to build hosts, drives and
// clients. TestHistories draws random ones, takes them with the real commands, and after each step
// holds what is there against a model that is written without the code under test
// (history_world_test.go): a plain map of what must be there. A history ends with the plain
// commands, and with those that hints name, until everything is on every client.
//
//	PKGSNEAK_HISTORIES  how many histories are tried; 20 if it is not set, and scripts/test sets more, without the race detector
//	PKGSNEAK_SEED       the first seed, 1 if it is not set, so that each run tries the same; each history has the next one
//	PKGSNEAK_HISTORY    a file with the steps of one history, as a failure prints them: that one is taken, and no other
//
// Each step carries a number of its own from which all its choices are drawn: a step that is
// dropped leaves the others as they were, and so a failing history is shrunk before it is printed.
type step struct {
	Op                  string
	Host, Client, Drive int
	Flags               string // of the command line
	// what befalls the command: kill, interrupt, full (a disk), fail (operations on a file)
	Fate string
	At   int // when: after how many changes in the file system, or events
	N    uint64
}

const stepFormat = "%s host=%d client=%d drive=%d flags=%q fate=%q at=%d n=%d"

func (s step) String() string {
	return fmt.Sprintf(stepFormat, s.Op, s.Host, s.Client, s.Drive, s.Flags, s.Fate, s.At, s.N)
}

func parseStep(line string) (s step, err error) {
	_, err = fmt.Sscanf(line, stepFormat, &s.Op, &s.Host, &s.Client, &s.Drive, &s.Flags,
		&s.Fate, &s.At, &s.N)
	return s, err
}

// chances are the operations and how often each comes.
var chances = []struct {
	op    string
	times int
}{
	{"export", 26}, {"import", 34},
	{"host-add", 6}, {"host-rebuild", 10}, {"host-remove", 5}, {"host-index", 3},
	{"own-add", 5}, {"own-rebuild", 2}, {"own-remove", 2}, {"client-delete", 2},
	{"client-index", 2},
	{"flip", 6}, {"drive-lose", 2}, {"drive-copy", 2}, {"drive-new", 2},
	{"host-lost", 1}, {"host-leaves", 1}, {"client-lost", 1}, {"key-rotate", 1},
	{"trust", 2}, {"trust-never", 1}, {"trust-replaces", 2}, {"forget", 2},
	{"own-copy", 3}, {"import-twice", 3},
	{"host-clock", 2}, {"client-clock", 2}, {"look", 2},
	{"undo", 5}, {"request", 3}, {"drive-small", 3},
}

// draw makes a history.
func draw(seed uint64) []step {
	r := rand.New(rand.NewPCG(seed, 13))
	hosts, clients, drives := 1+r.IntN(2), 1+r.IntN(2), 1+r.IntN(3)
	if r.IntN(3) == 0 { // and a second PKGDIR of the first host, with the same key
		hosts = worldHosts
	}
	var exported []int // drives, the last one more often than the others
	some := func(op string) step {
		s := step{Op: op, Host: r.IntN(hosts), Client: r.IntN(clients), Drive: r.IntN(drives),
			N: r.Uint64()}
		switch n := len(exported); {
		case op == "export":
			exported = append(exported, s.Drive)
		case op == "import" && n > 0: // most people import what was exported
			s.Drive = exported[max(n-1-r.IntN(3), 0)]
		}
		if !slices.Contains([]string{"export", "import", "forget", "import-twice", "undo",
			"request"}, op) {
			return s
		}
		s.Flags = drawFlags(r, op)
		if r.IntN(4) == 0 {
			s.Fate = []string{"kill", "kill", "interrupt", "full", "fail"}[r.IntN(5)]
			s.At = 1 + r.IntN(1<<r.IntN(7))
		}
		return s
	}
	var steps []step
	for h := range hosts {
		for range 2 + r.IntN(4) {
			s := some("host-add")
			s.Host = h
			steps = append(steps, s)
		}
	}
	total := 0
	for _, c := range chances {
		total += c.times
	}
	for range 10 + r.IntN(30) {
		n := r.IntN(total)
		for _, c := range chances {
			if n -= c.times; n < 0 {
				steps = append(steps, some(c.op))
				break
			}
		}
	}
	return steps
}

func drawFlags(r *rand.Rand, op string) string {
	flags := map[string][]struct {
		flag string
		of   int // once in so many
	}{
		"export": {{"--no-packages", 4}, {"--no-distfiles", 4}, {"--allow-shrink", 8},
			{"--repair", 8}, {"--no-read-back", 10}},
		"import-twice": {{"--prune", 3}},
		"import": {{"--prune", 2}, {"--no-packages", 10}, {"--no-distfiles", 10},
			{"--allow-older", 16}},
	}
	var drawn []string
	for _, f := range flags[op] {
		drawing := r.IntN(f.of) == 0
		// both are a usage error
		if drawing && (f.flag != "--no-distfiles" || !slices.Contains(drawn, "--no-packages")) {
			drawn = append(drawn, f.flag)
		}
	}
	return strings.Join(drawn, " ")
}

// openFindings are what histories end in that is not mended yet: the promise that is not kept, the
// operations that are all needed for it, and a part of what was printed last. Such a history is
// logged and no failure. A row stands for one situation, and goes when that is mended.
var openFindings = []struct {
	promise string
	ops     []string
	said    string
	reason  string
}{}

// openFinding is why a shortest history may end as it does, "" if it may not.
func openFinding(short []step, err error) string {
	for _, f := range openFindings {
		needs := func(op string) bool {
			return slices.ContainsFunc(short, func(s step) bool { return s.Op == op })
		}
		if kindOf(err) == f.promise && strings.Contains(err.Error(), f.said) &&
			!slices.ContainsFunc(f.ops, func(op string) bool { return !needs(op) }) {
			return f.reason
		}
	}
	return ""
}

// liveFile takes the history of a file.
func (w *world) liveFile(name string) error {
	text, err := os.ReadFile(name)
	w.check(err)
	var steps []step
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		s, err := parseStep(line)
		if err != nil {
			w.t.Fatalf("%q: %v", line, err)
		}
		steps = append(steps, s)
	}
	return w.live(steps)
}

// Histories in which something went wrong once.
func TestFormerHistories(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/histories/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d histories: %v", len(names), err)
	}
	w := newWorld(t)
	for _, name := range names {
		if err := w.liveFile(name); err != nil {
			t.Errorf("%s: %v\n%s", name, err, w.log())
		}
	}
}

func TestHistories(t *testing.T) {
	if name := os.Getenv("PKGSNEAK_HISTORY"); name != "" {
		w := newWorld(t)
		if err := w.liveFile(name); err != nil {
			t.Fatalf("%v\n%s", err, w.log())
		}
		return
	}
	tryHistories(t, draw, number(t, "PKGSNEAK_HISTORIES", 20))
}

// Months of a loop with small drives (history_loop_test.go), one for twenty histories: they are
// longer.
func TestMonthsOfTheLoop(t *testing.T) {
	if months := number(t, "PKGSNEAK_HISTORIES", 20) / 20; months > 0 {
		tryHistories(t, drawMonth, months)
	}
}

// tryHistories takes so many histories that draw draws.
func tryHistories(t *testing.T, draw func(uint64) []step, count int) {
	seed := number(t, "PKGSNEAK_SEED", 1)
	if count == 0 {
		t.Skip("NO HISTORIES ARE TRIED: PKGSNEAK_HISTORIES is 0")
	}
	p := &pool{draw: draw, next: seed, end: seed + count}
	began := time.Now()
	t.Run("worlds", func(t *testing.T) {
		for i := range min(runtime.GOMAXPROCS(0), count) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				p.work(t)
			})
		}
	})
	t.Logf("%d histories from seed %d, %d steps, %d commands, %d killed, %.0f s", p.done, seed,
		p.steps, p.commands, p.kills, time.Since(began).Seconds())
}

// pool is the histories that several worlds share.
type pool struct {
	draw                   func(seed uint64) []step
	mu                     sync.Mutex
	next, end              int // seeds
	done, failures         int
	steps, commands, kills int
}

// seed is that of the next history; there are no more after a few failures.
func (p *pool) seed() (int, bool) {
	const mostFailures = 5
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == p.end || p.failures >= mostFailures {
		return 0, false
	}
	p.next++
	return p.next - 1, true
}

// count notes how a history ended.
func (p *pool) count(failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if failed {
		p.failures++
	}
}

// work takes histories in a world of its own.
func (p *pool) work(t *testing.T) {
	w := newWorld(t)
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.steps, p.commands, p.kills = p.steps+w.steps, p.commands+w.commands, p.kills+w.kills
	}()
	for {
		seed, more := p.seed()
		if !more {
			return
		}
		steps := p.draw(uint64(seed))
		err := w.live(steps)
		if err == nil {
			p.count(false)
			continue
		}
		short, last := w.shrink(steps, err)
		if reason := openFinding(short, last); reason != "" {
			p.count(false)
			t.Logf("OPEN: PKGSNEAK_SEED=%d: %.200v: %s", seed, last, reason)
			continue
		}
		p.count(true)
		var script strings.Builder
		for _, s := range short {
			fmt.Fprintln(&script, s)
		}
		t.Errorf("PKGSNEAK_SEED=%d PKGSNEAK_HISTORIES=1: %v\nthe shortest history that ends so (for PKGSNEAK_HISTORY):\n%s\nhow it went:\n%s", seed, last, script.String(), w.log())
	}
}

// number is a variable's value.
func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s=%q is no number", name, text)
	}
	return n
}

// shrink drops steps from a history as long as it fails in the same way. It gives the shortest that
// it found, and how that one failed; the world is left as it was then.
func (w *world) shrink(steps []step, failed error) ([]step, error) {
	const patience = 60 * time.Second
	until := time.Now().Add(patience)
	kind := kindOf(failed)
	for size := max(1, len(steps)/2); size >= 1 && time.Now().Before(until); {
		shorter := false
		for at := len(steps) - size; at >= 0 && time.Now().Before(until); at -= size {
			without := slices.Concat(steps[:at], steps[min(len(steps), at+size):])
			if err := w.live(without); err != nil && kindOf(err) == kind {
				steps, failed, shorter = without, err, true
			}
		}
		if !shorter || size > 1 {
			size /= 2
		}
	}
	for i := range steps { // fates and flags that do not matter
		for _, change := range []func(*step){func(s *step) { s.Fate, s.At = "", 0 }, func(s *step) {
			s.Flags = ""
		}} {
			plain := slices.Clone(steps)
			if change(&plain[i]); plain[i] == steps[i] || time.Now().After(until) {
				continue
			}
			if err := w.live(plain); err != nil && kindOf(err) == kind {
				steps, failed = plain, err
			}
		}
	}
	if err := w.live(steps); err != nil { // so that the log is this one's
		failed = err
	}
	return steps, failed
}

// broken is a promise that was not kept.
type broken struct {
	kind string // the promise
	text string
}

func (b *broken) Error() string { return b.kind + ": " + b.text }

func kindOf(err error) string {
	if b, ok := err.(*broken); ok {
		return b.kind
	}
	return err.Error()
}

// The model is worth what it notices: it is shown worlds in which something is wrong.
func TestHistoriesNotice(t *testing.T) {
	w := newWorld(t)
	setup := []step{{Op: "host-add", N: 1}, {Op: "host-add", N: 2}, {Op: "host-add", N: 3},
		{Op: "host-add", N: 4}, {Op: "host-add", N: 5}, {Op: "own-add", N: 6}}
	for _, tc := range []struct {
		name string
		harm func(w *world)
		want string
	}{
		{"a client's own package is gone", func(w *world) {
			w.harm(w.clients[0], func(f string, own bool) bool { return own }, nil)
		}, promiseOwn},
		{"a client's own package has other bytes", func(w *world) {
			w.harm(w.clients[0], func(f string, own bool) bool { return own }, []byte("other"))
		}, promiseOwn},
		{"an origin's package is gone", func(w *world) {
			w.harm(w.clients[0], func(f string, own bool) bool { return !own }, nil)
		},
			promiseKept},
		{"the index has another size", func(w *world) {
			w.harm(w.clients[0], func(f string, own bool) bool {
				return strings.HasSuffix(f, "Packages")
			},
				[]byte("PACKAGES: 1\n\nPATH: a\nSIZE: 1\n\n"))
		}, promiseIndex},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w.begin()
			for _, s := range setup {
				if err := w.take(s); err != nil {
					t.Fatal(err)
				}
			}
			for _, s := range []step{{Op: "export"}, {Op: "client-index"}, {Op: "import"}} {
				if err := w.take(s); err != nil {
					t.Fatalf("%v\n%s", err, w.log())
				}
			}
			w.sabotage = func() { tc.harm(w) }
			defer func() { w.sabotage = nil }()
			if err := w.take(step{Op: "import"}); err == nil || kindOf(err) != tc.want {
				t.Errorf("noticed %v, want %q", err, tc.want)
			}
		})
	}
}
