package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
)

// killed DIR SCRIPT COMMAND...: kills the command (SIGKILL) at many points of its work below DIR,
// each time on a fresh copy of DIR as it is now. The points are changes in the file system: the
// first, the second, and so on, farther apart the more there are, until the command ends by itself.
// After each kill the lines of the file SCRIPT are run, with $POINT being the number of the change;
// SCRIPT brings the work to its end and judges it. DIR is left as the last run left it.
//
// With -hook in front the points are those at which the program itself tells of a change before it
// (STORY_KILL): a short command runs ahead of whoever watches the file system on a busy machine,
// and would end before it is killed.
func storyKilled(ts *testscript.TestScript, neg bool, args []string) {
	kill := killAtChange
	if len(args) > 0 && args[0] == "-hook" {
		kill, args = killAtHook, args[1:]
	}
	if neg || len(args) < 3 {
		ts.Fatalf("usage: killed DIR SCRIPT COMMAND [ARGUMENTS]")
	}
	dir, checks := ts.MkAbs(args[0]), ts.ReadFile(args[1])
	pristine := filepath.Join(ts.Getenv("TMPDIR"), "pristine")
	ts.Check(os.RemoveAll(pristine))
	ts.Check(copyTree(dir, pristine))
	kills := 0
	for n := 1; ; n += 1 + n/growth() {
		ts.Check(os.RemoveAll(dir))
		ts.Check(copyTree(pristine, dir))
		dead, err := kill(ts, dir, n, args[2], args[3:])
		ts.Check(err)
		if !dead {
			break
		}
		kills++
		ts.Setenv("POINT", strconv.Itoa(n))
		runChecks(ts, checks)
	}
	// inotify tells of a change after it has happened: on a fast disk a short command is at its end
	// by then, so that only some of its points are reached.
	const fewest = 3
	if kills < fewest {
		ts.Fatalf("%q was killed at %d points only", args[2:], kills)
	}
	ts.Logf("killed at %d points", kills)
}

// growth is how many points lie closely together before they move apart.
func growth() int {
	if testing.Short() {
		return 3
	}
	return 10
}

// runChecks runs lines of a script: the commands of stories that are named here. A script cannot
// call itself, so this is what it may contain.
func runChecks(ts *testscript.TestScript, script string) {
	for line := range strings.Lines(script) {
		words := strings.Fields(os.Expand(line, ts.Getenv))
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		ts.Logf("point %s: %s", ts.Getenv("POINT"), strings.Join(words, " "))
		switch words[0] {
		case "exits":
			storyExits(ts, false, words[1:])
		case "indexed":
			storyIndexed(ts, false, words[1:])
		case "same":
			storySame(ts, false, words[1:])
		case "staged":
			storyStaged(ts, false, words[1:])
		case "placed":
			storyPlaced(ts, false, words[1:])
		default:
			ts.Fatalf("%q is no command of a script for killed", words[0])
		}
	}
}

// staged DIR: remembers the files below DIR, staged or in place, by inode and contents.
func storyStaged(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1)
	files, err := treeOf(ts.MkAbs(args[0]))
	ts.Check(err)
	var b strings.Builder
	for _, f := range files {
		if strings.HasSuffix(f.path, ".part") { // may hold all its bytes, which nothing shows
			continue
		}
		// an index that had not got its name yet: written, not copied
		if strings.HasPrefix(f.path, ".Packages.") {
			continue
		}
		if durable.IsStoreLock(path.Base(f.path)) { // no payload: it comes and goes with each run
			continue
		}
		fmt.Fprintf(&b, "%d %s %s\n", f.inode, f.sum, f.path)
	}
	ts.Check(os.WriteFile(filepath.Join(ts.Getenv("TMPDIR"), "staged"), []byte(b.String()), 0o644))
}

// placed DIR: what staged remembered was not copied a second time: the file that has its contents
// now is the one that had them then.
func storyPlaced(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1)
	files, err := treeOf(ts.MkAbs(args[0]))
	ts.Check(err)
	inodes := map[string][]uint64{} // by contents
	for _, f := range files {
		inodes[f.sum] = append(inodes[f.sum], f.inode)
	}
	for line := range strings.Lines(ts.ReadFile(filepath.Join(ts.Getenv("TMPDIR"), "staged"))) {
		var inode uint64
		var sum, name string
		_, err := fmt.Sscan(line, &inode, &sum, &name)
		ts.Check(err)
		if now := inodes[sum]; len(now) > 0 && !slices.Contains(now, inode) {
			ts.Fatalf("%s was complete when the run was killed, and was copied again", name)
		}
	}
}

