// Package sandbox takes from a process, for ever, the rights that it will not need: landlock for
// files, a seccomp filter for sockets, no_new_privs for what it starts.
//
// It is a second wall behind the checks of what a drive holds. An attacker who takes over the
// process by a fault of a parser finds it able to open only the files that were granted; it cannot
// execute, mount, make links or devices, or make a socket of whatever family. Both are best effort:
// kernels before 5.13 have no landlock, and before 5.19 (LandlockRefer) one that fits only a
// process that writes nothing. Confined tells what was done, in one line for people.
//
// Grants are paths. One that is absent cannot be granted; for reading it is left out, for writing
// the deepest directory on the way to it is granted instead, though never the root directory.
package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// Grants are the paths that a process needs from now on. It loses everything else.
type Grants struct {
	Read []string // files, and directories with all below; what is absent is left out
	// directories below which it reads, makes, writes, renames and removes files and directories
	Write []string
}

// Confined is what the kernel of this machine could do about it.
type Confined struct {
	// the version of the kernel's interface; 0: it has none, and nothing is confined
	Landlock int
	// only what was granted can be opened, nothing can be executed or mounted, and no link, device,
	// FIFO or socket made
	Files bool
	// no socket can be made, so that there is no network, and no other program to speak to
	Network       bool
	NoNewPrivs    bool     // no program that is started gains privileges
	Wider         []string // directories that were granted instead of an absent one below them
	Problem       string   // why less was done than the kernel can
	read, written []string
}

// String tells it in one line.
func (c Confined) String() string {
	var text string
	switch {
	case c.Files:
		text = fmt.Sprintf("confined by landlock %d: reads %s", c.Landlock, quoted(c.read))
		if len(c.written) > 0 {
			text += ", writes " + quoted(c.written)
		}
		if c.Problem != "" {
			text += ", but: " + c.Problem
		}
	case c.Problem != "":
		text = "not confined: " + c.Problem
	default:
		text = "not confined: this kernel has no landlock"
	}
	if c.Network {
		text += ", no network"
	}
	if c.NoNewPrivs {
		text += ", no new privileges"
	}
	return text
}

func quoted(paths []string) string {
	if len(paths) == 0 {
		return "nothing"
	}
	var b strings.Builder
	for i, p := range paths {
		if i > 0 {
			b.WriteString(" ")
		}
		fmt.Fprintf(&b, "%q", p)
	}
	return b.String()
}

// ConfineReading confines this process, for ever, to reading below the given paths: for a server,
// whose sockets are open by then. For what is absent, and shall be served when it comes, the
// directory above is granted, though never the root directory.
func ConfineReading(paths ...string) Confined {
	var c Grants
	var wider []string
	for _, p := range paths {
		there := readable(p)
		if there != filepath.Clean(p) {
			wider = append(wider, there)
		}
		c.Read = append(c.Read, there)
	}
	done := Confine(c)
	done.Wider = append(done.Wider, wider...)
	return done
}

// readable returns the path, or, where it is absent, the deepest directory on the way to it.
func readable(path string) string {
	for p := filepath.Clean(path); p != "/" && p != "."; p = filepath.Dir(p) {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			return p
		}
	}
	return filepath.Clean(path)
}

// The rights that are granted. Executing, and making links, devices, FIFOs and sockets, is never
// granted.
const (
	readFile  = ll.AccessFSReadFile
	readDir   = readFile | ll.AccessFSReadDir
	writeFile = readFile | ll.AccessFSWriteFile | ll.AccessFSTruncate
	// An import makes directories and regular files and moves them from the staging directory to
	// their places (refer).
	writeDir = readDir | writeFile | ll.AccessFSMakeDir | ll.AccessFSMakeReg |
		ll.AccessFSRemoveDir | ll.AccessFSRemoveFile | ll.AccessFSRefer
)

// LandlockRefer is the version of landlock from which on files can be moved between directories.
const LandlockRefer = 2

// Confine takes everything from this process that is not granted. It is best effort: the result
// tells what was done.
func Confine(c Grants) (done Confined) {
	// Read when it is first wanted, which must be before.
	_ = time.Local.String()

	rules, done := c.rules()
	if done.Problem == "" {
		done.restrict(rules, len(c.Write) > 0)
	}
	if err := noSockets(); err != nil {
		done.Problem = cmp.Or(done.Problem, err.Error())
		return done
	}
	done.Network, done.NoNewPrivs = true, true
	return done
}

// restrict is landlock's part of Confine.
func (c *Confined) restrict(rules []landlock.Rule, moving bool) {
	c.Landlock, _ = ll.LandlockGetABIVersion()
	if c.Landlock == 0 {
		return
	}
	if c.Landlock < LandlockRefer && moving {
		c.Problem = "the landlock of this kernel lets nobody move files between directories"
		return
	}
	if err := landlock.V10.BestEffort().Restrict(rules...); err != nil {
		c.Problem = err.Error()
		return
	}
	c.Files, c.NoNewPrivs = true, true
}

// rules finds out for each path whether it is a directory, and for an absent one to be written what
// has to be granted instead.
func (c Grants) rules() (rules []landlock.Rule, done Confined) {
	// which device a drive is
	for _, p := range append([]string{"/proc/self/mountinfo", "/proc/self/fdinfo"}, c.Read...) {
		fi, err := os.Stat(p)
		if err != nil {
			continue // absent, or not for this user
		}
		access := landlock.AccessFSSet(readFile)
		if fi.IsDir() {
			access = readDir
		}
		rules = append(rules, landlock.PathAccess(access, p))
		done.read = append(done.read, p)
	}
	for _, p := range c.Write {
		there, err := grantable(p)
		if err != nil {
			return nil, Confined{Problem: err.Error()}
		}
		if there != filepath.Clean(p) {
			done.Wider = append(done.Wider, there)
		}
		rules = append(rules, landlock.PathAccess(writeDir, there))
		done.written = append(done.written, there)
	}
	done.read = slices.Compact(done.read)
	return rules, done
}

// grantable returns the directory, or, where it is absent, the deepest one on the way to it: what
// does not exist cannot be granted. The root directory is no answer; then the directory is made.
func grantable(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for p := dir; ; p = filepath.Dir(p) {
		fi, err := os.Stat(p)
		switch {
		case err == nil && !fi.IsDir():
			return "", fmt.Errorf("%q: %w", p, syscall.ENOTDIR)
		case err == nil && p == "/" && p != dir:
			return dir, os.MkdirAll(dir, 0o755)
		case err == nil:
			return p, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		}
	}
}
