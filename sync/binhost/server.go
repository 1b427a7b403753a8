package binhost

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Server answers on listeners until it is told to stop. The zero value of each limit works.
type Server struct {
	Handler  http.Handler
	TLS      *tls.Config // nil: plain HTTP
	MaxConns int         // connections at a time; 0: 1024
	// how long a client may take nothing while bytes wait for it; 0: a minute
	Stall   time.Duration
	Idle    time.Duration // how long a connection may stay without a request; 0: two minutes
	Grace   time.Duration // how long answers may go on after the stop; 0: a minute
	Problem func(error)   // is passed dropped clients and failed handshakes; may be nil
}

const (
	headerTimeout = 10 * time.Second // for a request's header, and for a TLS handshake
	maxHeader     = 16 << 10         // bytes
)

// Serve answers until ctx ends, then lets the answers that are under way end, for Grace at most.
// The listeners are closed. After a stop that was asked for the error is nil.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	w := &watch{semaphore: make(chan struct{}, orInt(s.MaxConns, 1024)),
		conns: map[*conn]struct{}{}, stop: make(chan struct{}), problem: s.problem}
	srv := &http.Server{
		Handler:           s.Handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       orDuration(s.Idle, 2*time.Minute),
		MaxHeaderBytes:    maxHeader,

		DisableGeneralOptionsHandler: true,
		ConnState:                    w.state,
		ConnContext:                  rememberConn,
		// no HTTP/2
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ErrorLog:     slog.NewLogLogger(problemLog{s.problem}, slog.LevelInfo),
	}
	w.patrolled.Add(1)
	go w.patrol(orDuration(s.Stall, time.Minute) / patrols)
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		var bounded net.Listener = &boundedListener{Listener: l, watch: w}
		if s.TLS != nil {
			bounded = tls.NewListener(bounded, s.TLS)
		}
		go func() { ended <- srv.Serve(bounded) }()
	}
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	close(w.stop) // a listener that waits for a free slot ends too
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx),
		orDuration(s.Grace, time.Minute))
	defer cancel()
	if srv.Shutdown(grace) != nil {
		srv.Close() // whoever is not done by now is cut off
	}
	w.patrolled.Wait()
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

