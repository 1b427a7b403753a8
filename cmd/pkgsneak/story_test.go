package main

import (
	"bufio"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"pkgsneak/manifest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/durable/durabletest"
	"pkgsneak/sync/progress"
)

// The stories in testdata run the real command, each machine being a directory: "as host" makes
// $WORK/host with etc, var/cache/binpkgs, var/cache/distfiles and var/lib/pkgsneak, and everything
// after it happens there. A script tells of the process around the command in STORY_ variables:
//
//	STORY_ROOT  the machine's directory
//	STORY_NAME  its host name
//	STORY_NOW   its clock, RFC 3339; without it the real one
//	STORY_TTY   set: all three streams are terminals
//	STORY_PROGRAM  the program that is offered on the drive
//	STORY_SIGNALS  phases of an operation and bytes, "copy:20000000 flush:0": at each of these points the process sends itself SIGINT and waits for what comes of it
//	STORY_KILL  the number of the change of a file on this machine before which the process is killed
const storyClock = time.RFC3339

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pkgsneak": storyMain})
}

// storyMain is main with a machine of the story around it.
func storyMain() {
	ctx, again, stop := untilSignal(context.Background())
	e := processEnv(build{version: "story"})
	e.again = again
	e.observe = signalsAt(ctx, strings.Fields(os.Getenv("STORY_SIGNALS")))
	e.root, e.hostname, e.executable = os.Getenv("STORY_ROOT"), os.Getenv("STORY_NAME"),
		os.Getenv("STORY_PROGRAM")
	e.portageq = nil
	if os.Getenv("STORY_TTY") != "" {
		e.stdinTTY, e.stdoutTTY, e.stderrTTY = true, true, true
	}
	if s := os.Getenv("STORY_NOW"); s != "" {
		now, err := time.Parse(storyClock, s)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(99)
		}
		e.now = func() time.Time { return now }
	}
	if s := os.Getenv("STORY_KILL"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(99)
		}
		e.hook = durabletest.KillAt(n)
	}
	code := run(ctx, e, os.Args[1:])
	stop()
	os.Exit(code)
}

// signalsAt sends this process SIGINT at each of the points, and goes on when the first one has
// been caught; a further one ends the process.
func signalsAt(ctx context.Context, points []string) progress.Watcher {
	return progress.OfEvents(func(e progress.Event) {
		if len(points) == 0 {
			return
		}
		phase, bytes, _ := strings.Cut(points[0], ":")
		if least, err := strconv.ParseInt(bytes, 10, 64); err != nil || string(e.Phase) != phase ||
			e.Done < least {
			return
		}
		points = points[1:]
		again := ctx.Err() != nil
		_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
		<-ctx.Done()
		for again { // until the process no longer catches it
			_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
		}
	})
}

func TestStories(t *testing.T) { testscript.Run(t, storyParams()) }

// storyParams are how the stories in testdata run.
func storyParams() testscript.Params {
	return testscript.Params{
		Dir:                "testdata",
		RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Values[heldKey{}] = map[string]func() error{}
			e.Setenv("LC_ALL", "C.UTF-8")
			e.Setenv("TZ", "UTC")
			e.Setenv("TERM", "xterm")
			e.Setenv("PKGSNEAK_ANY_DIRECTORY", "yes") // the drives of the stories are directories
			golden, err := filepath.Abs("../../testdata/golden")
			e.Setenv("GOLDEN", golden)
			return err
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "mount": // in a name space of its own
				return exec.Command("unshare", "-rm", "mount", "-t", "tmpfs", "none",
					"/mnt").Run() == nil, nil
			case "overlay": // in such a name space, and on a file system in memory
				return exec.Command("unshare", "-rm", "sh", "-c", overlay).Run() == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"as":          storyAs,
			"clock":       storyClockCmd,
			"distfile":    storyDistfile,
			"exits":       storyExits,
			"fingerprint": storyFingerprint,
			"gpghome":     storyGPGHome,
			"flip":        storyFlip,
			"golden":      storyGolden,
			"indexed":     storyIndexed,
			"killed":      storyKilled,
			"interrupted": storyInterrupted,
			"jsonlines":   storyJSONLines,
			"locked":      storyLocked,
			"unlocked":    storyUnlocked,
			"mtime":       storyMtime,
			"ordinary":    storyOrdinary,
			"placed":      storyPlaced,
			"rebuild":     storyRebuild,
			"receipt":     storyReceipt,
			"same":        storySame,
			"staged":      storyStaged,
			"snapshot":    storySnapshot,
			"tree":        storyTree,
		},
	}
}

