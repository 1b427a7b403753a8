package auto

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
)

// Syslog sends lines to the log daemon of a machine, in the format of syslog(3): <PRIORITY>Mmm dd
// hh:mm:ss pkgsneak[PID]: TEXT.
type Syslog struct {
	Socket string // /dev/log
	Now    func() time.Time
	PID    int
}

// facilityDaemon is LOG_DAEMON, shifted as it is in a priority.
const facilityDaemon = 3 << 3

// Send sends one line. Some daemons listen for datagrams, some for streams.
func (s Syslog) Send(level Level, text string) error {
	line := fmt.Sprintf("<%d>%s pkgsneak[%d]: %s", facilityDaemon|int(level),
		s.Now().Format(time.Stamp), s.PID, plainText(text))
	var failed error
	for _, network := range []string{"unixgram", "unix"} {
		conn, err := net.DialTimeout(network, s.Socket, time.Second)
		if err != nil {
			failed = err
			continue
		}
		defer conn.Close()
		if network == "unix" {
			line += "\x00"
		}
		// a daemon that does not read shall not hold a run up
		late := time.AfterFunc(time.Second, func() { conn.Close() })
		defer late.Stop()
		_, err = io.WriteString(conn, line)
		return err
	}
	return failed
}

// plainText makes text fit for any terminal: printable ASCII, everything else as Go would quote it.
// In a terminal that is not set to UTF-8 even the bytes of a harmless letter can be a control
// character.
func plainText(s string) string {
	q := strconv.QuoteToASCII(s)
	q = q[1 : len(q)-1]
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(q)
}

// Terminals are those of the users who are logged in.
type Terminals struct {
	Dev  string // /dev
	Utmp string // /run/utmp or /var/run/utmp
}

// maxUtmp is more than ten thousand logins.
const maxUtmp = 4 << 20

// say writes the lines to each terminal that takes messages (mesg y), and tells how many that were.
// A machine without utmp gives fs.ErrNotExist.
func (t Terminals) say(lines []string) (int, error) {
	f, err := os.Open(t.Utmp)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxUtmp))
	if err != nil {
		return 0, fmt.Errorf("read %q: %w", t.Utmp, err)
	}
	dev, err := os.OpenRoot(t.Dev)
	if err != nil {
		return 0, err
	}
	defer dev.Close()
	var b strings.Builder
	b.WriteString("\r\n")
	for _, l := range lines {
		b.WriteString("pkgsneak: " + plainText(l) + "\r\n")
	}
	told := 0
	var failed error
	for _, line := range loginLines(data) {
		switch err := sayTo(dev, line, b.String()); {
		case err == nil:
			told++
		case !errors.Is(err, errSilent):
			failed = errors.Join(failed, err)
		}
	}
	return told, failed
}

// errSilent is the reason of a terminal that wants no messages, or takes none now.
var errSilent = errors.New("takes no messages")

// sayTo writes to one terminal, without waiting for one that was stopped. Names out of utmp are not
// believed: only a terminal below /dev is written to.
func sayTo(dev *os.Root, line, text string) error {
	f, err := durable.OpenFile(dev, line,
		os.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EIO) {
		return errSilent // nobody is there any more
	}
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var wrote error
	err = raw.Control(func(fd uintptr) {
		if _, wrote = unix.IoctlGetTermios(int(fd), unix.TCGETS); wrote != nil ||
			fi.Mode().Perm()&0o020 == 0 {
			wrote = errSilent
			return
		}
		_, wrote = unix.Write(int(fd), []byte(text))
	})
	if errors.Is(wrote, unix.EAGAIN) || errors.Is(wrote, unix.EIO) {
		wrote = errSilent
	}
	return errors.Join(err, wrote)
}

// A record of utmp (utmp(5)) holds its type, and the terminal's name below /dev. The size of a
// record depends on the architecture's time_t.
const (
	utmpLine = 8
	utmpName = 32 // bytes
	userHere = 7  // USER_PROCESS
	utmpMost = 9  // the highest type
)

var utmpSizes = []int{384, 400}

// loginLines are the terminals of users in utmp, each once.
func loginLines(data []byte) []string {
	for _, size := range utmpSizes {
		if lines, ok := utmpLines(data, size); ok {
			return lines
		}
	}
	return nil
}

func utmpLines(data []byte, size int) (lines []string, ok bool) {
	if len(data)%size != 0 {
		return nil, false
	}
	for record := range slices.Chunk(data, size) {
		kind := binary.NativeEndian.Uint16(record)
		if kind > utmpMost {
			return nil, false
		}
		name, _, _ := bytes.Cut(record[utmpLine:utmpLine+utmpName], []byte{0})
		if line := string(name); kind == userHere && filepath.IsLocal(line) &&
			!slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines, true
}

// SayAll tells the users by their terminals, and where a machine keeps no utmp by wall, which asks
// the session manager.
func SayAll(ctx context.Context, sys System, t Terminals, lines []string) error {
	_, err := t.say(lines)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString("pkgsneak: " + plainText(l) + "\n")
	}
	out, code, err := sys.Run(ctx, Command{Name: "wall", Args: []string{"-n"},
		Stdin: []byte(b.String())})
	if err == nil && code != 0 {
		err = fmt.Errorf("wall ended with %d: %s", code, lastLine(out))
	}
	return err
}
