package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/cpu"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/state"
)

// facts are what the rules look at: the options, Portage's settings, the state directory and
// PKGDIR, each read once.
type facts struct {
	o     Options
	m     machine.Machine
	s     *portage.Settings
	opts  emergeOpts
	have  map[string]bool // features of this CPU; nil: unknown
	now   time.Time
	roles []Role

	st     *state.Dir    // nil: cannot be read
	ring   manifest.Ring // trusted keys
	own    *manifest.PublicKey
	hasKey bool // there is a signing key, readable or not

	dir      *pkgdir.Dir     // nil: no PKGDIR
	index    *pkgindex.Index // nil: no index that can be read
	indexErr error           // why not

	judge    *judge // nil: not read yet, or not to be read
	judgeErr error  // why not

	brought   []forecast.Candidate // what an import of Options.Drive would bring, or has brought
	elsewhere []pkgindex.Entry     // what those origins have and the drive has not
	trees     []forecast.Tree      // ebuild repositories of theirs that are not here
	open      []io.Closer          // of the drive, which the trees are read from
}

// readFacts reads the machine. A state directory that cannot be used is a finding; the error is
// ctx's.
func readFacts(ctx context.Context, o Options, l *findings) (*facts, error) {
	e := &facts{o: o, m: o.Machine, s: o.Machine.Settings, have: cpu.Read(o.CPUInfo),
		now: o.Machine.Now()}
	e.opts = parseOpts(e.s.Get("EMERGE_DEFAULT_OPTS"))
	if err := e.readState(ctx, l); err != nil {
		return nil, err
	}
	var because []string
	e.roles, because = e.findRoles()
	l.r.Roles, l.r.Because = append(l.r.Roles, e.roles...), append(l.r.Because, because...)
	e.readPKGDIR()
	return e, nil
}

func (e *facts) close() {
	for _, c := range slices.Backward(e.open) {
		c.Close()
	}
	if e.st != nil {
		e.st.Close()
	}
	if e.dir != nil {
		e.dir.Close()
	}
}

func (e *facts) is(r Role) bool { return slices.Contains(e.roles, r) }

func (e *facts) isOwn(f manifest.Fingerprint) bool {
	return e.own != nil && e.own.Fingerprint() == f
}

// readState reads the state directory.
func (e *facts) readState(ctx context.Context, l *findings) error {
	st, err := state.Open(ctx, e.m.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		l.badState(e.m.StateDir, err)
		return nil
	}
	e.st = st
	if e.ring, err = st.Trusted(); err != nil {
		l.badState(e.m.StateDir, err)
	}
	key, err := st.SigningKey()
	switch {
	case err == nil:
		e.own, e.hasKey = key.Public(), true
	case errors.Is(err, fs.ErrPermission):
		e.hasKey = true
	case !errors.Is(err, fs.ErrNotExist):
		e.hasKey = true // and nothing is signed with another one as long as it lies there
		l.badState(e.m.StateDir, err)
	}
	return nil
}

// badState tells that the state directory cannot be used. An ordinary user who may not look is told
// so, and that is all.
func (l *findings) badState(dir string, err error) {
	if errors.Is(err, fs.ErrPermission) {
		l.unknown("the state directory: %v", err)
		return
	}
	l.tell(Finding{Topic: "state", Weight: Broken,
		What: fmt.Sprintf("the state directory %q cannot be used: %v", dir, err),
		Why:  "keys and memory of this machine are there; nothing is exported or imported without them",
		Fix:  stateFix(err)})
}

// stateFix is the help of the error itself.
func stateFix(err error) []Fix {
	hints := fault.Hints(err, "DRIVE")
	if len(hints) == 0 {
		return []Fix{run("pkgsneak doctor --explain state")}
	}
	var all []Fix
	for _, hint := range hints {
		all = append(all, Fix{Do: hint, Lines: []string{}})
	}
	return all
}

// readPKGDIR opens PKGDIR and reads its index.
func (e *facts) readPKGDIR() {
	dir, err := pkgdir.Open(e.m.PKGDIR)
	if err != nil {
		e.indexErr = err
		return
	}
	e.dir = dir
	dir.Distdir, _ = machine.DistdirIn(e.m.PKGDIR, e.m.DISTDIR)
	e.index, e.indexErr = dir.Index()
}

// place is where the running process finds a path of this machine.
func (e *facts) place(p string) string { return filepath.Join(e.o.Root, p) }

// etc is a path of this machine below its etc/portage.
func (e *facts) etc(name string) string { return path.Join(e.s.ConfigRoot, "etc/portage", name) }

// userFile is where a line for one of the files package.* belongs, which may be a directory.
func (e *facts) userFile(name string) string {
	p := e.etc(name)
	if fi, err := os.Stat(e.place(p)); err == nil && fi.IsDir() {
		return path.Join(p, "pkgsneak")
	}
	return p
}

func (e *facts) driveWord() string {
	if e.o.Drive == "" {
		return "DRIVE"
	}
	return fault.Quote(e.o.Drive)
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