// overlay mounts a file system that is neither in memory nor that of a machine of the story.
const overlay = `mount -t tmpfs none /mnt && cd /mnt && mkdir lower upper work top &&
mount -t overlay none -o lowerdir=lower,upperdir=upper,workdir=work,userxattr top`

// as NAME: from here on on that machine; it is made if it is new.
func storyAs(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1)
	root := ts.MkAbs(args[0])
	if filepath.Dir(root) != ts.Getenv("WORK") {
		root = filepath.Join(ts.Getenv("WORK"), args[0])
	}
	for _, dir := range []string{"etc/portage", "var/cache/binpkgs", "var/cache/distfiles"} {
		ts.Check(os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	ts.Setenv("STORY_ROOT", root)
	ts.Setenv("STORY_NAME", args[0])
	ts.Setenv("PKGS", filepath.Join(root, "var/cache/binpkgs"))
	ts.Setenv("DIST", filepath.Join(root, "var/cache/distfiles"))
	ts.Setenv("STATE", filepath.Join(root, "var/lib/pkgsneak"))
}

// clock TIME: what the clocks show from here on, RFC 3339; "real" is the real time.
func storyClockCmd(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1)
	if args[0] == "real" {
		args[0] = ""
	}
	ts.Setenv("STORY_NOW", args[0])
}

// exits CODE COMMAND...: runs a command, which must end with that code.
func storyExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGUMENTS]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var failed *exec.ExitError
	switch {
	case err == nil && want == 0:
	case errors.As(err, &failed) && failed.ExitCode() == want:
	case err == nil:
		ts.Fatalf("exit code 0, want %d", want)
	default:
		ts.Fatalf("%v, want exit code %d", err, want)
	}
}

// ordinary CODE COMMAND...: exits, as a user who owns nothing. Only root can become one.
func storyOrdinary(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: ordinary CODE COMMAND [ARGUMENTS]")
	}
	program, err := exec.LookPath(args[1])
	ts.Check(err)
	for _, path := range []string{ts.Getenv("WORK"), program} {
		for dir := filepath.Dir(path); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			info, err := os.Stat(dir)
			ts.Check(err)
			ts.Check(os.Chmod(dir, info.Mode().Perm()|0o011))
		}
	}
	user := []string{args[0], "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
		"--inh-caps=-all"}
	storyExits(ts, false, append(append(user, program), args[2:]...))
}

// golden [-index] LAYOUT [DIR]: copies the packages of a golden layout into $PKGS, or DIR, with
// their mtimes; with -index also its Packages.
func storyGolden(ts *testscript.TestScript, neg bool, args []string) {
	index := len(args) > 0 && args[0] == "-index"
	if index {
		args = args[1:]
	}
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: golden [-index] LAYOUT [DIR]")
	}
	from, to := filepath.Join(ts.Getenv("GOLDEN"), args[0]), ts.Getenv("PKGS")
	if len(args) == 2 {
		to = ts.MkAbs(args[1])
	}
	ts.Check(copyGolden(from, to))
	if index {
		ts.Check(copyFileTo(filepath.Join(from, "Packages"),
			filepath.Join(to, "Packages"), time.Time{}))
	}
}

// copyGolden copies what FILES.tsv of a golden layout lists.
func copyGolden(from, to string) error {
	f, err := os.Open(filepath.Join(from, "FILES.tsv"))
	if err != nil {
		return err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); ; {
		if !lines.Scan() {
			return lines.Err()
		}
		fields := strings.Split(lines.Text(), "\t")
		if strings.HasPrefix(fields[0], "#") {
			continue
		}
		seconds, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return err
		}
		if err := copyFileTo(filepath.Join(from, "pkgdir", fields[0]), filepath.Join(to, fields[0]),
			time.Unix(seconds, 0)); err != nil {
			return err
		}
	}
}

func copyFileTo(from, to string, mtime time.Time) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(to, data, 0o644); err != nil || mtime.IsZero() {
		return err
	}
	return os.Chtimes(to, mtime, mtime)
}

// distfile NAME SIZE [SEED]: makes a distfile in $DIST; the same seed makes the same bytes.
func storyDistfile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: distfile NAME SIZE [SEED]")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	seed := args[0]
	if len(args) == 3 {
		seed += args[2]
	}
	ts.Check(os.WriteFile(filepath.Join(ts.Getenv("DIST"), args[0]), randomBytes(seed, n), 0o644))
}

