package binhost_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
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
)

// BenchmarkPeers serves the same PKGDIR with pkgsneak, nginx and lighttpd, each as Debian
// configures it but without access logs and with connections that may be used as often as the
// client sends, and prints how much pkgsneak gets through in a second, and that as a part of what
// the others do: pkgsneak/nginx of 1 is as fast. Rounds take turns, so that what else the machine
// does meets all. On a busy machine that still means little; cpu:pkgsneak/nginx compares how much
// each gets through for a second of its own CPU time.
//
//	go test -run '^$' -bench Peers -benchtime 1x ./sync/binhost
func BenchmarkPeers(b *testing.B) {
	const (
		smallFiles = 500
		smallSize  = 8 << 10
		largeSize  = 256 << 20
		rounds     = 7
		roundTime  = 400 * time.Millisecond
	)
	h := newHost(b)
	for i := range smallFiles {
		h.put(b, fmt.Sprintf("app-misc/p%d-1", i), fmt.Sprintf("app-misc/p%d/p%d-1-1.xpak", i, i),
			random(strconv.Itoa(i), smallSize))
	}
	h.put(b, "app-misc/large-1", "app-misc/large-1.tbz2", random("large", largeSize))
	h.writeIndex(b)
	chmodAll(b, h.pkgdir)

	servers := []peer{startPkgsneak(b, h), startNginx(b, h), startLighttpd(b, h)}
	small := func(i int) string {
		return fmt.Sprintf("/app-misc/p%d/p%d-1-1.xpak", i%smallFiles,
			i%smallFiles)
	}
	large := func(int) string { return "/app-misc/large-1.tbz2" }
	for _, load := range []struct {
		name        string
		path        func(int) string
		connections int
	}{{"small", small, 8}, {"large", large, 8}, {"large-one-client", large, 1}} {
		b.Run(load.name, func(b *testing.B) {
			for b.Loop() {
				rates, work := map[string][]float64{}, map[string]float64{}
				for _, s := range servers {
					work[s.name] = -s.cpu(b)
				}
				total := map[string]float64{}
				for range rounds {
					for _, s := range servers {
						if s.address != "" {
							n, rate := throughput(b, s.address, s.prefix, load.path,
								load.connections, roundTime)
							rates[s.name] = append(rates[s.name], rate)
							total[s.name] += float64(n)
						}
					}
				}
				for _, s := range servers {
					work[s.name] = total[s.name] / (work[s.name] + s.cpu(b))
				}
				median := func(name string) float64 {
					slices.Sort(rates[name])
					return rates[name][len(rates[name])/2]
				}
				own := median("pkgsneak")
				b.ReportMetric(own/1e6, "MB/s")
				if load.name == "small" {
					b.ReportMetric(own/smallSize, "files/s")
					b.ReportMetric(1e6*smallSize/work["pkgsneak"], "cpu-µs/file")
				}
				for _, s := range servers[1:] {
					if s.address != "" {
						b.ReportMetric(own/median(s.name), "pkgsneak/"+s.name)
						b.ReportMetric(work["pkgsneak"]/work[s.name], "cpu:pkgsneak/"+s.name)
					}
				}
			}
		})
	}
}

// peer is a server at work.
type peer struct {
	name    string
	address string // "": this machine has none
	prefix  string
	pid     int
}

// cpu is how many seconds of CPU time the server and its children have had.
func (p peer) cpu(b *testing.B) float64 {
	if p.address == "" {
		return 0
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	ticks := 0
	for _, name := range stats {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		_, after, _ := strings.Cut(string(data), ") ") // behind the program's name
		fields := strings.Fields(after)
		pid, parent := filepath.Base(filepath.Dir(name)), fields[1]
		if pid == strconv.Itoa(p.pid) || parent == strconv.Itoa(p.pid) {
			user, _ := strconv.Atoi(fields[11])
			system, _ := strconv.Atoi(fields[12])
			ticks += user + system
		}
	}
	return float64(ticks) / 100 // USER_HZ
}

// chmodAll makes a tree readable for servers that give up root.
func chmodAll(b *testing.B, dir string) {
	for d := filepath.Dir(dir); strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			b.Fatal(err)
		}
	}
}

