package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"pkgsneak/sync/auto"
	"pkgsneak/sync/binhost"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/sandbox"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

func serveVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "serve",
			Category:  "over a network",
			Usage:     "serve packages and distfiles over HTTP",
			ArgsUsage: "[DRIVE]",
			UsageText: "serve [DRIVE]\nserve --install [--root DIR [--packaged]]\nserve --uninstall [--root DIR]",
			Description: "Serves this machine's PKGDIR and DISTDIR, or what the origins on a drive\n" +
				"have signed, read-only: packages at /packages (PORTAGE_BINHOST), distfiles at\n" +
				"/distfiles (GENTOO_MIRRORS), and pages for people, which also say what to write\n" +
				"into a client's configuration; with --clients also the page of pkgsneak clients,\n" +
				"which tells whoever reaches this server what those machines lack. Of a drive,\n" +
				"only files of the signed list are served, and only of origins whose key is\n" +
				"trusted. The access log goes to stdout; --quiet leaves it out. SIGINT or SIGTERM\n" +
				"end it. Sockets of systemd (LISTEN_FDS) are used instead of --listen. It needs no\n" +
				"privileges, and gives up those that it has (-vv tells what the kernel could do\n" +
				"about it). --install installs units that start it.",
			Flags:  flags(common, noProgress, serving, installing, dirs),
			Action: f.action(0, 1, serve),
		},
		examples: []example{
			{"pkgsneak serve --listen :8080", "Serves this machine's PKGDIR and DISTDIR."},
			{"pkgsneak serve --prefix /funtoo /mnt/usb",
				"Serves what the trusted origins of a drive have signed, below a path."},
		},
		results: map[string][]any{"": {struct{}{}, auto.Changes{}}},
	}
}

func serve(c *invocation) error {
	asked, away, err := installer{c}.installs()
	switch {
	case err != nil:
		return err
	case asked:
		return installer{c}.install(auto.InstallOptions{Serve: true}, away,
			serveRun{c}.afterServeInstall)
	}
	viewer, err := serveRun{c}.viewer()
	if err != nil {
		return err
	}
	source, trees, linked, err := serveRun{c}.served()
	if err != nil {
		return err
	}
	log := newLogQueue()
	problem := func(err error) { log.add(func() { c.out.warn("%v", err) }) }
	o := binhost.Options{Prefix: c.opt.serve.prefix, Now: c.env.now, Problem: problem}
	if c.out.json || !c.out.quiet {
		o.Access = func(a binhost.Access) { log.add(func() { serveRun{c}.access(a) }) }
	}
	if viewer != nil {
		defer viewer.Close()
		o.Clients = clientPages(viewer)
		linked = append(linked, viewer.Directories()...)
	}
	handler, err := binhost.NewHandler(source, o)
	if err != nil {
		return &usageError{err}
	}
	server := &binhost.Server{Handler: handler,
		MaxConns: maxConnections(c.opt.serve.maxConnections), Stall: c.opt.serve.stall,
		Grace: c.opt.serve.grace, Problem: problem}
	cert, key := c.opt.serve.tlsCert, c.opt.serve.tlsKey
	switch {
	case (cert == "") != (key == ""):
		return withHint(usageErrorf("--tls-cert and --tls-key belong together"),
			"pkgsneak serve --tls-cert FILE --tls-key FILE")
	case cert != "":
		if server.TLS, err = binhost.TLS(cert, key); err != nil {
			return err
		}
	}
	listeners, err := serveRun{c}.listeners()
	if err != nil {
		return err
	}
	for _, l := range listeners {
		serveRun{c}.listening(strings.Join(trees, " and "), l.Addr(), server.TLS != nil)
	}
	if os.Geteuid() == 0 {
		c.out.notice("%s serve does not need root", bold("note:"))
	}
	serveRun{c}.confine(trees, linked)
	flush, restore := c.out.buffered()
	go log.print(flush)
	err = server.Serve(c.ctx, listeners...)
	log.end()
	restore()
	if err == nil {
		c.result(exitDone, nil)
	}
	return err
}