// killAtHook runs a command that kills itself before its nth change; see killAtChange.
func killAtHook(ts *testscript.TestScript, _ string, n int, name string,
	args []string) (dead bool, err error) {
	cmd := storyCommand(ts, name, args)
	cmd.Env = append(cmd.Env, "STORY_KILL="+strconv.Itoa(n))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() {
		return true, nil
	}
	if err != nil {
		ts.Logf("%s", out)
	}
	return false, err
}

// killAtChange runs a command and kills it at the nth change below dir. dead is false if it ended
// by itself; then it must have succeeded.
func killAtChange(ts *testscript.TestScript, dir string, n int, name string,
	args []string) (dead bool, err error) {
	w, err := newChanges(dir)
	if err != nil {
		return false, err
	}
	defer w.close()
	cmd := storyCommand(ts, name, args)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return false, err
	}
	w.stop = cmd.Process
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for seen := 0; ; {
		got, err := w.next()
		if err != nil {
			return false, err
		}
		if seen += got; seen >= n {
			_ = cmd.Process.Kill() // it may have ended just now
			err = <-ended
			return err != nil, nil
		}
		select {
		case err := <-ended:
			if err != nil {
				ts.Logf("%s", out.String())
			}
			return false, err
		default:
			_ = cmd.Process.Signal(syscall.SIGCONT)
		}
	}
}

// storyCommand is a command of a story that is not run by the script's own means.
func storyCommand(ts *testscript.TestScript, name string, args []string) *exec.Cmd {
	program, err := exec.LookPath(name)
	ts.Check(err)
	cmd := exec.Command(program, args...)
	cmd.Dir = ts.MkAbs(".")
	for _, key := range storyVariables {
		cmd.Env = append(cmd.Env, key+"="+ts.Getenv(key))
	}
	return cmd
}

// storyVariables is what a command of a story gets to see.
var storyVariables = []string{"PATH", "HOME", "TMPDIR", "LC_ALL", "TZ", "STORY_ROOT", "STORY_NAME",
	"STORY_NOW", "STORY_TTY", "STORY_PROGRAM",
	"PKGSNEAK_ANY_DIRECTORY", "PKGSNEAK_STATE_DIR", "GOCOVERDIR"}

// changes counts what happens below a directory.
type changes struct {
	fd   int
	dirs map[int32]string // by watch descriptor
	// makes the changes; it is stopped at each one, so that it does not run ahead
	stop *os.Process
}

func newChanges(dir string) (*changes, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	w := &changes{fd: fd, dirs: map[int32]string{}}
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = w.add(name)
		}
		return err
	})
	return w, err
}

const changeMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
	unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_ATTRIB

func (w *changes) add(dir string) error {
	wd, err := unix.InotifyAddWatch(w.fd, dir, changeMask)
	w.dirs[int32(wd)] = dir
	return err
}

func (w *changes) close() { unix.Close(w.fd) }

// next waits a moment for changes and counts them. The process is stopped when there are some, and
// with it what it would have done next.
func (w *changes) next() (int, error) {
	ready := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
	switch n, err := unix.Poll(ready, 20); {
	case errors.Is(err, unix.EINTR), err == nil && n == 0:
		return 0, nil
	case err != nil:
		return 0, err
	}
	_ = w.stop.Signal(syscall.SIGSTOP)
	events := 0
	for buf := make([]byte, 1<<16); ; {
		n, err := unix.Read(w.fd, buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return events, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		}
		got, err := w.count(buf[:n])
		if err != nil {
			return 0, err
		}
		events += got
	}
}

// count counts the events in what was read, and begins to watch new directories.
func (w *changes) count(buf []byte) (events int, err error) {
	for ; len(buf) >= unix.SizeofInotifyEvent; events++ {
		wd, mask := int32(binary.NativeEndian.Uint32(buf)), binary.NativeEndian.Uint32(buf[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(buf[12:]))
		name := strings.TrimRight(string(buf[unix.SizeofInotifyEvent:end]), "\x00")
		if mask&unix.IN_ISDIR != 0 && mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 {
			if err := w.add(filepath.Join(w.dirs[wd], name)); err != nil &&
				!errors.Is(err, fs.ErrNotExist) {
				return 0, err
			}
		}
		buf = buf[end:]
	}
	return events, nil
}

// copyTree copies a directory with times and modes.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, info.Mode().Perm())
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, data, info.Mode().Perm()); err != nil {
			return err
		}
		return os.Chtimes(target, info.ModTime(), info.ModTime())
	})
}
