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

// A contest is one row or more of the table: pkgsneak against each of its peers, in turn.
type contest struct {
	name  string
	by    figure
	warm  bool         // the page cache stays: what is measured is run again and again by people
	setup func() error // once
	reset func() error // before each run of anybody
	ours  []string
	peers []peer
}

type peer struct {
	name string
	args []string
	env  []string
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
	memory = figure{"memory", func(u usage) float64 { return float64(u.rss) / (1 << 20) }, func(v float64) string { return fmt.Sprintf("%.0f MiB", v) }}
)

func seconds(v float64) string {
	if v < 1 {
		return fmt.Sprintf("%.1f ms", v*1000)
	}
	return fmt.Sprintf("%.2f s", v)
}

// run prints the rows of a contest.
func (b *bench) run(c contest) error {
	if c.setup != nil {
		if err := c.setup(); err != nil {
			return fmt.Errorf("setting up: %w", err)
		}
	}
	ours := make([]float64, 0, b.runs)
	theirs := make([][]float64, len(c.peers))
	for range b.runs {
		u, err := b.measure(c, c.ours, nil)
		if err != nil {
			return err
		}
		ours = append(ours, c.by.of(u))
		for i, p := range c.peers {
			if _, err := exec.LookPath(p.args[0]); err != nil {
				continue
			}
			u, err := b.measure(c, p.args, p.env)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			theirs[i] = append(theirs[i], c.by.of(u))
		}
	}
	name := c.name + ", " + c.by.name
	if len(c.peers) == 0 {
		fmt.Printf("%-58s %14s\n", name, c.by.text(median(ours)))
	}
	for i, p := range c.peers {
		if len(theirs[i]) == 0 {
			fmt.Printf("%-58s %14s %14s %8s   %s (not in PATH)\n", name, c.by.text(median(ours)), "-", "-", p.name)
			continue
		}
		ratios := make([]float64, len(ours))
		for r := range ours {
			ratios[r] = theirs[i][r] / ours[r]
		}
		fmt.Printf("%-58s %14s %14s %7.2fx   %s\n", name, c.by.text(median(ours)), c.by.text(median(theirs[i])), median(ratios), p.name)
	}
	return nil
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// measure runs one command from a cold page cache. Exit codes of pkgsneak that mean "done" are no errors.
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

// dropCaches empties the page cache, if this is root.
func dropCaches() {
	syscall.Sync()
	if os.Geteuid() == 0 {
		os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
	}
}

// hashPass is the least that an index costs: one pass of md5 and sha1 over every file, on all processors.
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
	_, err = io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(md5.New(), sha1.New())}, struct{ io.Reader }{f}, buf)
	return err
}
