package binhost_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"pkgsneak/sync/binhost"
)

// dial opens a connection that takes little at a time.
func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// hugeHost has a package that fits in no socket's buffers.
func hugeHost(t testing.TB) (*host, []byte) {
	h := newHost(t)
	data := random("huge", 24<<20)
	h.put(t, "app-misc/huge-1", "app-misc/huge-1.tbz2", data)
	h.writeIndex(t)
	return h, data
}

const hugeRequest = "GET /packages/app-misc/huge-1.tbz2 HTTP/1.1\r\nHost: x\r\n\r\n"

// A client that asks and takes nothing is dropped, and one that only goes slowly is not, although
// its download lasts many times longer.
func TestStalledAndSlowClients(t *testing.T) {
	const stall = 2 * time.Second
	h, data := hugeHost(t)
	s := serve(t, h.source(), "", func(s *binhost.Server) { s.Stall = stall })

	stalled := dial(t, s.address)
	fmt.Fprint(stalled, hugeRequest)
	slow := dial(t, s.address)
	slow.SetReadBuffer(64 << 10)
	fmt.Fprint(slow, hugeRequest)

	// The slow one takes a bite twenty times in the time that a stalled one gets, until that is
	// dropped and then on for as long again.
	r := bufio.NewReaderSize(slow, 4<<10)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	bite := time.NewTicker(stall / 20)
	defer bite.Stop()
	dropped := false
	for more := 0; more < 20; {
		<-bite.C
		if _, err := io.CopyN(&got, res.Body, 128<<10); err != nil {
			t.Fatalf("the slow client was cut off after %d bytes: %v", got.Len(), err)
		}
		select {
		case <-s.problems.more:
			dropped = true
		default:
		}
		if dropped || got.Len() > 20<<20 {
			more++
		}
	}
	if !dropped {
		t.Error("the stalled client was not dropped")
	}
	if _, err := io.Copy(&got, res.Body); err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("the slow client got %d bytes of %d, %v", got.Len(), len(data), err)
	}
	if _, err := io.Copy(io.Discard, stalled); err == nil {
		t.Error("the stalled client's answer ended well")
	}
	if list := s.problems.all(); len(list) != 1 ||
		!strings.Contains(list[0], stalled.LocalAddr().String()) {
		t.Errorf("problems: %q", list)
	}
}

// A thousand downloads at a time: each gets every byte, and the server needs little memory for one.
func TestThousandDownloads(t *testing.T) {
	const clients, size = 1000, 256 << 10
	h := newHost(t)
	data := random("data", size)
	h.put(t, "app-misc/a-1", "app-misc/a-1.tbz2", data)
	h.writeIndex(t)
	s := serve(t, h.source(), "", nil)
	s.get(t, "/packages/app-misc/a-1.tbz2")
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)

	// All have asked and have the first byte before any takes the rest.
	conns := make([]*net.TCPConn, clients)
	for i := range conns {
		conns[i] = dial(t, s.address)
		conns[i].SetReadBuffer(8 << 10)
	}
	var asked, done sync.WaitGroup
	asked.Add(clients)
	rest := make(chan struct{})
	for _, c := range conns {
		done.Go(func() {
			fmt.Fprint(c,
				"GET /packages/app-misc/a-1.tbz2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			first := make([]byte, 1)
			_, err := io.ReadFull(c, first)
			asked.Done()
			<-rest
			if err != nil {
				t.Error(err)
				return
			}
			if err := compareAnswer(io.MultiReader(bytes.NewReader(first), c), data); err != nil {
				t.Error(err)
			}
		})
	}
	asked.Wait()
	runtime.GC()
	runtime.ReadMemStats(&during)
	close(rest)
	done.Wait()
	grown := int64(during.HeapInuse+during.StackInuse) - int64(before.HeapInuse+before.StackInuse)
	each := grown / clients
	t.Logf("%d KiB for each download, the client's side included", each>>10)
	if each > 64<<10 {
		t.Errorf("each download needs %d KiB", each>>10)
	}
	if list := s.problems.all(); len(list) > 0 {
		t.Errorf("problems: %q", list)
	}
}

// compareAnswer reads an answer in small pieces, so that the test's own memory does not count for
// the server's.
func compareAnswer(r io.Reader, want []byte) error {
	br := bufio.NewReaderSize(r, 1024)
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		return err
	}
	piece := make([]byte, 1024)
	for len(want) > 0 {
		n, err := res.Body.Read(piece)
		if !bytes.HasPrefix(want, piece[:n]) {
			return errors.New("other bytes")
		}
		if want = want[n:]; err != nil && len(want) > 0 {
			return fmt.Errorf("%d bytes are missing: %w", len(want), err)
		}
	}
	return nil
}

// There are never more connections than the bound: idle ones make room for new ones, others do not.
func TestConnectionBound(t *testing.T) {
	h, _ := hugeHost(t)
	s := serve(t, h.source(), "", func(s *binhost.Server) { s.MaxConns = 2 })
	idle := dial(t, s.address)
	fmt.Fprint(idle, "GET /style.css HTTP/1.1\r\nHost: x\r\n\r\n")
	r := bufio.NewReader(idle)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, res.Body)

	var busy []*net.TCPConn
	for range 2 { // the second needs the slot of the idle one
		c := dial(t, s.address)
		fmt.Fprint(c, hugeRequest)
		if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		busy = append(busy, c)
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("the idle connection is still there")
	}
	waiting := dial(t, s.address)
	fmt.Fprint(waiting, "GET /style.css HTTP/1.1\r\nHost: x\r\n\r\n")
	got := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(waiting, make([]byte, 10))
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("a third connection was answered: %v", err)
	case <-time.After(50 * time.Millisecond): // long enough to be answered if somebody did
	}
	busy[0].Close()
	if err := <-got; err != nil {
		t.Errorf("when a slot is free: %v", err)
	}
}