func orInt(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

func orDuration(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func (s *Server) problem(err error) {
	if s.Problem != nil {
		s.Problem(err)
	}
}

// watch keeps a list of the connections: how many there are, which are idle, and which client has
// stopped taking bytes.
type watch struct {
	semaphore chan struct{} // one in it for each connection
	stop      chan struct{}
	problem   func(error)
	patrolled sync.WaitGroup

	mu      sync.Mutex
	conns   map[*conn]struct{}
	waiting int // listeners that wait for a slot
}

// boundedListener accepts while there are slots.
type boundedListener struct {
	net.Listener
	watch *watch
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	if !l.watch.acquire() {
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		l.watch.release()
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		l.watch.release()
		c.Close()
		return nil, fmt.Errorf("accepting on %s: not a TCP connection", l.Addr())
	}
	return l.watch.add(tcp), nil
}

func (w *watch) acquire() bool {
	select {
	case w.semaphore <- struct{}{}:
		return true
	default:
	}
	w.wait(1)
	defer w.wait(-1)
	select {
	case w.semaphore <- struct{}{}:
		return true
	case <-w.stop:
		return false
	}
}

func (w *watch) release() { <-w.semaphore }

// wait notes that a listener waits for a slot, and closes an idle connection for it.
func (w *watch) wait(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting += n
	if n < 0 {
		return
	}
	for c := range w.conns {
		if c.idle.Load() {
			c.TCPConn.Close() // the server notices and closes it as its own
			return
		}
	}
}

// state is the server's hook: it is called when a connection becomes idle.
func (w *watch) state(nc net.Conn, state http.ConnState) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	c.idle.Store(state == http.StateIdle)
	if state != http.StateIdle {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting > 0 {
		c.TCPConn.Close()
	}
}

// conn is a connection that holds a slot. It is a *net.TCPConn to net/http, sendfile included.
type conn struct {
	*net.TCPConn
	watch *watch
	once  sync.Once
	idle  atomic.Bool

	// state of the patrol
	seen  progress
	quiet int // patrols without progress

	// state of the answer under way
	collected *buffer // not nil: writes are collected here
	waiting   int     // bytes of it
}

type connKey struct{}

// rememberConn lets a handler find its connection.
func rememberConn(ctx context.Context, nc net.Conn) context.Context {
	if c, ok := nc.(*conn); ok {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// hold lets the header and the body of a small answer go out in one write, when release is called.
// net/http alone makes two or three of them, and a write is the most expensive thing about a small
// file.
func hold(w http.ResponseWriter, r *http.Request) (release func()) {
	c, ok := r.Context().Value(connKey{}).(*conn)
	if !ok {
		return func() {}
	}
	c.collected = buffers.Get().(*buffer)
	return func() {
		// Out of the buffers of net/http. A client that went away needs no answer.
		http.NewResponseController(w).Flush()
		c.release()
		buffers.Put(c.collected)
		c.collected = nil
	}
}

// release writes what was collected.
func (c *conn) release() error {
	n := c.waiting
	c.waiting = 0
	if n == 0 {
		return nil
	}
	_, err := c.TCPConn.Write(c.collected[:n])
	return err
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if c.collected == nil {
		return c.TCPConn.Write(p)
	}
	if c.waiting+len(p) > len(c.collected) {
		if err := c.release(); err != nil {
			return 0, err
		}
		if len(p) > len(c.collected) {
			return c.TCPConn.Write(p)
		}
	}
	c.waiting += copy(c.collected[c.waiting:], p)
	return len(p), nil
}

// sendfileAtOnce is how many bytes the kernel is asked to send in one call. Without a bound a call
// lasts as long as the client keeps up: it occupies the connection against its own
// acknowledgements, and the scheduler takes the processor away from it.
const sendfileAtOnce = 512 << 10

// ReadFrom implements io.ReaderFrom.
func (c *conn) ReadFrom(src io.Reader) (total int64, err error) {
	if err := c.release(); err != nil {
		return 0, err
	}
	all, ok := src.(*io.LimitedReader)
	if !ok {
		return c.TCPConn.ReadFrom(src)
	}
	for all.N > 0 {
		part := io.LimitedReader{R: all.R, N: min(all.N, sendfileAtOnce)}
		n, err := c.TCPConn.ReadFrom(&part)
		total += n
		all.N -= n
		if err != nil || part.N > 0 {
			return total, err
		}
	}
	return total, nil
}

func (w *watch) add(tcp *net.TCPConn) *conn {
	c := &conn{TCPConn: tcp, watch: w}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[c] = struct{}{}
	return c
}

// Close implements net.Conn.
func (c *conn) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(func() {
		c.watch.mu.Lock()
		delete(c.watch.conns, c)
		c.watch.mu.Unlock()
		c.watch.release()
	})
	return err
}

// progress is how far a client is.
type progress struct {
	acked uint64 // bytes that it has acknowledged
	queue int    // bytes in the kernel that it has not
}

// progress asks the kernel. A write that lasts proves nothing: one call may hand over gigabytes,
// and the kernel's buffer alone is minutes on a slow line.
func (c *conn) progress() (progress, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return progress{}, err
	}
	var p progress
	var perr error
	err = raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, perr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP,
			unix.TCP_INFO); perr != nil {
			return
		}
		p.acked = info.Bytes_acked
		p.queue, perr = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	})
	return p, errors.Join(err, perr)
}

// patrols is how often a client is looked at in the time that it may stall.
const patrols = 4

// patrol drops clients that take nothing.
func (w *watch) patrol(every time.Duration) {
	defer w.patrolled.Done()
	ticks := time.NewTicker(max(every, time.Millisecond))
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			w.round()
		case <-w.stop:
			return
		}
	}
}

// round looks at each connection once.
func (w *watch) round() {
	w.mu.Lock()
	all := make([]*conn, 0, len(w.conns))
	for c := range w.conns {
		all = append(all, c)
	}
	w.mu.Unlock()
	for _, c := range all {
		if c.stalled() {
			w.problem(fmt.Errorf("dropped %s: it stopped taking bytes", c.RemoteAddr()))
			c.SetLinger(0) // what it did not take is thrown away
			c.TCPConn.Close()
		}
	}
}

// stalled counts the rounds in which bytes waited and none was taken.
func (c *conn) stalled() bool {
	p, err := c.progress()
	if err != nil {
		return false // it is being closed
	}
	if p.queue == 0 || p != c.seen {
		c.quiet = 0
	} else {
		c.quiet++
	}
	c.seen = p
	return c.quiet == patrols
}

// Listen opens a TCP listener.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		var sys syscall.Errno
		if errors.As(err, &sys) {
			err = sys
		}
		return nil, fmt.Errorf("listening on %q: %w", address, err)
	}
	return l, nil
}

// problemLog is where net/http writes to: one problem a line.
type problemLog struct{ problem func(error) }

// Enabled implements slog.Handler.
func (problemLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (l problemLog) Handle(_ context.Context, r slog.Record) error {
	l.problem(errors.New(r.Message))
	return nil
}

// WithAttrs implements slog.Handler.
func (l problemLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l problemLog) WithGroup(string) slog.Handler { return l }
