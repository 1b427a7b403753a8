package roundtrip

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"pkgsneak/sync/importer"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/requester"
	"pkgsneak/sync/sandbox"
)

// A stage is what a confined child is given, in confineVariable.
type stage struct {
	Drive, Client, Outside, Listener string
	Serve, Request                   bool
}

const confineVariable = "PKGSNEAK_TEST_CONFINED"

// The child of the tests below: it imports or asks, confined, and then does what an attacker would
// who had taken it over.
func TestConfinedChild(t *testing.T) {
	text := os.Getenv(confineVariable)
	if text == "" {
		t.Skip("only as a child of the tests of confinement")
	}
	var s stage
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	settings, err := portage.Load(t.Context(), portage.Options{Root: s.Outside})
	if err != nil {
		t.Fatal(err)
	}
	m := elsewhereIn(machine.Machine{Settings: settings, Hostname: "client", Now: func() time.Time {
		return epoch
	}, Version: "test"}, s.Client)
	var c sandbox.Confined
	switch {
	case s.Serve:
		c = sandbox.ConfineReading(s.Drive, m.PKGDIR)
	case s.Request:
		c = requester.Confine(m, requester.Options{Drive: s.Drive})
	default:
		c = importer.Confine(m, importer.ImportOptions{Drive: s.Drive})
	}
	t.Log(c)
	if !c.Files || !c.Network || !c.NoNewPrivs {
		t.Fatalf("not confined: %+v", c)
	}
	switch {
	case s.Request:
		for range 2 { // the second one is written in place
			if r, err := requester.Request(t.Context(), m, requester.Options{Drive: s.Drive},
				nil); err != nil || len(r.Problems) > 0 {
				t.Errorf("the request does not work confined: %v, %+v", err, r)
			}
		}
	case !s.Serve:
		r, err := importer.Import(t.Context(), m, importer.ImportOptions{Drive: s.Drive}, nil)
		if err != nil || len(r.Origins[0].LeftOut) > 0 || r.Packages == 0 {
			t.Errorf("the import does not work confined: %v, %+v", err, r)
		}
		if again, err := importer.Import(t.Context(), m, importer.ImportOptions{Drive: s.Drive},
			nil); err != nil || !again.Unchanged {
			t.Errorf("the second import does not work confined: %v, %+v", err, again)
		}
	default:
		if _, err := os.ReadDir(s.Drive); err != nil {
			t.Errorf("reading what is served: %v", err)
		}
	}
	for name, step := range stepsOut(s, m) {
		if err := step(); err == nil {
			t.Errorf("%s: it worked", name)
		} else if !errors.Is(err, fsPermission) {
			t.Errorf("%s: %v, and not because it is forbidden", name, err)
		}
	}
}

// fsPermission is EACCES or EPERM.
var fsPermission = os.ErrPermission

