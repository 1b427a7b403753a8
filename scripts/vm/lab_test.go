package vm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"pkgsneak/scripts/vm"
)

// How much of the lab runs: PKGSNEAK_VM is "short" (what fits seven minutes on
// two cores), "long" (everything), or nothing: the machine is not booted.
const modeVariable = "PKGSNEAK_VM"

func long() bool { return os.Getenv(modeVariable) == "long" }

// laboratory is what all machines of a run share.
type laboratory struct {
	dir   string // on the host; the guest sees dir/share as /lab
	agent string
	err   error
}

var theLab = sync.OnceValue(func() *laboratory {
	l := &laboratory{}
	if l.dir, l.err = os.MkdirTemp("", "vm"); l.err != nil {
		return l
	}
	if l.err = os.Mkdir(l.share("."), 0o755); l.err != nil && !errors.Is(l.err, os.ErrExist) {
		return l
	}
	l.agent = filepath.Join(l.dir, "agent")
	if l.err = build(l.agent, "", "./agent"); l.err == nil {
		l.err = build(l.share("pkgsneak"), "", "../../cmd/pkgsneak")
	}
	return l
})

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv(modeVariable) != "" {
		for len(idle) > 0 {
			(<-idle).Close()
		}
		os.RemoveAll(theLab().dir)
	}
	os.Exit(code)
}

// A short run ends within seven minutes on two processors that nobody else needs,
// and reports what it had no time for: nothing begins after shortRun, and each test
// has a share, so that a slow machine sees something of everything.
const (
	shortRun    = 5 * time.Minute
	replayShare = 30 * time.Second // of each file system
	againShare  = 15 * time.Second
	cutShare    = 20 * time.Second
	pullShare   = 20 * time.Second
	mutantShare = 30 * time.Second
)

var started = time.Now()

// share returns what tells that a test has used up its time.
func share(d time.Duration) (overdue func() bool) {
	until := time.Now().Add(d)
	return func() bool {
		return !long() && (time.Now().After(until) ||
			time.Since(started) > shortRun)
	}
}

// idle are machines that wait for a test, places the tests that may have one: a
// machine keeps a processor busy.
var (
	places = make(chan struct{}, min(4, max(1, runtime.NumCPU())))
	idle   = make(chan *vm.Machine, cap(places))
)

// borrow gives a test a machine with a host and a client that trusts it.
func borrow(t testing.TB) *vm.Machine {
	t.Helper()
	lab(t)
	places <- struct{}{}
	t.Cleanup(func() { <-places })
	if !long() && time.Since(started) > shortRun {
		t.Skipf("NO TIME: the short run has used its %v; %s=long has it", shortRun, modeVariable)
	}
	var m *vm.Machine
	select {
	case m = <-idle:
	default:
		m = boot(t)
	}
	t.Cleanup(func() {
		if (t.Failed() || t.Skipped()) && !tidy(m) {
			m.Close()
			return
		}
		idle <- m
	})
	settle(t, m)
	return m
}

// tidy reports whether a machine is as it was before a test that failed.
func tidy(m *vm.Machine) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	mounts, err := m.Sh(ctx, "cat /proc/mounts")
	if err != nil || strings.Contains(mounts, " "+drive+" ") ||
		strings.Contains(mounts, " "+powerDir+" ") {
		return false
	}
	disks, err := m.Disks(ctx)
	return err == nil && len(disks) == 0
}

// share is a file as the host names it, in the directory that the guest has as
// /lab.
func (l *laboratory) share(name string) string { return filepath.Join(l.dir, "share", name) }

// build builds a static program of the module.
func build(out, overlay, pkg string) error {
	words := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", out}
	if overlay != "" {
		words = append(words, "-overlay", overlay)
	}
	cmd := exec.Command("go", append(words, pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOARCH=amd64", "GOOS=linux")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, text)
	}
	return nil
}

// lab returns the laboratory, or skips the test, loudly.
func lab(t testing.TB) *laboratory {
	t.Helper()
	switch os.Getenv(modeVariable) {
	case "short", "long":
	default:
		t.Skipf("no machine is booted: set %s=short or %s=long, or run scripts/test",
			modeVariable, modeVariable)
	}
	l := theLab()
	if l.err != nil {
		t.Fatal(l.err)
	}
	return l
}

// provenKVM tries once whether this machine's virtualisation works: inside of
// other virtual machines it may open and then crawl.
var provenKVM = sync.OnceValue(func() bool {
	dir, err := os.MkdirTemp(theLab().dir, "k")
	if err != nil {
		return false
	}
	// the kernel may have to be fetched
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	return vm.CheckKVM(ctx, vm.Config{Dir: dir, Cache: cache(), Share: theLab().share("."),
		Agent: theLab().agent})
})

// cache is where kernels are kept.
func cache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "pkgsneak-vm")
}

// boot boots a machine for a test.
func boot(t testing.TB, tweak ...func(*vm.Config)) *vm.Machine {
	t.Helper()
	l := lab(t)
	dir, err := os.MkdirTemp(l.dir, "m")
	if err != nil {
		t.Fatal(err)
	}
	var programs []string
	for _, name := range []string{"fsck.vfat", "fsck.exfat"} {
		if path, err := exec.LookPath(name); err == nil {
			programs = append(programs, path)
		}
	}
	c := vm.Config{KVM: provenKVM(), Dir: dir, Programs: programs, Cache: cache(),
		Share: l.share("."), Agent: l.agent}
	for _, f := range tweak {
		f(&c)
	}
	began := time.Now()
	m, err := vm.Boot(context.Background(), c) // it outlives the test
	var missing *vm.UnavailableError
	if errors.As(err, &missing) {
		t.Skipf("THE MACHINE LAB DID NOT RUN: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := m.SetClock(t.Context(), time.Now().Unix()); err != nil {
		t.Fatal(err)
	}
	t.Logf("kernel %s (KVM: %t) is up after %.1f s", m.Kernel.Version, c.KVM,
		time.Since(began).Seconds())
	return m
}

// blank makes an empty image of so many MiB.
func blank(t testing.TB, mib int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "stick.img")
	f, err := os.Create(name)
	if err == nil {
		err = errors.Join(f.Truncate(mib<<20), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// run runs a program of the host.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// must returns a value that came without an error.
func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