func randomBytes(seed string, n int) []byte {
	var key [32]byte
	copy(key[:], seed)
	data := make([]byte, n)
	rand.NewChaCha8(key).Read(data)
	return data
}

// flip FILE [OFFSET]: turns one bit, in the middle or at an offset, from the end if it is negative;
// size and mtime stay.
func storyFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: flip FILE [OFFSET]")
	}
	name := ts.MkAbs(args[0])
	info, err := os.Stat(name)
	ts.Check(err)
	data, err := os.ReadFile(name)
	ts.Check(err)
	at := len(data) / 2
	if len(args) == 2 {
		at, err = strconv.Atoi(args[1])
		ts.Check(err)
		if at < 0 {
			at += len(data)
		}
	}
	data[at] ^= 0x10
	ts.Check(os.WriteFile(name, data, info.Mode()))
	ts.Check(os.Chtimes(name, info.ModTime(), info.ModTime()))
}

// rebuild FILE UNIX: makes an XPAK package what a second build of it is: another BUILD_TIME inside,
// another mtime, the same name and size.
func storyRebuild(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2)
	name := ts.MkAbs(args[0])
	data, err := os.ReadFile(name)
	ts.Check(err)
	start := len(data) - 8 - int(binary.BigEndian.Uint32(data[len(data)-8:])) + len("XPAKPACK")
	index := data[start+8 : start+8+int(binary.BigEndian.Uint32(data[start:]))]
	values := data[start+8+len(index):]
	for len(index) > 0 {
		n := int(binary.BigEndian.Uint32(index))
		key, offset, length := string(index[4:4+n]), binary.BigEndian.Uint32(index[4+n:]),
			binary.BigEndian.Uint32(index[8+n:])
		if key == "BUILD_TIME" {
			old := strings.TrimSpace(string(values[offset : offset+length]))
			if len(old) != len(args[1]) {
				ts.Fatalf("BUILD_TIME %q of %s has another length than %q", old, args[0], args[1])
			}
			copy(values[offset:], args[1])
			ts.Check(os.WriteFile(name, data, 0o644))
			storyMtime(ts, false, args)
			return
		}
		index = index[12+n:]
	}
	ts.Fatalf("%s has no BUILD_TIME", args[0])
}

// mtime FILE UNIX: sets the time of a file.
func storyMtime(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2)
	seconds, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Chtimes(ts.MkAbs(args[0]), time.Unix(seconds, 0), time.Unix(seconds, 0)))
}

// tree DIR: lists the files below a directory, one a line with its size, sorted.
func storyTree(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1)
	files, err := treeOf(ts.MkAbs(args[0]))
	ts.Check(err)
	for _, f := range files {
		fmt.Fprintf(ts.Stdout(), "%s %d\n", f.path, f.size)
	}
}

type treeFile struct {
	path  string
	size  int64
	mtime int64
	inode uint64
	sum   string
}

// treeOf reads every file below a directory.
func treeOf(dir string) ([]treeFile, error) {
	var files []treeFile
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		// what an import replaced is not there any more
		if err == nil && d.IsDir() && d.Name() == durable.KeptDir {
			return fs.SkipDir
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		f := treeFile{path: filepath.ToSlash(rel), size: info.Size(),
			mtime: info.ModTime().UnixNano(), inode: info.Sys().(*syscall.Stat_t).Ino}
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			f.sum = fmt.Sprintf("%x", sha1.Sum(data))
		}
		files = append(files, f)
		return nil
	})
	slices.SortFunc(files, func(a, b treeFile) int { return strings.Compare(a.path, b.path) })
	return files, err
}

// snapshot NAME DIR...: remembers every file below the directories, or, when NAME was taken before,
// compares: not a byte and not a time may have changed.
func storySnapshot(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: [!] snapshot NAME DIR...")
	}
	var b strings.Builder
	for _, dir := range args[1:] {
		files, err := treeOf(ts.MkAbs(dir))
		ts.Check(err)
		for _, f := range files {
			fmt.Fprintf(&b, "%s/%s %d %d %s\n", dir, f.path, f.size, f.mtime, f.sum)
		}
	}
	name := filepath.Join(ts.Getenv("TMPDIR"), "snapshot-"+args[0])
	before, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		ts.Check(os.MkdirAll(filepath.Dir(name), 0o755))
		ts.Check(os.WriteFile(name, []byte(b.String()), 0o644))
		return
	}
	ts.Check(err)
	if same := string(before) == b.String(); same == neg {
		ts.Fatalf("snapshot %q: same is %t\nbefore:\n%s\nnow:\n%s", args[0], same,
			before, b.String())
	}
}