// serveRun is serve at work.
type serveRun struct{ *invocation }

// afterServeInstall prints what to do next.
func (c serveRun) afterServeInstall() {
	c.out.say("Next: systemctl enable --now pkgsneak-serve, or where OpenRC runs: rc-update add pkgsneak-serve default && rc-service pkgsneak-serve start")
	c.out.say("  port, prefix and certificate are PKGSNEAK_LISTEN and the like in %s; what is served and by whom, under OpenRC, is in /etc/conf.d/pkgsneak-serve", confFile)
}

// logQueue lets many goroutines print, one after the other. Lines that come after the end are
// dropped.
type logQueue struct {
	lines       chan func()
	over, ended chan struct{}
}

// logDelay is how long lines wait for others to be written with: a write and a wakened goroutine
// for each of ten thousand small files a second cost more than the files.
const logDelay = 20 * time.Millisecond

func newLogQueue() *logQueue {
	return &logQueue{lines: make(chan func(), 8192), over: make(chan struct{}),
		ended: make(chan struct{})}
}

func (q *logQueue) add(print func()) {
	select {
	case q.lines <- print:
	case <-q.over:
	}
}

// print prints until the end; flush is called after a number of lines.
func (q *logQueue) print(flush func()) {
	defer close(q.ended)
	for {
		select {
		case print := <-q.lines:
			print()
			q.drain()
			flush()
		case <-q.over:
			q.drain()
			flush()
			return
		}
		select {
		case <-time.After(logDelay):
		case <-q.over:
		}
	}
}

func (q *logQueue) drain() {
	for {
		select {
		case print := <-q.lines:
			print()
		default:
			return
		}
	}
}

// end prints what is there and waits for it.
func (q *logQueue) end() {
	close(q.over)
	<-q.ended
}

// served is what is to be served, and the directories that have to be read for it: its own, and
// those into which links of DISTDIR may lead. A drive on which nothing could be served is an error
// now, not a page later.
func (c serveRun) served() (source binhost.Source, dirs, linked []string, err error) {
	if len(c.args) == 0 {
		machine, err := c.machine()
		if err != nil {
			return nil, nil, nil, err
		}
		dirs = []string{machine.PKGDIR, machine.DISTDIR}
		for _, dir := range dirs {
			if _, err := os.ReadDir(dir); err != nil {
				c.out.warn("%v", err)
			}
		}
		linked = portage.ReadOnlyDistdirs(machine.Settings)
		c.leftOut(binhost.LeftOut(c.ctx, machine.PKGDIR, machine.DISTDIR, linked...))
		return binhost.Machine(c.env.hostname, machine.PKGDIR, machine.DISTDIR, c.env.now,
			linked...), dirs, linked, nil
	}
	mount, err := filepath.Abs(c.args[0])
	if err != nil {
		return nil, nil, nil, err
	}
	o := binhost.DriveOptions{Trust: c.trusted, Untrusted: c.opt.serve.untrusted, Now: c.env.now}
	if machine, err := c.machine(); err == nil { // read now: later there is nothing but the drive
		o.Judge = forecast.NewJudge(forecast.ReadGates(machine.Settings, machine.CPUInfo),
			forecast.GateOptions{})
	}
	refused, err := binhost.CheckDrive(mount, o)
	if err != nil {
		return nil, nil, nil, drive.NotMounted(mount, err)
	}
	for _, r := range refused {
		if r.Unwanted {
			c.out.detail("%q is not served: %s", r.Origin, r.Reason)
			continue
		}
		c.out.warn("%q is not served: %s", r.Origin, r.Reason)
		if r.Help != "" {
			c.out.hint(r.Help)
		}
	}
	return binhost.Drive(mount, o), []string{mount}, nil, nil
}

