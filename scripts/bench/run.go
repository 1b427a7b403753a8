package main

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"crypto/sha1"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A contest is pkgsneak against each of its peers, in turn: a row of the table for each peer, and
// one for each further figure of its own.
type contest struct {
	name string
	by   figure
	also []figure // of the same runs of pkgsneak
	// the page cache stays, and each run is the second of two: what is measured is the program, or
	// what people run again and again
	warm  bool
	once  bool         // one run is enough
	setup func() error // before the first run
	reset func() error // before each run of anybody
	ours  []string
	limit float64 // of the figure, where there is no peer; 0: none
	peers []peer
}

type peer struct {
	name  string
	args  []string
	env   []string
	goal  float64  // how many times as much it should take; 0: it is only compared
	needs []string // programs that the first of args starts
}

// missing is a program that a peer needs and that is not in PATH, "" if there is none.
func (p peer) missing() string {
	for _, name := range append(p.args[:1:1], p.needs...) {
		if _, err := exec.LookPath(name); err != nil {
			return name
		}
	}
	return ""
}

// figure is what is compared.
type figure struct {
	name string
	of   func(usage) float64
	text func(float64) string
}

type usage struct {
	wall, cpu time.Duration
	rss       int64 // bytes
}

var (
	wall   = figure{"wall", func(u usage) float64 { return u.wall.Seconds() }, seconds}
	cpu    = figure{"CPU", func(u usage) float64 { return u.cpu.Seconds() }, seconds}
	memory = figure{"memory", func(u usage) float64 { return float64(u.rss) / (1 << 20) },
		func(v float64) string { return fmt.Sprintf("%.0f MiB", v) }}
)

func seconds(v float64) string {
	if v < 1 {
		return fmt.Sprintf("%.1f ms", v*1000)
	}
	return fmt.Sprintf("%.2f s", v)
}

// slow is how long a run may take to be repeated.
const slow = 45 * time.Second

// run prints the rows of a contest.
func (b *bench) run(c contest) error {
	if c.setup != nil {
		if err := c.setup(); err != nil {
			return fmt.Errorf("setting up: %w", err)
		}
	}
	var ours []usage
	theirs := make([][]usage, len(c.peers))
	runs := b.runs
	if c.once {
		runs = 1
	}
	for range runs {
		if err := b.repeat(c, &ours, c.ours, nil); err != nil {
			return err
		}
		for i, p := range c.peers {
			if p.missing() != "" {
				continue
			}
			if err := b.repeat(c, &theirs[i], p.args, p.env); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	print(c, ours, theirs)
	return nil
}

// repeat runs a command once more, unless that takes too long.
func (b *bench) repeat(c contest, runs *[]usage, args, env []string) error {
	if n := len(*runs); n > 0 && (*runs)[n-1].wall > slow {
		return nil
	}
	u, err := b.measure(c, args, env)
	if c.warm && err == nil && u.wall < short {
		// The first one has read what this one finds in the page cache, and a virtual machine has
		// got back the memory that its host had taken meanwhile.
		u, err = b.measure(c, args, env)
	}
	*runs = append(*runs, u)
	return err
}

// short is how long a run may take that is made twice where the page cache shall be warm.
const short = 10 * time.Second

// heading begins the table, in Markdown.
const heading = "| what | pkgsneak | against | | ratio | goal |\n| --- | --- | --- | --- | --- | --- |\n"

func print(c contest, ours []usage, theirs [][]usage) {
	if len(c.peers) == 0 {
		alone(c.name, c.by, ours, c.limit)
	}
	for i, p := range c.peers {
		if len(theirs[i]) == 0 {
			fmt.Printf("| %s, %s | %s | %s: %s is not in PATH | | | |\n", c.name, c.by.name,
				c.by.text(median(ours, c.by)), p.name, p.missing())
			continue
		}
		mine, its := median(ours, c.by), median(theirs[i], c.by)
		fmt.Printf("| %s, %s | %s | %s | %s | %.2f | %s |\n", c.name, c.by.name, c.by.text(mine),
			p.name, c.by.text(its), its/mine, p.verdict(its/mine))
	}
	for _, f := range c.also {
		limit := 0.0
		if f.name == memory.name {
			limit = mostMemory
		}
		alone(c.name, f, ours, limit)
	}
}

// verdict compares a ratio with the goal.
func (p peer) verdict(ratio float64) string {
	switch {
	case p.goal == 0:
		return ""
	case ratio >= p.goal:
		return fmt.Sprintf("%.2f reached", p.goal)
	}
	return fmt.Sprintf("%.2f missed", p.goal)
}

// mostMemory is the goal for the peak of memory, in MiB.
const mostMemory = 200

func alone(name string, f figure, ours []usage, limit float64) {
	goal := ""
	if limit > 0 {
		goal = "below " + f.text(limit) + " missed"
		if median(ours, f) < limit {
			goal = "below " + f.text(limit) + " reached"
		}
	}
	fmt.Printf("| %s, %s | %s | | | | %s |\n", name, f.name, f.text(median(ours, f)), goal)
}

func median(runs []usage, f figure) float64 {
	var v []float64
	for _, u := range runs {
		v = append(v, f.of(u))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// measure runs one command, from a cold page cache unless the contest is warm. Exit codes of
// pkgsneak that mean "done" are no errors.
func (b *bench) measure(c contest, args, env []string) (usage, error) {
	if c.reset != nil {
		if err := c.reset(); err != nil {
			return usage{}, err
		}
	}
	if !c.warm {
		dropCaches()
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	if args[0] == b.program {
		cmd.Env = append(cmd.Env, "PATH="+b.path)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	elapsed := time.Since(start)
	if err != nil {
		return usage{}, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out.Bytes())
	}
	u := usage{wall: elapsed, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.rss = int64(r.Maxrss) << 10
	}
	return u, nil
}

// withoutPortageq is PATH without the directories that have portageq. pkgsneak asks that program,
// which takes it a quarter of a second, where there is a Portage and no profile: on nobody's
// machine but one that only measures.
func withoutPortageq(path string) string {
	var dirs []string
	for _, dir := range filepath.SplitList(path) {
		if _, err := os.Stat(filepath.Join(dir, "portageq")); err != nil {
			dirs = append(dirs, dir)
		}
	}
	return strings.Join(dirs, string(filepath.ListSeparator))
}

// dropCaches empties the page cache, if this is root.
func dropCaches() {
	syscall.Sync()
	if os.Geteuid() == 0 {
		os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
	}
}

// hashPass is the least that an index costs: one pass of md5 and sha1 over every file, on all
// processors.
func hashPass(dir string) error {
	files := make(chan string)
	errs := make(chan error, 1)
	var wg sync.WaitGroup
	for range runtime.NumCPU() {
		wg.Go(func() {
			buf := make([]byte, 1<<20)
			for name := range files {
				if err := hashFile(name, buf); err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			}
		})
	}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			files <- name
		}
		return err
	})
	close(files)
	wg.Wait()
	select {
	case first := <-errs:
		err = cmp.Or(err, first)
	default:
	}
	return err
}

func hashFile(name string, buf []byte) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(md5.New(), sha1.New())},
		struct{ io.Reader }{f}, buf)
	return err
}