// same DIR1 DIR2: the packages and distfiles below both are the same files with the same bytes;
// indices and locks are not compared.
func storySame(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] same DIR1 DIR2")
	}
	lists := make([]string, 2)
	for i, dir := range args {
		files, err := treeOf(ts.MkAbs(dir))
		ts.Check(err)
		for _, f := range files {
			if f.path != "Packages" && f.path != "Packages.gz" && f.path != durable.PackagesLock {
				lists[i] += f.path + " " + f.sum + "\n"
			}
		}
	}
	if same := lists[0] == lists[1]; same == neg {
		ts.Fatalf("same is %t\n%s:\n%s\n%s:\n%s", same, args[0], lists[0], args[1], lists[1])
	}
}

// indexed [PKGDIR]: each entry of Packages matches its file in size, time, MD5 and SHA1, and each
// package has an entry. With a trailing -partial packages without an entry are allowed, as at a
// moment within a run.
func storyIndexed(ts *testscript.TestScript, neg bool, args []string) {
	partial := slices.Contains(args, "-partial")
	args = slices.DeleteFunc(args, func(s string) bool { return s == "-partial" })
	dir := ts.Getenv("PKGS")
	if len(args) == 1 {
		dir = ts.MkAbs(args[0])
	}
	problems, err := indexProblems(dir, partial)
	ts.Check(err)
	if (len(problems) > 0) != neg {
		ts.Fatalf("index of %s: %q", dir, problems)
	}
}

// indexProblems holds a PKGDIR's index against its files. It has a reader of its own, so that a
// fault in the one under test shows.
func indexProblems(dir string, partial bool) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "Packages"))
	if errors.Is(err, fs.ErrNotExist) && partial {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var problems []string
	seen := map[string]bool{}
	blocks := strings.Split(strings.TrimSuffix(string(text), "\n\n"), "\n\n")
	for _, block := range blocks[1:] {
		entry := map[string]string{}
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			entry[key] = value
		}
		path := entry["PATH"]
		if seen[path] {
			problems = append(problems, path+": two entries")
		}
		seen[path] = true
		if why := entryProblem(filepath.Join(dir, path), entry); why != "" {
			problems = append(problems, path+": "+why)
		}
	}
	if partial {
		return problems, nil
	}
	files, err := treeOf(dir)
	// A package that lies there twice has one entry, as with emaint.
	listed := map[string]bool{}
	for _, f := range files {
		listed[f.sum] = listed[f.sum] || seen[f.path]
	}
	for _, f := range files {
		isPackage := strings.HasSuffix(f.path, ".tbz2") || strings.HasSuffix(f.path, ".xpak") ||
			strings.HasSuffix(f.path, ".gpkg.tar")
		if isPackage && !listed[f.sum] {
			problems = append(problems, f.path+": no entry")
		}
		// A run that is killed with the lock leaves its file, which the next holder removes;
		// Portage's do the same.
		if strings.HasPrefix(f.path, ".") && f.path != durable.PackagesLock {
			problems = append(problems, f.path+": left behind")
		}
	}
	if header := "PACKAGES: " + strconv.Itoa(len(blocks)-1); !strings.Contains(blocks[0]+"\n",
		header+"\n") {
		problems = append(problems, "the header has no "+header)
	}
	return problems, err
}

