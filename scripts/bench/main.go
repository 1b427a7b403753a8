// Bench measures pkgsneak against what one would use instead, in one run on one machine, and prints
// ratios.
//
//	go run ./scripts/bench [-dir DIR] [-runs N] [-size BYTES] [-only REGEXP] [-quick]
//
// It makes its data in a directory of its own below DIR (the same packages every time), runs
// pkgsneak and its peers in turn, and prints the median of each, and their ratio, as a table in
// Markdown. If processor time is compared, the files are in the page cache; if time on the clock
// is, root drops it before each run, except where one package has changed, and for the start-up.
// Cases of more than 45 seconds are run once. Peers that are not in PATH (rsync, emaint) are left
// out, which is told. All of it takes twenty minutes.
package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

func main() {
	dir := flag.String("dir", "",
		"directory to work in; it needs some 15 GiB of room, on a disk that is not busy (default: the system's for temporary files)")
	runs := flag.Int("runs", 3, "runs of each")
	size := flag.Int64("size", 4<<30, "bytes of the large PKGDIR")
	only := flag.String("only", "",
		"only benchmarks in whose name this regular expression, or word, is found")
	quick := flag.Bool("quick", false, "a hundredth of everything, to see that it works")
	hash := flag.String("hash", "",
		"for its own use: read each file below the directory once, with md5 and sha1")
	least := flag.String("floor", "",
		"for its own use: only the system calls of an index of the directory")
	contents := flag.Bool("contents", false, "for its own use: with those of reading every package")
	sums := flag.Bool("sums", false, "for its own use: and with its md5 and sha1")
	job := flag.String("make", "", "for its own use: a task in JSON")
	flag.Parse()
	if *job != "" {
		var t task
		err := json.Unmarshal([]byte(*job), &t)
		if err == nil {
			err = t.do()
		}
		exit(err)
	}
	if *hash != "" {
		exit(hashPass(*hash))
	}
	if *least != "" {
		exit(floorPass(*least, *contents, *sums))
	}
	words, err := regexp.Compile(*only)
	if err != nil {
		exit(fmt.Errorf("-only: %w", err))
	}
	b := &bench{runs: *runs, size: *size, only: words, scale: 1}
	if *quick {
		b.runs, b.size, b.scale = 1, b.size/100, 100
	}
	exit(b.main(*dir))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bench is a run of benchmarks. The first block is given.
type bench struct {
	runs  int
	size  int64
	only  *regexp.Regexp
	scale int // divides the numbers of files

	work    string // removed at the end
	program string // pkgsneak
	path    string // PATH for it
	self    string // this program
}

func (b *bench) main(dir string) (err error) {
	if b.work, err = os.MkdirTemp(dir, "pkgsneak-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.work)
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	b.program, b.path = filepath.Join(b.work, "pkgsneak"), withoutPortageq(os.Getenv("PATH"))
	build := exec.Command("go", "build", "-trimpath", "-o", b.program, "pkgsneak/cmd/pkgsneak")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building pkgsneak: %w\n%s", err, out)
	}
	describe()
	fmt.Print(heading)
	for _, c := range b.cases() {
		if !b.only.MatchString(c.name) {
			continue
		}
		if err := b.run(c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// make does a task.
func (b *bench) make(t task) error {
	job, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return b.quiet(b.self, "-make", string(job))
}

// cpuinfo is what /proc/cpuinfo states of the first processor.
func cpuinfo(data []byte, key string) string {
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(strings.TrimLeft(value, "\t :"))
		}
	}
	return ""
}

// describe prints what the figures were measured on.
func describe() {
	data, _ := os.ReadFile("/proc/cpuinfo")
	model := cmp.Or(cpuinfo(data, "model name"), "unknown processor")
	if flags := strings.Fields(cpuinfo(data, "flags")); slices.Contains(flags, "sha_ni") {
		model += " with SHA extensions"
	} else {
		model += " without SHA extensions"
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	cache := "page cache dropped before each run that is measured by the clock"
	if os.Geteuid() != 0 {
		cache = "page cache warm (not root)"
	}
	fmt.Printf("%d x %s, Linux %s, %s, load %s, %s\n\n", runtime.NumCPU(), model,
		strings.TrimSpace(string(release)), runtime.Version(),
		strings.Fields(string(load))[0], cache)
}