// confine leaves this process only what a server needs: reading what it serves. A drive that comes
// again is another file system at the same place, and is reached by way of the directory above,
// unless that is the root directory. The keys that are trusted may become more. linked is where
// links may lead.
func (c serveRun) confine(trees, linked []string) {
	if len(c.args) > 0 {
		if above := filepath.Dir(trees[0]); above != "/" {
			trees = append(trees, above)
		}
		trees = append(trees, c.stateDir())
	}
	confine(c.invocation, func() sandbox.Confined {
		return sandbox.ConfineReading(append(trees, linked...)...)
	})
}

// trusted tells whose signatures count here. An ordinary user cannot read this machine's own key,
// and need not.
func (c serveRun) trusted() (trust.View, error) {
	st, err := state.Open(c.ctx, c.stateDir(), state.Options{ReadOnly: true})
	if err != nil {
		return trust.View{}, err
	}
	defer st.Close()
	return trust.Read(st, c.env.now())
}

// listeners are systemd's sockets, else one of our own.
func (c serveRun) listeners() ([]net.Listener, error) {
	listeners, err := binhost.Activated(c.env.lookup, os.Getpid())
	if err != nil || len(listeners) > 0 {
		return listeners, err
	}
	address := c.opt.serve.listen
	if address == "" {
		address = defaultListen
	}
	if !strings.Contains(address, ":") { // a port alone
		address = ":" + address
	}
	l, err := binhost.Listen(c.ctx, address)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		err = withHint(err, "another program listens there; pkgsneak serve --listen :8081")
	case errors.Is(err, fs.ErrPermission):
		err = withHint(err,
			"ports below 1024 are root's; pkgsneak-serve.socket opens one for an ordinary user")
	case err != nil:
		err = withHint(err, "%s", c.takes("listen"))
	}
	return []net.Listener{l}, err
}

// maxConnections is the bound of what was asked for and of what the system allows: a download has
// two descriptors.
func maxConnections(want int) int {
	if want <= 0 {
		want = 1024
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil && limit.Cur < uint64(want)*3+64 {
		want = max(int(limit.Cur)-64, 24) / 3
	}
	return want
}

// serveEvent is a line with "event":"listening".
type serveEvent struct {
	Event string `json:"event"`
	Serve string `json:"serve"`
	URL   string `json:"url"`
}

func (c serveRun) listening(what string, at net.Addr, secure bool) {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(at.String())
	if ip := net.ParseIP(host); err != nil || ip == nil || ip.IsUnspecified() {
		host = c.env.hostname
	}
	url := scheme + "://" + net.JoinHostPort(host, port) + "/" +
		strings.Trim(c.opt.serve.prefix, "/")
	if c.out.json {
		c.out.event(serveEvent{"listening", what, url})
	}
	c.out.say("serving %s at %s", what, url)
}

// accessEvent is a line with "event":"access".
type accessEvent struct {
	Event     string    `json:"event"`
	Time      time.Time `json:"time"`
	Remote    string    `json:"remote"`
	Method    string    `json:"method"`
	URI       string    `json:"uri"`
	Status    int       `json:"status"`
	Bytes     int64     `json:"bytes"`
	Seconds   float64   `json:"seconds"`
	UserAgent string    `json:"user_agent,omitempty"`
}

// access prints one answer: as the combined log format that tools for access logs read, or as JSON.
func (c serveRun) access(a binhost.Access) {
	if c.out.json {
		c.out.event(accessEvent{"access", a.When.UTC(), a.Remote, a.Method, a.URI, a.Status,
			a.Bytes, a.Took.Seconds(), a.UserAgent})
		return
	}
	// As one string without control characters, because there may be thousands a second.
	c.out.say("%s",
		raw(a.Remote+" - - ["+a.When.Format("02/Jan/2006:15:04:05 -0700")+"] "+
			quoted(a.Method+" "+a.URI+" "+a.Proto)+" "+strconv.Itoa(a.Status)+" "+
			strconv.FormatInt(a.Bytes, 10)+" "+quoted(orDash(a.Referer))+" "+
			quoted(orDash(a.UserAgent))))
}

func quoted(s string) string { return strconv.QuoteToASCII(s) }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