func entryProblem(name string, entry map[string]string) string {
	info, err := os.Lstat(name)
	if err != nil {
		return err.Error()
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	md5sum, sha1sum := md5.Sum(data), sha1.Sum(data)
	switch {
	case entry["SIZE"] != strconv.FormatInt(info.Size(), 10):
		return "SIZE"
	case entry["MTIME"] != strconv.FormatInt(info.ModTime().Unix(), 10):
		return "MTIME"
	case entry["MD5"] != hex.EncodeToString(md5sum[:]):
		return "MD5"
	case entry["SHA1"] != hex.EncodeToString(sha1sum[:]):
		return "SHA1"
	}
	return ""
}

// wantArgs refuses a wrong use of a command.
func wantArgs(ts *testscript.TestScript, neg bool, args []string, n int) {
	if neg || len(args) != n {
		ts.Fatalf("%d arguments and no ! are expected, not %q", n, args)
	}
}

// fingerprint NAME: sets NAME to the fingerprint of this machine's signing key, NAME_GROUPED to
// what people compare, and NAME_SHORT to its first digits.
func storyFingerprint(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1)
	ts.Check(ts.Exec("pkgsneak", "key", "--json"))
	_, rest, _ := strings.Cut(ts.ReadFile("stdout"), `"fingerprint":"`)
	fpr, _, ok := strings.Cut(rest, `"`)
	if !ok {
		ts.Fatalf("no fingerprint")
	}
	ts.Setenv(args[0], fpr)
	ts.Setenv(args[0]+"_GROUPED", manifest.Fingerprint(fpr).Grouped())
	ts.Setenv(args[0]+"_SHORT", fpr[:8]) // as in the name of a directory
}

// receipt NAME: sets NAME to the code that status --receipt prints on this machine.
func storyReceipt(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1)
	ts.Check(ts.Exec("pkgsneak", "status", "--receipt"))
	code, _, ok := strings.Cut(ts.ReadFile("stdout"), " ")
	if !ok {
		ts.Fatalf("no receipt")
	}
	ts.Setenv(args[0], code)
}

// gpghome: from here on gpg has a home of its own, whose agent ends with the story. Its path is
// short: the agent's socket lies in it.
func storyGPGHome(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 0)
	dir, err := os.MkdirTemp("", "gpg")
	ts.Check(err)
	ts.Setenv("GNUPGHOME", dir)
	ts.Defer(func() {
		kill := exec.Command("gpgconf", "--homedir", dir, "--kill", "all")
		if err := kill.Run(); err != nil {
			ts.Logf("end gpg's agent: %v", err)
		}
		os.RemoveAll(dir)
	})
}

// locked PKGDIR: another program holds Portage's lock from here on, until unlocked or the end.
func storyLocked(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1)
	root, err := os.OpenRoot(ts.MkAbs(args[0]))
	ts.Check(err)
	lock, err := durable.Acquire(context.Background(), root, durable.PackagesLock,
		durable.LockOptions{})
	ts.Check(err)
	release := sync.OnceValue(func() error { return errors.Join(lock.Release(), root.Close()) })
	// its error was seen by unlocked, or the story has failed already
	ts.Defer(func() { _ = release() })
	held(ts)[args[0]] = release
}

// unlocked PKGDIR: the other program lets go.
func storyUnlocked(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1)
	ts.Check(held(ts)[args[0]]())
}

// held are the locks of a story, and how to let go of them.
func held(ts *testscript.TestScript) map[string]func() error {
	return ts.Value(heldKey{}).(map[string]func() error)
}

type heldKey struct{}

// interrupted SIGNAL TEXT COMMAND...: runs a command, sends it the signal when its standard error
// has the text, and expects the exit code 130.
func storyInterrupted(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: interrupted SIGNAL TEXT COMMAND [ARGUMENTS]")
	}
	signals := map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM}
	cmd := storyCommand(ts, args[2], args[3:])
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	var seen strings.Builder
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		seen.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), args[1]) {
			ts.Check(cmd.Process.Signal(signals[args[0]]))
		}
	}
	ts.Check(lines.Err())
	err = cmd.Wait()
	var failed *exec.ExitError
	if !errors.As(err, &failed) || failed.ExitCode() != exitInterrupted {
		ts.Fatalf("%v, want exit code %d; stderr:\n%s", err, exitInterrupted, seen.String())
	}
}

// jsonlines VERB EXIT: the standard output of the last command is JSON, one object a line, and the
// last one is the result of that verb with that exit code.
func storyJSONLines(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2)
	var last envelope
	results := 0
	if strings.Contains(ts.ReadFile("stdout"), ":null") {
		ts.Fatalf("a member is null; an empty list is []")
	}
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		last = envelope{Exit: -1}
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			ts.Fatalf("%v: %q", err, line)
		}
		if err := checkSchema([]byte(line)); err != nil {
			ts.Fatalf("%v: %q", err, line)
		}
		if last.Format == jsonFormat {
			results++
		}
	}
	if results != 1 || last.Format != jsonFormat || last.Command != args[0] ||
		strconv.Itoa(last.Exit) != args[1] {
		ts.Fatalf("%d results, the last line is %+v", results, last)
	}
}
