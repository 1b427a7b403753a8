package emerge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// User is the account as which emerge is asked where the asking process is root.
const User = "portage"

// Question is what to ask.
type Question struct {
	Program string   // path of emerge
	Exclude []string // names for --exclude
	// Options are further options that the owner's EMERGE_DEFAULT_OPTS would add; the variable
	// itself is emptied.
	Options []string
	PKGDIR  string
	Environ []string // of the asking process; what concerns Portage's directories is handed on
	// AsUser is the account for root; "" is User.
	AsUser string
}

// handedOn are the variables that emerge gets beside those that begin with PORTAGE_.
var handedOn = []string{"PATH", "ROOT", "SYSROOT", "EPREFIX", "DISTDIR", "EPYTHON",
	"PYTHONPATH", "TMPDIR"}

// Ask runs emerge. The error is that it could not be run, or ctx's.
func Ask(ctx context.Context, q Question) (*Answer, error) {
	cmd := exec.CommandContext(ctx, q.Program, q.args()...)
	cmd.Env, cmd.Dir = q.environ(), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		c, err := credential(q.AsUser)
		if err != nil {
			return nil, err
		}
		cmd.SysProcAttr.Credential = c
	}
	out := new(head)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	var failed *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &failed) && failed.Exited():
	case err != nil:
		return nil, fmt.Errorf("ask emerge: %w", err)
	}
	a := &Answer{Exit: cmd.ProcessState.ExitCode(), Cut: out.cut}
	a.Merges, a.Said = parse(out.kept.Bytes())
	return a, nil
}

// args are the forecast's line, with -p in the place of -a.
func (q *Question) args() []string {
	args := []string{"--pretend", "--color=n", "--nospinner", "--verbose=n", "--quiet=n", "-uDK",
		"--rebuilt-binaries-timestamp=0"}
	args = append(args, q.Options...)
	if len(q.Exclude) > 0 {
		args = append(args, "--exclude", strings.Join(q.Exclude, " "))
	}
	return append(args, "@world")
}

func (q *Question) environ() []string {
	env := []string{"LANG=C.UTF-8", "LC_ALL=C.UTF-8", "NOCOLOR=true", "COLUMNS=200",
		"EMERGE_DEFAULT_OPTS=", "HOME=/", "PKGDIR=" + q.PKGDIR}
	for _, v := range q.Environ {
		name, _, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "PORTAGE_") || slices.Contains(handedOn, name) {
			env = append(env, v)
		}
	}
	return env
}

// credential is an account without other groups than its own and its user's.
func credential(name string) (*syscall.Credential, error) {
	if name == "" {
		name = User
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil,
			fmt.Errorf("ask emerge: there is no user %q to run it as, which is not done as root",
				name)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err, err2); err != nil || uid == 0 {
		return nil, fmt.Errorf("ask emerge: the user %q is none to run it as (uid %s)", name, u.Uid)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// head keeps the beginning of what is written to it.
type head struct {
	kept bytes.Buffer
	cut  bool
}

func (h *head) Write(p []byte) (int, error) {
	n := min(len(p), MaxOutput-h.kept.Len())
	h.kept.Write(p[:n])
	h.cut = h.cut || n < len(p)
	return len(p), nil
}
