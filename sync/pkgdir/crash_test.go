package pkgdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/blake2b"
)

// These tests kill an import at each of its steps, with SIGKILL, and run it again. The import is a
// small one with a memory of its own, as an importer has to do it: names are remembered before they
// are given, a file is the origin's only while its digest is the remembered one, and a staged file
// is compared before it is used.

// localBuild is the client's own, at a path that the origin uses as well.
const localBuild = "app-misc/labhello/labhello-1.0-r2-1.gpkg.tar"

const (
	crashDir  = "PKGSNEAK_TEST_CRASH_DIR"  // the child's PKGDIR; its memory lies beside it
	crashStep = "PKGSNEAK_TEST_CRASH_STEP" // after how many steps it kills itself; 0: never
)

func writeAll(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

// memoryOf is what the importer remembers, by the origin's path.
type memoryOf struct {
	Imports map[string]place // what is certain
	Pending map[string]place // what may have happened
}

type place struct {
	Local string
	Sum   string
}

func sumOf(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	sum := blake2b.Sum512(data)
	return fmt.Sprintf("%x", sum)
}

func loadMemory(t testing.TB, dir string) memoryOf {
	t.Helper()
	m := memoryOf{map[string]place{}, map[string]place{}}
	data, err := os.ReadFile(dir + ".memory")
	if errors.Is(err, fs.ErrNotExist) {
		return m
	}
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m memoryOf) save(dir string) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.WriteFile(dir+".memory.new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(dir+".memory.new", dir+".memory")
}

// origin is what a client has imported once, and what it imports now.
var (
	origin = map[string]string{ // path: layout
		hello:      "xpak-classic", // rebuilt under its name
		screen:     "xpak-classic", // new
		mc:         "xpak-classic", // new
		localBuild: "gpkg-multi",   // taken by a local build
		gpkgVim:    "mixed",        // unchanged
	}
	ours    = []string{hello, gpkgVim, unzip1} // imported before
	pruned  = []string{unzip1}                 // left the origin
	atFirst = "mixed"                          // the client's PKGDIR
)

func originHas(t testing.TB, p string) (Incoming, []byte) {
	t.Helper()
	if p == hello {
		return rebuilt(t, origin[p], p)
	}
	data, err := os.ReadFile(goldenPackage(origin[p], p))
	if err != nil {
		t.Fatal(err)
	}
	return wanted(t, origin[p], p), data
}

// runImport brings the origin in. step is called before everything that changes something.
func runImport(t testing.TB, dir string, step func(string)) {
	d := openDir(t, dir)
	m := loadMemory(t, dir)
	var c Change
	for _, p := range slices.Sorted(mapKeys(origin)) {
		a, data := originHas(t, p)
		sum := fmt.Sprintf("%x", a.Sum)
		if now, ok := m.Pending[p]; ok && now.Sum == sum && sumOf(d.file(now.Local)) == sum {
			continue
		}
		if old, ok := m.Imports[p]; ok {
			if old.Sum == sum && sumOf(d.file(old.Local)) == sum {
				continue
			}
			if fi, err := d.Lstat(old.Local); err == nil && sumOf(d.file(old.Local)) == old.Sum {
				a.Path, a.Replaces = old.Local, &Owned{old.Local, fi}
			}
		}
		stageOnce(t, d, a, data, step)
		c.Add = append(c.Add, a)
	}
	for _, p := range pruned {
		if fi, err := d.Lstat(p); err == nil && sumOf(d.file(p)) == m.Imports[p].Sum {
			c.Remove = append(c.Remove, Owned{p, fi})
		}
	}
	c.Placing = func(places []Placed) error {
		step("remember")
		for _, p := range places {
			m.Pending[p.Wanted] = place{p.Local, fmt.Sprintf("%x", p.Sum)}
		}
		return m.save(dir)
	}
	o := Options{Now: later, LockWait: time.Minute, CompressIndex: &on, Workers: 1, step: step}
	if _, err := d.Commit(t.Context(), c, o); err != nil {
		t.Fatal(err)
	}
	step("settle memory")
	for p, now := range m.Pending {
		m.Imports[p] = now
	}
	clear(m.Pending)
	for _, p := range pruned {
		delete(m.Imports, p)
	}
	if err := m.save(dir); err != nil {
		t.Fatal(err)
	}
	step("clear staging")
	if err := d.Staging().Clear(); err != nil {
		t.Fatal(err)
	}
}

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// stageOnce copies a file unless it lies there complete, and notes each that it has copied.
func stageOnce(t testing.TB, d *Dir, a Incoming, data []byte, step func(string)) {
	if sumOf(d.file(d.Staging().Path(a.Sum))) == fmt.Sprintf("%x", a.Sum) {
		return
	}
	step("stage " + a.Path)
	err := d.Staging().Write(a.Sum, a.Size, func(w io.Writer) error {
		if _, err := w.Write(data[:len(data)/2]); err != nil {
			return err
		}
		step("stage the rest of " + a.Path)
		_, err := w.Write(data[len(data)/2:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	note, err := os.OpenFile(d.Path()+".copied", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer note.Close()
	if _, err := note.WriteString(a.Entry.Path() + "\n"); err != nil {
		t.Fatal(err)
	}
}

// TestCrashChild is the importer that is killed.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("only run by TestKilledAtEachStep")
	}
	left, err := strconv.Atoi(os.Getenv(crashStep))
	if err != nil {
		t.Fatal(err)
	}
	runImport(t, dir, func(string) {
		if left--; left == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until it arrives
		}
	})
}

func runChild(t *testing.T, dir string, step int) (killed bool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashStep+"="+strconv.Itoa(step))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	if err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	return false
}

// client makes a PKGDIR with an index, packages that came from the origin, and local ones.
func client(t *testing.T) string {
	t.Helper()
	d := indexed(t, atFirst)
	touch(t, d, localBuild, later.Add(-time.Hour))
	reindex(t, d, Options{Now: at(t, readFile(t, d, "Packages"))})
	m := memoryOf{Imports: map[string]place{}, Pending: map[string]place{}}
	for _, p := range ours {
		m.Imports[p] = place{p, sumOf(d.file(p))}
	}
	if err := m.save(d.Path()); err != nil {
		t.Fatal(err)
	}
	return d.Path()
}

func TestKilledAtEachStep(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process for each step")
	}
	steps := 0
	for killed := true; killed; {
		steps++
		name := fmt.Sprint("step-", steps)
		if !t.Run(name, func(t *testing.T) { killed = killAndRepeat(t, steps) }) {
			return
		}
	}
	if steps < 30 {
		t.Errorf("only %d steps: the hook is not called any more", steps)
	}
}

func killAndRepeat(t *testing.T, step int) bool {
	dir := client(t)
	local := localSums(t, dir)
	killed := runChild(t, dir, step)
	d := openDir(t, dir)
	if bad := mismatches(d); len(bad) > 0 {
		t.Errorf("after the kill: %q", bad)
	}
	if killed {
		runChild(t, dir, 0)
	}
	checkImported(t, d, local)
	return killed
}

// localSums are the files that the importer must not touch.
func localSums(t *testing.T, dir string) map[string]string {
	sums := map[string]string{}
	for _, p := range layoutPaths(t, atFirst) {
		if !slices.Contains(ours, p) {
			sums[p] = sumOf(filepath.Join(dir, p))
		}
	}
	return sums
}

func checkImported(t *testing.T, d *Dir, local map[string]string) {
	t.Helper()
	check(t, d)
	for p, sum := range local {
		if sumOf(d.file(p)) != sum {
			t.Errorf("the local %s has changed", p)
		}
	}
	m := loadMemory(t, d.Path())
	if len(m.Pending) != 0 {
		t.Errorf("still pending: %v", m.Pending)
	}
	for p := range origin {
		a, _ := originHas(t, p)
		want := fmt.Sprintf("%x", a.Sum)
		if got := m.Imports[p]; got.Sum != want || sumOf(d.file(got.Local)) != want {
			t.Errorf("%s lies at %q with %.8s, want %.8s", p, got.Local,
				sumOf(d.file(got.Local)), want)
		}
	}
	for _, p := range pruned {
		if exists(t, d, p) {
			t.Errorf("%s is still there", p)
		}
	}
	// 18 packages, one pruned; three new, one of them beside a local build.
	if n := len(paths(t, d)); n != 18-1+3 {
		t.Errorf("%d packages in the index: %q", n, paths(t, d))
	}
	copied, err := os.ReadFile(d.Path() + ".copied")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for p := range lines(string(copied)) {
		if seen[p] {
			t.Errorf("%s was copied twice", p)
		}
		seen[p] = true
	}
	left, err := os.ReadDir(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if name := e.Name(); !e.IsDir() && name != "Packages" && name != "Packages.gz" {
			t.Errorf("left behind: %s", name)
		}
	}
}

func lines(s string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for len(s) > 0 {
			i := 0
			for s[i] != '\n' {
				i++
			}
			if !yield(s[:i]) {
				return
			}
			s = s[i+1:]
		}
	}
}