// After the stop nobody new is let in, and a download that is under way gets its end.
func TestGracefulStop(t *testing.T) {
	h, data := hugeHost(t)
	s := serve(t, h.source(), "", nil)
	res, err := http.Get(s.url + "/packages/app-misc/huge-1.tbz2")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	until(t, "new connections are still taken", func() bool {
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	got, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("the download ended with %d bytes of %d, %v", len(got), len(data), err)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := <-stopped; err != nil {
		t.Errorf("the stop: %v", err)
	}
}

// A download that does not end is cut off when the time of grace is over.
func TestGraceEnds(t *testing.T) {
	h, _ := hugeHost(t)
	s := serve(t, h.source(), "", func(s *binhost.Server) { s.Grace = 10 * time.Millisecond })
	c := dial(t, s.address)
	fmt.Fprint(c, hugeRequest)
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Errorf("the stop: %v", err)
	}
	if n, _ := io.Copy(io.Discard, c); n >= 24<<20 {
		t.Error("the download was not cut off")
	}
}

func TestTLS(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("SKIPPED, NOTHING WAS SERVED OVER TLS: openssl is not in PATH")
	}
	h, data := newHost(t), random("data", 2<<20)
	h.put(t, "app-misc/a-1", "app-misc/a-1.tbz2", data)
	h.writeIndex(t)
	cert, key := t.TempDir()+"/cert.pem", t.TempDir()+"/key.pem"
	if out, err := exec.Command(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt",
		"ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
		"-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-keyout", key, "-out",
		cert).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := binhost.TLS(key, cert); err == nil {
		t.Error("a key is taken for a certificate")
	}
	config, err := binhost.TLS(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, h.source(), "", func(s *binhost.Server) { s.TLS = config })
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("SKIPPED, NOTHING WAS FETCHED OVER TLS: curl is not in PATH")
	}
	out, err := exec.CommandContext(ctxEnd(t), curl, "--silent", "--show-error", "--noproxy", "*",
		"--cacert", cert, s.url+"/packages/app-misc/a-1.tbz2").Output()
	if err != nil || !bytes.Equal(out, data) {
		t.Errorf("curl: %v, %d bytes of %d", err, len(out), len(data))
	}
	page, err := exec.CommandContext(ctxEnd(t), curl, "--silent", "--noproxy", "*", "--cacert",
		cert, s.url+"/").Output()
	if err != nil || !bytes.Contains(page, []byte("sync-uri = "+s.url+"/packages")) {
		t.Errorf("curl: %v, the page does not name %s", err, s.url)
	}
}

// Sockets come as systemd hands them over: descriptors from 3 on, LISTEN_FDS of them, for the
// process LISTEN_PID.
func TestActivated(t *testing.T) {
	if os.Getenv("PKGSNEAK_TEST_ACTIVATED") != "" {
		activatedServer(t)
		return
	}
	h, _ := smallHost(t)
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("SKIPPED: there is no sh")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(shell, "-c",
		`LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" -test.run '^TestActivated$'`, os.Args[0])
	cmd.Env = append(os.Environ(), "PKGSNEAK_TEST_ACTIVATED="+h.pkgdir)
	cmd.ExtraFiles = []*os.File{socket}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	socket.Close()
	s := &running{url: "http://" + l.Addr().String(), address: l.Addr().String()}
	l.Close()
	got := s.get(t, "/packages/dev-libs/greet++-2.1_p3.tbz2")
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the server: %v\n%s", err, out.Bytes())
	}
	wantBody(t, "over a socket of systemd's", got, 200, []byte("greet"))
}

// activatedServer is the process with the socket; it ends with its input.
func activatedServer(t *testing.T) {
	listeners, err := binhost.Activated(os.LookupEnv, os.Getpid())
	if err != nil || len(listeners) != 1 {
		t.Fatalf("%d sockets, %v", len(listeners), err)
	}
	handler, err := binhost.NewHandler(binhost.Machine("x", os.Getenv("PKGSNEAK_TEST_ACTIVATED"),
		"", time.Now), binhost.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := (&binhost.Server{Handler: handler}).Serve(ctx, listeners...); err != nil {
		t.Fatal(err)
	}
}

func TestActivatedRefused(t *testing.T) {
	for _, test := range []struct {
		name string
		env  map[string]string
		fail bool
	}{
		{"nothing set", nil, false},
		{"for another process", map[string]string{"LISTEN_PID": "1", "LISTEN_FDS": "1"}, false},
		{"no number", map[string]string{"LISTEN_PID": "77", "LISTEN_FDS": "x"}, true},
		{"too many", map[string]string{"LISTEN_PID": "77", "LISTEN_FDS": "1000000"}, true},
		{"negative", map[string]string{"LISTEN_PID": "77", "LISTEN_FDS": "-1"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := binhost.Activated(func(k string) (string, bool) {
				v, ok := test.env[k]
				return v, ok
			}, 77)
			if len(got) != 0 || (err != nil) != test.fail {
				t.Errorf("%d sockets, %v", len(got), err)
			}
		})
	}
}

func TestListenTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := binhost.Listen(context.Background(), l.Addr().String()); err == nil ||
		!strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a port that is taken: %v", err)
	}
}
