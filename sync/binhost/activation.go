package binhost

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
)

// firstFD is where systemd puts the first socket (sd_listen_fds(3)).
const firstFD = 3

// maxActivated is more sockets than any unit has.
const maxActivated = 64

// Activated returns the listeners that systemd has opened for this process: LISTEN_PID is its
// process id, LISTEN_FDS how many there are, from descriptor 3 on. Without them there are none, and
// no error.
func Activated(lookup func(string) (string, bool), pid int) ([]net.Listener, error) {
	if v, _ := lookup("LISTEN_PID"); v != strconv.Itoa(pid) {
		return nil, nil
	}
	v, _ := lookup("LISTEN_FDS")
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > maxActivated {
		return nil, fmt.Errorf("LISTEN_FDS is %q, not the number of sockets", v)
	}
	var listeners []net.Listener
	for fd := firstFD; fd < firstFD+n; fd++ {
		syscall.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "LISTEN_FD_"+strconv.Itoa(fd))
		l, err := net.FileListener(f) // a descriptor of its own
		f.Close()
		if err == nil {
			if _, ok := l.(*net.TCPListener); !ok {
				l.Close()
				err = fmt.Errorf("it is a %s socket, not TCP", l.Addr().Network())
			}
		}
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return nil, fmt.Errorf("taking the socket %d from systemd: %w", fd, err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}
