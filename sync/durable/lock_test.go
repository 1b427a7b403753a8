package durable

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/fault"
)

// enough is how long a test waits for what will happen for certain.
const enough = 30 * time.Second

func noRecordLocks(*os.File) error { return unix.ENOSYS }

// kinds are the ways a lock can work, by the file system it lies on.
var kinds = map[string]LockOptions{
	"record":    {},
	"nfs":       {everywhere: true},
	"hard-link": {setlk: noRecordLocks},
}

func TestLockExcludes(t *testing.T) {
	for kind, o := range kinds {
		t.Run(kind, func(t *testing.T) {
			root := openRoot(t)
			first, err := Acquire(t.Context(), root, PackagesLock, o)
			if err != nil {
				t.Fatal(err)
			}
			if kind != "hard-link" { // that one belongs to the process
				if _, err := Acquire(t.Context(), root, PackagesLock,
					o); !errors.Is(err, ErrLocked) {
					t.Errorf("second lock: %v, want ErrLocked", err)
				}
			}
			if err := first.Release(); err != nil {
				t.Fatal(err)
			}
			if left := names(t, root, "."); len(left) != 0 {
				t.Errorf("left after release: %q", left)
			}
			again, err := Acquire(t.Context(), root, PackagesLock, o)
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Release(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A counter that is read, and written back one higher, loses counts unless the lock excludes; as
// the lock file is unlinked with each release, the proof that it still is there is tried as well.
func TestLockManyHolders(t *testing.T) {
	for _, kind := range []string{"record", "nfs"} {
		t.Run(kind, func(t *testing.T) {
			root := openRoot(t)
			put(t, root, "counter", "")
			o := kinds[kind]
			o.Wait = enough
			const holders, rounds = 4, 10
			var wg sync.WaitGroup
			for range holders {
				wg.Go(func() {
					for range rounds {
						l, err := Acquire(t.Context(), root, "lock", o)
						if err != nil {
							t.Error(err)
							return
						}
						b, _ := root.ReadFile("counter")
						root.WriteFile("counter", append(b, '.'), 0o644)
						if err := l.Release(); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if got := len(read(t, root, "counter")); got != holders*rounds {
				t.Errorf("counted %d of %d", got, holders*rounds)
			}
		})
	}
}

func TestLockFileLooksAsPortagesDoes(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	root := openRoot(t)
	const group = 4321
	asRoot := os.Geteuid() == 0
	if asRoot {
		if err := os.Chown(root.Name(), -1, group); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Acquire(t.Context(), root, PackagesLock, LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	fi, err := root.Lstat(PackagesLock)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode() != 0o660 {
		t.Errorf("mode %v", fi.Mode())
	}
	if gid := fi.Sys().(*syscall.Stat_t).Gid; asRoot && gid != group {
		t.Errorf("group %d, want the directory's", gid)
	}
}

func TestLockWaits(t *testing.T) {
	root := openRoot(t)
	held, err := Acquire(t.Context(), root, "lock", LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	said := 0
	o := LockOptions{Wait: enough, OnWait: func() { said++; held.Release() }}
	l, err := Acquire(t.Context(), root, "lock", o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	if said != 1 {
		t.Errorf("said %d times that it waits", said)
	}
	if _, err := Acquire(t.Context(), root, "lock",
		LockOptions{Wait: 2 * lockPoll}); !errors.Is(err, ErrLocked) {
		t.Errorf("after the wait: %v, want ErrLocked", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Acquire(ctx, root, "lock", LockOptions{Wait: enough}); !errors.Is(err,
		context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestLockRefuses(t *testing.T) {
	tests := []struct {
		name  string
		setup func(*os.Root)
		lock  string
		o     LockOptions
	}{
		{"no-directory", func(*os.Root) {}, "none/lock", LockOptions{}},
		{"link-out-of-the-directory", func(r *os.Root) { r.Symlink("/etc/passwd", "lock") }, "lock",
			LockOptions{}},
		{"link-inside", func(r *os.Root) {
			r.WriteFile("real", nil, 0o644)
			r.Symlink("real", "lock")
		}, "lock", LockOptions{}},
		{"dangling-link", func(r *os.Root) { r.Symlink("nowhere", "lock") }, "lock", LockOptions{}},
		{"directory", func(r *os.Root) { r.Mkdir("lock", 0o755) }, "lock", LockOptions{}},
		{"strange-error", func(*os.Root) {}, "lock",
			LockOptions{setlk: func(*os.File) error { return unix.EIO }}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := openRoot(t)
			tt.setup(root)
			l, err := Acquire(t.Context(), root, tt.lock, tt.o)
			if err == nil {
				l.Release()
				t.Fatal("got the lock")
			}
			if errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), tt.lock) {
				t.Errorf("error %q", err)
			}
		})
	}
}

func TestLockTemporarilyOutOfLocks(t *testing.T) {
	root := openRoot(t)
	tries := 0
	o := LockOptions{Wait: enough, setlk: func(f *os.File) error {
		if tries++; tries < 3 {
			return unix.ENOLCK
		}
		return setlk(f)
	}}
	l, err := Acquire(t.Context(), root, "lock", o)
	if err != nil {
		t.Fatal(err)
	}
	l.Release()
}

// The next holder's file is not unlinked by a late release.
func TestReleaseLeavesForeignFile(t *testing.T) {
	root := openRoot(t)
	l, err := Acquire(t.Context(), root, "lock", LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Remove("lock"); err != nil {
		t.Fatal(err)
	}
	put(t, root, "lock", "another's")
	if err := l.Release(); err != nil {
		t.Error(err)
	}
	if got := read(t, root, "lock"); got != "another's" {
		t.Errorf("lock holds %q", got)
	}
}

func TestHardLinkLockHeldByAnotherProcess(t *testing.T) {
	root := openRoot(t)
	put(t, root, PackagesLock, "")
	const theirs = "." + PackagesLock + ".hardlock-elsewhere-1"
	if err := root.Link(PackagesLock, theirs); err != nil {
		t.Fatal(err)
	}
	o := LockOptions{setlk: noRecordLocks}
	if _, err := Acquire(t.Context(), root, PackagesLock, o); !errors.Is(err, ErrLocked) {
		t.Fatalf("error %v, want ErrLocked", err)
	}
	want := []string{theirs, PackagesLock}
	if got := names(t, root, "."); !slices.Equal(got, want) {
		t.Errorf("directory holds %q, want %q", got, want)
	}
}

// pythonChild runs script with the lock file's path as argument; it talks in lines.
func pythonChild(t *testing.T, script, file string) (say func(string), hear func() string) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("SKIPPED: no python3 here to play Portage's part")
	}
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	cmd := exec.CommandContext(ctx, python, "-c", script, file)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait(); cancel() })
	lines := bufio.NewReader(out)
	hear = func() string {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("python said %q and then nothing: %v", line, err)
		}
		return strings.TrimSpace(line)
	}
	return func(s string) { io.WriteString(in, s+"\n") }, hear
}

// fcntl.lockf is what Portage calls.
const lockfScript = `
import fcntl, os, sys
def say(s): print(s, flush=True)
fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o660)
for line in sys.stdin:
    line = line.strip()
    if line == "try":
        try: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB); say("got")
        except OSError: say("held")
    elif line == "wait":
        fcntl.lockf(fd, fcntl.LOCK_EX)
        say("got " + str(os.fstat(fd).st_nlink))
    elif line == "unlink":
        os.unlink(sys.argv[1]); fcntl.lockf(fd, fcntl.LOCK_UN); os.close(fd); say("done")
`

func TestLockAgainstLockf(t *testing.T) {
	t.Run("held-by-python", func(t *testing.T) {
		root := openRoot(t)
		say, hear := pythonChild(t, lockfScript, filepath.Join(root.Name(), PackagesLock))
		say("try")
		if got := hear(); got != "got" {
			t.Fatalf("python %s", got)
		}
		if _, err := Acquire(t.Context(), root, PackagesLock,
			LockOptions{}); !errors.Is(err, ErrLocked) {
			t.Fatalf("error %v, want ErrLocked", err)
		}
		say("unlink")
		l, err := Acquire(t.Context(), root, PackagesLock, LockOptions{Wait: enough})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Release()
		if _, err := root.Lstat(PackagesLock); err != nil {
			t.Errorf("the lock is held on a file that is gone: %v", err)
		}
	})
	t.Run("held-by-us", func(t *testing.T) {
		root := openRoot(t)
		l, err := Acquire(t.Context(), root, PackagesLock, LockOptions{})
		if err != nil {
			t.Fatal(err)
		}
		say, hear := pythonChild(t, lockfScript, filepath.Join(root.Name(), PackagesLock))
		say("try")
		if got := hear(); got != "held" {
			t.Errorf("python %s, want held", got)
		}
		say("wait")
		if err := l.Release(); err != nil {
			t.Fatal(err)
		}
		if got := hear(); got != "got 0" {
			t.Errorf("python %q, want a lock on an unlinked file", got)
		}
	})
}

// With Portage installed, its own locks.py is asked.
const portageScript = `
import sys
try:
    from portage.locks import lockfile, unlockfile
    from portage.exception import TryAgain
except ImportError:
    print("no portage", flush=True); sys.exit()
import os, portage.locks
portage.locks._quiet = True
print("ready", flush=True)
for line in sys.stdin:
    line = line.strip()
    if line == "try":
        try: lock = lockfile(sys.argv[1], wantnewlockfile=1, flags=os.O_NONBLOCK); print("got", flush=True)
        except TryAgain: print("held", flush=True)
    elif line == "wait":
        lock = lockfile(sys.argv[1], wantnewlockfile=1); print("got", flush=True)
    elif line == "release":
        unlockfile(lock); print("released", flush=True)
`

func TestLockAgainstPortage(t *testing.T) {
	root := openRoot(t)
	say, hear := pythonChild(t, portageScript, filepath.Join(root.Name(), "Packages"))
	if hear() != "ready" {
		t.Skip("SKIPPED: python3 cannot import portage here")
	}
	say("try")
	if got := hear(); got != "got" {
		t.Fatalf("portage %s", got)
	}
	if _, err := Acquire(t.Context(), root, PackagesLock,
		LockOptions{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("error %v, want ErrLocked", err)
	}
	say("release")
	hear()
	l, err := Acquire(t.Context(), root, PackagesLock, LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	say("try")
	if got := hear(); got != "held" {
		t.Errorf("portage %s, want held", got)
	}
	say("wait")
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if got := hear(); got != "got" {
		t.Errorf("portage %s, want got", got)
	}
	if _, err := Acquire(t.Context(), root, PackagesLock,
		LockOptions{}); !errors.Is(err, ErrLocked) {
		t.Errorf("error %v, want ErrLocked", err)
	}
	say("release")
	hear()
	if _, err := root.Lstat(PackagesLock); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lock file: %v", err)
	}
}

// Without a lock daemon there is no other program to wait for, and no sense in waiting longer.
func TestLockThatTheKernelDoesNotGive(t *testing.T) {
	root := openRoot(t)
	o := LockOptions{setlk: func(*os.File) error { return unix.ENOLCK }, OnWait: func() {
		t.Error("waits for another program")
	}}
	for _, wait := range []time.Duration{0, enough} {
		o.Wait = wait
		_, err := Acquire(t.Context(), root, "lock", o)
		var none *NoLocksError
		if !errors.Is(err, ErrNoLocks) || !errors.Is(err, unix.ENOLCK) ||
			errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "rpc.statd") ||
			!errors.As(err, &none) || none.Dir != root.Name() {
			t.Errorf("wait %v: %v", wait, err)
		}
		if hints := fault.Hints(err, ""); len(hints) != 1 ||
			!strings.Contains(hints[0], fault.Quote(root.Name())) {
			t.Errorf("hints: %q", hints)
		}
	}
}