// startPkgsneak starts the real program, without an access log as the others.
func startPkgsneak(b *testing.B, h *host) peer {
	program := filepath.Join(b.TempDir(), "pkgsneak")
	if out, err := exec.Command("go", "build", "-o", program,
		"pkgsneak/cmd/pkgsneak").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	address := freeAddress(b)
	p := launch(b, "pkgsneak", address, exec.Command(program, "serve", "--quiet", "--listen",
		address, "--pkgdir", h.pkgdir, "--distdir", h.distdir, "--state-dir", b.TempDir()))
	p.prefix = "/packages"
	return p
}

func freeAddress(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startPeer starts another server in the foreground.
func startPeer(b *testing.B, name string, config func(dir, port string) string,
	args ...string) peer {
	program, err := exec.LookPath(name)
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "SKIPPED, NOTHING WAS COMPARED WITH %s: it is not installed\n", name)
		return peer{name: name}
	}
	address := freeAddress(b)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	file := filepath.Join(dir, name+".conf")
	write(b, file, []byte(config(dir, port)))
	return launch(b, name, address, exec.Command(program, append(args, file)...))
}

// launch starts a server and waits until it listens.
func launch(b *testing.B, name, address string, cmd *exec.Cmd) peer {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	b.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		<-ended
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return peer{name: name, address: address, pid: cmd.Process.Pid}
		}
		select {
		case <-tick.C:
		case <-ended:
			b.Fatalf("%s ended: %s", name, said.Bytes())
		}
	}
}

func startNginx(b *testing.B, h *host) peer {
	return startPeer(b, "nginx", func(dir, port string) string {
		user := ""
		if os.Geteuid() == 0 {
			user = "user root;\n"
		}
		return fmt.Sprintf(`%sdaemon off;
worker_processes auto;
pid %[2]s/pid;
error_log stderr;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path %[2]s/a; proxy_temp_path %[2]s/b; fastcgi_temp_path %[2]s/c; uwsgi_temp_path %[2]s/d; scgi_temp_path %[2]s/e;
  server { listen 127.0.0.1:%[3]s; root %[4]s; autoindex on; }
}
`, user, dir, port, h.pkgdir)
	}, "-c")
}

func startLighttpd(b *testing.B, h *host) peer {
	return startPeer(b, "lighttpd", func(dir, port string) string {
		return fmt.Sprintf(`server.document-root = "%s"
server.port = %s
server.bind = "127.0.0.1"
server.max-keep-alive-requests = 1000000
dir-listing.activate = "enable"
`, h.pkgdir, port)
	}, "-D", "-f")
}

// throughput is how many bytes of bodies come in a second, over connections that each ask for one
// file after the other.
func throughput(b *testing.B, address, prefix string, path func(int) string, connections int,
	long time.Duration) (n int64, rate float64) {
	var total int64
	var mu sync.Mutex
	var clients sync.WaitGroup
	began := time.Now()
	for i := range connections {
		clients.Go(func() {
			n, err := load(address, prefix, path, i*37, began.Add(long))
			if err != nil {
				b.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			total += n
		})
	}
	clients.Wait()
	return total, float64(total) / time.Since(began).Seconds()
}

// load is one client, made to need as little as can be.
func load(address, prefix string, path func(int) string, i int,
	end time.Time) (bytesRead int64, err error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	buf := make([]byte, 1<<20)
	for time.Now().Before(end) {
		if _, err := fmt.Fprintf(c, "GET %s%s HTTP/1.1\r\nHost: x\r\n\r\n", prefix,
			path(i)); err != nil {
			return bytesRead, err
		}
		i++
		var head int
		have := 0
		for {
			n, err := c.Read(buf[have:])
			if err != nil {
				return bytesRead, err
			}
			have += n
			if head = bytes.Index(buf[:have], []byte("\r\n\r\n")); head >= 0 {
				break
			}
		}
		size, err := bodySize(buf[:head])
		if err != nil {
			return bytesRead, err
		}
		for left := size - int64(have-head-4); left > 0; {
			n, err := c.Read(buf)
			if err != nil {
				return bytesRead, err
			}
			left -= int64(n)
			if time.Now().After(end) {
				return bytesRead + size - left, nil
			}
		}
		bytesRead += size
	}
	return bytesRead, nil
}

func bodySize(head []byte) (int64, error) {
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("the answer is %.100q", head)
	}
	_, after, ok := bytes.Cut(bytes.ToLower(head), []byte("content-length: "))
	if !ok {
		return 0, errors.New("no length")
	}
	digits, _, _ := bytes.Cut(after, []byte("\r"))
	return strconv.ParseInt(string(digits), 10, 64)
}
