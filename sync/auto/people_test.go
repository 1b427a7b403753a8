package auto

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSyslog(t *testing.T) {
	for _, network := range []string{"unixgram", "unix"} {
		t.Run(network, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "log") // short: a socket's path has 107 bytes
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			socket := filepath.Join(dir, "log")
			got := make(chan string, 1)
			if network == "unixgram" {
				l, err := net.ListenUnixgram(network, &net.UnixAddr{Name: socket, Net: network})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				go func() { got <- receive(l) }()
			} else {
				l, err := net.Listen(network, socket)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				go func() {
					c, err := l.Accept()
					if err != nil {
						got <- err.Error()
						return
					}
					got <- strings.TrimSuffix(receive(c), "\x00")
				}()
			}
			s := Syslog{Socket: socket, PID: 42, Now: func() time.Time {
				return time.Date(2026, 3, 1, 12, 0, 5, 0, time.UTC)
			}}
			if err := s.Send(Warning, "sda1: \"a\"\x1b[2J\nb"); err != nil {
				t.Fatal(err)
			}
			if want := `<28>Mar  1 12:00:05 pkgsneak[42]: sda1: "a"\x1b[2J\nb`; <-got != want {
				t.Errorf("want %q", want)
			}
		})
	}
	if err := (Syslog{Socket: "/nonexistent/log", Now: time.Now}).Send(Info, "x"); !errors.Is(err,
		fs.ErrNotExist) {
		t.Errorf("without a daemon: %v", err)
	}
}

func receive(c net.Conn) string {
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		return err.Error()
	}
	return string(buf[:n])
}

func TestPlain(t *testing.T) {
	tests := []struct{ in, want string }{
		{`exported 3 files as "host"`, `exported 3 files as "host"`},
		{"\x1b]0;title\a", `\x1b]0;title\a`},
		{"Bücher", `B\u00fccher`},
		{"two\nlines", `two\nlines`},
		{"c1 \u009b2J", `c1 \u009b2J`},
		{"raw \x9b", `raw \x9b`},
		{`back\slash`, `back\slash`},
		{"\u202eright to left", `\u202eright to left`},
	}
	for _, tt := range tests {
		if got := plainText(tt.in); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

// record is one of utmp's.
func record(size int, kind uint16, line string) []byte {
	b := make([]byte, size)
	binary.NativeEndian.PutUint16(b, kind)
	copy(b[utmpLine:utmpLine+utmpName], line)
	return b
}

func TestLoginLines(t *testing.T) {
	tests := []struct {
		name string
		size int
		recs []string // KIND LINE
		want string
	}{
		{"users", 384, []string{"2 ~", "7 tty1", "7 pts/0", "8 pts/1"}, "tty1 pts/0"},
		{"users where time has 64 bits", 400, []string{"2 ~", "7 tty1", "7 pts/0"}, "tty1 pts/0"},
		{"one user twice", 384, []string{"7 tty1", "7 tty1"}, "tty1"},
		{"a way out of /dev", 384, []string{"7 ../etc/passwd", "7 /etc/passwd", "7 "}, ""},
		{"nobody", 384, nil, ""},
		{"not utmp", 384, []string{"4097 tty1"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var data []byte
			for _, r := range tt.recs {
				var kind uint16
				number, line, _ := strings.Cut(r, " ")
				if _, err := fmt.Sscan(number, &kind); err != nil {
					t.Fatal(err)
				}
				data = append(data, record(tt.size, kind, line)...)
			}
			if got := strings.Join(loginLines(data), " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if got := loginLines(make([]byte, 100)); got != nil {
		t.Errorf("a torn file: %q", got)
	}
}

func FuzzLoginLines(f *testing.F) {
	f.Add(append(record(384, 2, "~"), record(384, 7, "tty1")...))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, line := range loginLines(data) {
			if !filepath.IsLocal(line) || len(line) > utmpName {
				t.Errorf("line %q", line)
			}
		}
	})
}

// terminal opens a pair, as an xterm does: what is written to the slave can be read here.
func terminal(t *testing.T) (master *os.File, line string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	return master, fmt.Sprintf("pts/%d", n)
}

func TestTerminals(t *testing.T) {
	master, line := terminal(t)
	_, closed := terminal(t)
	if err := os.Chmod("/dev/"+line, 0o620); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	if err := os.Chmod("/dev/"+closed, 0o600); err != nil { // mesg n
		t.Fatal(err)
	}
	utmp := filepath.Join(t.TempDir(), "utmp")
	var data []byte
	for _, l := range []string{line, closed, "null", "pts/99999", "../etc/passwd"} {
		data = append(data, record(384, userHere, l)...)
	}
	if err := os.WriteFile(utmp, data, 0o600); err != nil {
		t.Fatal(err)
	}
	told, err := Terminals{Dev: "/dev", Utmp: utmp}.say([]string{"exported\x1b[2J", "next: emerge"})
	if err != nil || told != 1 {
		t.Fatalf("told %d terminals, %v, want the one that takes messages", told, err)
	}
	buf := make([]byte, 1024)
	n, err := master.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	// the terminal adds a return of its own
	got := bytes.ReplaceAll(buf[:n], []byte("\r\r\n"), []byte("\r\n"))
	if want := "\r\npkgsneak: exported\\x1b[2J\r\npkgsneak: next: emerge\r\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

const tcooff = 0 // TCOOFF of tcflow(3): output is suspended

// A terminal that was stopped with ^S does not hold anything up.
func TestTerminalsStopped(t *testing.T) {
	_, line := terminal(t)
	if err := os.Chmod("/dev/"+line, 0o620); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	slave, err := unix.Open("/dev/"+line, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(slave)
	// This is what ^S does. (Filling the terminal is not the same: the kernel moves what was
	// written on to the master's buffer some time later, and there is space again.)
	if err := unix.IoctlSetInt(slave, unix.TCXONC, tcooff); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(slave, []byte("x")); !errors.Is(err, unix.EAGAIN) {
		t.Fatalf("the terminal is not stopped: %v", err)
	}
	utmp := filepath.Join(t.TempDir(), "utmp")
	if err := os.WriteFile(utmp, record(384, userHere, line), 0o600); err != nil {
		t.Fatal(err)
	}
	if told, err := (Terminals{Dev: "/dev", Utmp: utmp}).say([]string{"x"}); err != nil ||
		told != 0 {
		t.Errorf("told %d, %v", told, err)
	}
}

func TestSayAllByWall(t *testing.T) {
	var got Command
	sys := System{Run: func(_ context.Context, c Command) ([]byte, int, error) {
		got = c
		return nil, 0, nil
	}}
	if err := SayAll(t.Context(), sys, Terminals{Dev: "/dev", Utmp: "/nonexistent"},
		[]string{"done\x1b"}); err != nil {
		t.Fatal(err)
	}
	if got.Name != "wall" || string(got.Stdin) != "pkgsneak: done\\x1b\n" {
		t.Errorf("got %+v, stdin %q", got, got.Stdin)
	}
}
