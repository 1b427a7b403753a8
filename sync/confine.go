package sync

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

// Confinement is what a process needs from now on. It loses everything else.
type Confinement struct {
	Read  []string // files, and directories with all below; what is absent is left out
	Write []string // directories below which it reads, makes, writes, renames and removes files and directories
}

// Confined says what the kernel of this machine could do about it.
type Confined struct {
	Landlock      int      // the version of the kernel's interface; 0: it has none, and nothing is confined
	Files         bool     // only what was granted can be opened, nothing can be executed or mounted, and no link, device, FIFO or socket made
	Network       bool     // no socket can be made, so that there is no network, and no other program to speak to
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

// ConfineImport confines this process, for ever, to what Import needs on this machine: it reads the drive and what the advice at the end is made of (ebuild repositories,
// installed packages), and writes PKGDIR, DISTDIR and the state directory. To be called when the configuration was read; the process cannot mount, unmount or run a program
// afterwards, so that whoever has to do that imports in a process of its own.
func (m Machine) ConfineImport(o ImportOptions) Confined {
	c := Confinement{Read: append([]string{o.Drive}, m.Settings.Lookups()...)}
	dirs := []string{m.StateDir}
	if !o.NoPackages {
		dirs = append(dirs, m.PKGDIR)
	}
	if !o.NoDistfiles {
		dirs = append(dirs, m.DISTDIR)
	}
	if o.Pretend {
		c.Read = append(c.Read, dirs...)
		return Confine(c)
	}
	c.Write = dirs
	return m.confineWriting(c)
}

// ConfineExport confines this process, for ever, to what Export needs on this machine: it reads PKGDIR, DISTDIR, itself (which it offers on the drive) and what the generation's
// record and the notices are made of, and writes the drive and the state directory. Otherwise as ConfineImport.
func (m Machine) ConfineExport(o ExportOptions) Confined {
	c := Confinement{Read: append([]string{m.PKGDIR, m.DISTDIR, fetchedDir(m)}, m.Settings.Lookups()...)}
	if m.Executable != "" {
		c.Read = append(c.Read, m.Executable)
	}
	if o.Pretend || needDirectory("export to", o.Drive) != nil { // then nothing will be written
		c.Read = append(c.Read, o.Drive, m.StateDir)
		return Confine(c)
	}
	c.Write = []string{o.Drive, m.StateDir}
	return m.confineWriting(c)
}

// confineWriting makes the state directory, which the journeys do in any case: what lies around it (/var/lib) is not granted.
func (m Machine) confineWriting(c Confinement) Confined {
	if err := os.MkdirAll(m.StateDir, 0o755); err != nil {
		return Confined{Problem: err.Error()}
	}
	return Confine(c)
}

// ConfineReading confines this process, for ever, to reading below the given paths: for a server, whose sockets are open by then. For what is absent, and shall be served
// when it comes, the directory above is granted, though never the root directory.
func ConfineReading(paths ...string) Confined {
	var c Confinement
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

// What is granted. Executing, and making links, devices, FIFOs and sockets, never is.
const (
	readFile  = ll.AccessFSReadFile
	readDir   = readFile | ll.AccessFSReadDir
	writeFile = readFile | ll.AccessFSWriteFile | ll.AccessFSTruncate
	// An import makes directories and regular files and moves them from the staging directory to their places (refer).
	writeDir = readDir | writeFile | ll.AccessFSMakeDir | ll.AccessFSMakeReg | ll.AccessFSRemoveDir | ll.AccessFSRemoveFile | ll.AccessFSRefer
)

// landlockRefer is the version of landlock from which on a file can be moved from one directory to another.
const landlockRefer = 2

// Confine takes everything from this process that is not granted. It is best effort: the result says what was done.
func Confine(c Confinement) (done Confined) {
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
	if c.Landlock < landlockRefer && moving {
		c.Problem = "the landlock of this kernel lets nobody move files between directories"
		return
	}
	if err := landlock.V11.BestEffort().Restrict(rules...); err != nil {
		c.Problem = err.Error()
		return
	}
	c.Files, c.NoNewPrivs = true, true
}

// rules finds out for each path whether it is a directory, and for an absent one to be written what has to be granted instead.
func (c Confinement) rules() (rules []landlock.Rule, done Confined) {
	for _, p := range append([]string{"/proc/self/mountinfo", "/proc/self/fdinfo"}, c.Read...) { // which device a drive is
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

// grantable returns the directory, or, where it is absent, the deepest one on the way to it: what does not exist cannot be granted. The root directory is no answer; then the
// directory is made.
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