// stepsOut are the ways out.
func stepsOut(s stage, m machine.Machine) map[string]func() error {
	inside := filepath.Join(m.PKGDIR, "inside")
	precious := filepath.Join(s.Outside, "precious")
	write := func(name string) func() error {
		return func() error { return os.WriteFile(name, []byte("evil"), 0o644) }
	}
	read := func(name string) func() error {
		return func() error { _, err := os.ReadFile(name); return err }
	}
	steps := map[string]func() error{
		"read a file of the system": read("/etc/passwd"),
		"read a file beside":        read(precious),
		"read its own memory":       read("/proc/self/maps"),
		"list a directory": func() error {
			_, err := os.ReadDir(s.Outside)
			return err
		},
		"write beside":     write(filepath.Join(s.Outside, "new")),
		"overwrite beside": write(precious),
		"truncate beside":  func() error { return os.Truncate(precious, 0) },
		"remove beside":    func() error { return os.Remove(precious) },
		"make a directory beside": func() error {
			return os.Mkdir(filepath.Join(s.Outside, "dir"), 0o755)
		},
		"write to the drive": write(filepath.Join(s.Drive, "new")),
		"change the drive":   write(filepath.Join(s.Drive, "pkgsneak/host/Manifest")),
		"move out": func() error {
			return crossing(os.Rename(inside, filepath.Join(s.Outside, "moved")))
		},
		"link in": func() error {
			return crossing(os.Link(precious, filepath.Join(m.PKGDIR, "linked")))
		},
		"make a link": func() error {
			return os.Symlink("/etc", filepath.Join(m.PKGDIR, "link"))
		},
		"make a FIFO": func() error {
			return mkfifo(filepath.Join(m.PKGDIR, "fifo"))
		},
		"make a device": func() error {
			return unix.Mknod(filepath.Join(m.PKGDIR, "null"), unix.S_IFCHR|0o600, 1<<8|3)
		},
		"run a program": func() error { return start("/bin/true") },
		"run a program from the drive": func() error {
			return start(filepath.Join(s.Drive, "program"), "-test.run=^$")
		},
		"mount": func() error {
			return unix.Mount("none", s.Drive, "tmpfs", 0, "")
		},
		// for writing, but nothing is written: where the defence is broken, the machine that tests
		// shall not change
		"open a setting of the kernel": func() error {
			f, err := os.OpenFile("/proc/sys/kernel/hostname", os.O_WRONLY, 0)
			if err == nil {
				f.Close()
			}
			return err
		},
		"open a terminal or a disk": func() error {
			_, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
			return err
		},
		"go through a link that is ours": func() error {
			_, err := os.ReadFile(filepath.Join(m.PKGDIR, "was-here"))
			return err
		},
	}
	for name, family := range map[string][3]int{
		"TCP": {unix.AF_INET, unix.SOCK_STREAM, 0}, "multipath TCP": {
			unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP},
		"UDP":  {unix.AF_INET6, unix.SOCK_DGRAM, 0},
		"Unix": {unix.AF_UNIX, unix.SOCK_STREAM, 0}, "netlink": {
			unix.AF_NETLINK, unix.SOCK_RAW, 0}, "packet": {unix.AF_PACKET, unix.SOCK_RAW, 0},
	} {
		steps["make a socket: "+name] = func() error { return socket(family) }
	}
	steps["connect"] = func() error { _, err := net.Dial("tcp", s.Listener); return err }
	steps["set up io_uring"] = func() error { return setUpRing() }
	if s.Serve || s.Request {
		steps["write a package"] = write(inside)
		steps["remove a package"] = func() error {
			return os.Remove(filepath.Join(m.PKGDIR, "inside"))
		}
	}
	return steps
}

// start runs a program with the files that are open: to open others is forbidden anyway.
func start(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

// crossing: landlock's answer to a move or link out of what was granted is that it leads to another
// file system.
func crossing(err error) error {
	if errors.Is(err, syscall.EXDEV) {
		return fsPermission
	}
	return err
}

func socket(family [3]int) error {
	fd, err := unix.Socket(family[0], family[1], family[2])
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// setUpRing asks for io_uring, which can make sockets without a system call of their own.
func setUpRing() error {
	var parameters [120]byte // struct io_uring_params
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1,
		uintptr(unsafe.Pointer(&parameters)), 0)
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}

func TestConfinement(t *testing.T) {
	if abi, err := ll.LandlockGetABIVersion(); err != nil || abi < sandbox.LandlockRefer {
		t.Skipf("THIS KERNEL HAS NO LANDLOCK THAT CAN CONFINE AN IMPORT (version %d, %v): not shown", abi, err)
	}
	for _, name := range []string{"import", "serve", "request"} {
		t.Run(name, func(t *testing.T) {
			a := newTemplate(t).arena(t)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			write(t, filepath.Join(a.client.PKGDIR, "inside"), "inside\n")
			a.must(os.Symlink(filepath.Join(a.beside, "precious"),
				filepath.Join(a.client.PKGDIR, "was-here")))
			// this one: where it is static, nothing else is needed to run it
			program, err := os.ReadFile(os.Args[0])
			if err == nil {
				err = os.WriteFile(filepath.Join(a.drive, "program"), program, 0o755)
			}
			a.must(err)
			before := files(t, a.beside)
			if name == "request" { // the first one on a drive makes that
				a.must(os.Mkdir(filepath.Join(a.drive, layout.TreeDir, layout.ClientsDir), 0o755))
			}
			text, err := json.Marshal(stage{Drive: a.drive, Client: filepath.Dir(a.client.PKGDIR),
				Outside: a.beside, Listener: l.Addr().String(), Serve: name == "serve",
				Request: name == "request"})
			a.must(err)
			child := exec.Command(os.Args[0], "-test.run=^TestConfinedChild$", "-test.v",
				"-test.count=1", "-test.testlogfile=", "-test.gocoverdir=")
			child.Env = append(os.Environ(), confineVariable+"="+string(text))
			out, err := child.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS: TestConfinedChild") {
				t.Errorf("%v\n%s", err, out)
			}
			if now := files(t, a.beside); len(now) != len(before) ||
				now["precious"] != before["precious"] {
				t.Errorf("outside is not what it was: %v", now)
			}
		})
	}
}
