package binhost_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/binhost"
)

// patience is how long a program that is not ours may take; it is no limit that a test is about.
const patience = 3 * time.Minute

// browser is a Chromium that is driven over WebDriver (W3C), which is JSON over HTTP.
type browser struct {
	session   string // address
	downloads string
}

// newBrowser starts Chromium with a window of that size, or skips.
func newBrowser(t *testing.T, width, height int) *browser {
	t.Helper()
	driver, err := exec.LookPath("chromedriver")
	if err != nil {
		t.Skip("SKIPPED, NO BROWSER HAS SEEN THE PAGES: chromedriver is not in PATH (Debian: chromium chromium-driver)")
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("SKIPPED, NO BROWSER HAS SEEN THE PAGES: chromium is not in PATH (Debian: chromium chromium-driver)")
	}
	cmd := exec.Command(driver, "--port=0")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	port, listens := "", regexp.MustCompile(`successfully on port (\d+)`)
	for lines := bufio.NewScanner(out); port == "" && lines.Scan(); {
		if m := listens.FindStringSubmatch(lines.Text()); m != nil {
			port = m[1]
		}
	}
	if port == "" {
		t.Fatal("chromedriver did not say on which port it listens")
	}
	go io.Copy(io.Discard, out)
	b := &browser{session: "http://127.0.0.1:" + port + "/session", downloads: t.TempDir()}
	var made struct{ SessionID string }
	b.call(t, http.MethodPost, "",
		map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
			"browserName": "chrome",
			"goog:chromeOptions": map[string]any{"binary": chromium, "args": []string{"--headless",
				"--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
				"--disable-background-networking", "--disable-component-update", "--disable-sync",
				"--disable-dev-shm-usage", "--hide-scrollbars",
				"--user-data-dir=" + t.TempDir(),
				fmt.Sprintf("--window-size=%d,%d", width, height)}},
			"goog:loggingPrefs": map[string]any{"browser": "ALL"},
		}}}, &made)
	b.session += "/" + made.SessionID
	t.Cleanup(func() { b.try(http.MethodDelete, "", nil, nil) })
	b.cdp(t, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height,
		"deviceScaleFactor": 1, "mobile": width < 600})
	b.cdp(t, "Browser.setDownloadBehavior",
		map[string]any{"behavior": "allow", "downloadPath": b.downloads})
	return b
}

func (b *browser) try(method, path string, body, into any) error {
	var r io.Reader
	if method == http.MethodPost {
		if body == nil {
			body = map[string]any{}
		}
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, b.session+path, r)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Timeout: 2 * patience}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var reply struct{ Value json.RawMessage }
	if err := json.NewDecoder(res.Body).Decode(&reply); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %.500s", method, path, res.Status, reply.Value)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(reply.Value, into)
}

func (b *browser) call(t *testing.T, method, path string, body, into any) {
	t.Helper()
	if err := b.try(method, path, body, into); err != nil {
		t.Fatal(err)
	}
}

func (b *browser) cdp(t *testing.T, cmd string,
	params map[string]any) (result struct{ Data string }) {
	t.Helper()
	b.call(t, http.MethodPost, "/goog/cdp/execute",
		map[string]any{"cmd": cmd, "params": params}, &result)
	return result
}

func (b *browser) open(t *testing.T, url string) {
	t.Helper()
	b.call(t, http.MethodPost, "/url", map[string]any{"url": url}, nil)
}

func (b *browser) dark(t *testing.T, scheme string) {
	t.Helper()
	b.cdp(t, "Emulation.setEmulatedMedia",
		map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme",
			"value": scheme}}})
}

// eval runs an expression in the page.
func eval[T any](t *testing.T, b *browser, expression string) (v T) {
	t.Helper()
	b.call(t, http.MethodPost, "/execute/sync", map[string]any{"script": "return " + expression,
		"args": []any{}}, &v)
	return v
}

func (b *browser) find(t *testing.T, css string) string {
	t.Helper()
	var found map[string]string
	b.call(t, http.MethodPost, "/element", map[string]any{"using": "css selector",
		"value": css}, &found)
	for _, id := range found {
		return id
	}
	t.Fatalf("nothing is %q", css)
	return ""
}

func (b *browser) click(t *testing.T, css string) {
	t.Helper()
	b.call(t, http.MethodPost, "/element/"+b.find(t, css)+"/click", nil, nil)
}

// follow clicks what leads to another page, and waits for that.
func (b *browser) follow(t *testing.T, css string) {
	t.Helper()
	eval[any](t, b, "void (document.documentElement.dataset.before = 'yes')")
	b.click(t, css)
	until(t, css+" leads nowhere", func() bool {
		var there bool
		err := b.try(http.MethodPost, "/execute/sync", map[string]any{"args": []any{},
			"script": "return document.readyState === 'complete' && !document.documentElement.dataset.before"}, &there)
		return err == nil && there
	})
}

// until waits for what another program does.
func until(t *testing.T, otherwise string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal(otherwise)
		}
	}
}

// enter types into a field, after what is there.
func (b *browser) enter(t *testing.T, css, text string) {
	t.Helper()
	b.call(t, http.MethodPost, "/element/"+b.find(t, css)+"/value",
		map[string]any{"text": text}, nil)
}

// texts are the texts of all elements that match.
func (b *browser) texts(t *testing.T, css string) []string {
	t.Helper()
	return eval[[]string](t, b,
		fmt.Sprintf("Array.from(document.querySelectorAll(%q), e => e.textContent.trim().replace(/\\s+/g, ' '))", css))
}

// complaints are the messages of the console: scripts that failed, what the policy forbade, what
// was not found.
func (b *browser) complaints(t *testing.T) []string {
	t.Helper()
	var log []struct{ Message string }
	b.call(t, http.MethodPost, "/se/log", map[string]any{"type": "browser"}, &log)
	var texts []string
	for _, l := range log {
		texts = append(texts, l.Message)
	}
	return texts
}

// screenshot keeps a picture of the page below PKGSNEAK_SCREENSHOTS, for eyes.
func (b *browser) screenshot(t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("PKGSNEAK_SCREENSHOTS")
	if dir == "" {
		return
	}
	size := eval[[]float64](t, b,
		"[document.documentElement.clientWidth, Math.min(document.documentElement.scrollHeight, 2600)]")
	shot := b.cdp(t, "Page.captureScreenshot", map[string]any{"captureBeyondViewport": true,
		"clip": map[string]any{"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}})
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, name+".png"), data)
}

// downloaded waits for a file.
func (b *browser) downloaded(t *testing.T, name string, size int) (data []byte) {
	t.Helper()
	until(t, name+" was not downloaded", func() bool {
		var err error
		data, err = os.ReadFile(filepath.Join(b.downloads, name))
		return err == nil && len(data) == size
	})
	return data
}

// pictureHost is a machine that looks like a real one.
func pictureHost(t *testing.T) *host {
	h := newHost(t)
	packages := []struct{ cpv, kind, use, iuse, slot string }{
		{"app-admin/sudo-1.9.15_p5", "gpkg.tar", "amd64 nls pam secure-path sendmail sssd ssl",
			"+nls +pam gcrypt ldap offensive sasl +secure-path selinux +sendmail skey ssl sssd",
			"0"},
		{"app-editors/vim-9.1.0366", "gpkg.tar",
			"acl amd64 crypt nls python python_single_target_python3_12",
			"X acl crypt cscope debug gpm lua minimal nls perl python racket ruby selinux sound tcl terminal vim-pager python_single_target_python3_12", "0"},
		{"app-shells/bash-5.2_p26", "gpkg.tar", "amd64 net nls readline",
			"afs bashlogger examples mem-scramble net nls plugins pgo +readline", "0"},
		{"dev-lang/python-3.12.3-r1", "gpkg.tar",
			"amd64 ensurepip gdbm ncurses readline sqlite ssl test-install valgrind verify-sig xml build debug examples bluetooth libedit", "bluetooth build debug +ensurepip examples gdbm libedit +ncurses pgo +readline +sqlite +ssl test tk valgrind test-install verify-sig xml", "3.12"},
		{"dev-lang/rust-bin-1.77.1", "gpkg.tar", "amd64 clippy rustfmt",
			"clippy doc prefix rust-analyzer rust-src rustfmt", "stable"},
		{"dev-libs/boost-1.84.0-r3", "gpkg.tar", "amd64 bzip2 icu lzma nls stacktrace zlib zstd",
			"bzip2 context debug doc icu lzma +nls mpi numpy python +stacktrace tools zlib zstd",
			"0/1.84.0"},
		{"dev-libs/openssl-3.0.13-r2", "gpkg.tar", "amd64 asm",
			"+asm cpu_flags_x86_sse2 fips ktls rfc3779 sctp static-libs test tls-compression vanilla verify-sig weak-ssl-ciphers", "0/3"},
		{"kde-frameworks/extra-cmake-modules-5.115.0", "xpak", "amd64", "doc test", "5"},
		{"media-libs/libpng-1.6.43", "xpak", "amd64 apng cpu_flags_x86_sse",
			"apng cpu_flags_x86_sse static-libs", "0/16"},
		{"net-misc/curl-8.7.1-r1", "gpkg.tar",
			"adns amd64 ftp http2 imap openssl pop3 progress-meter psl smtp ssl tftp websockets",
			"+adns +alt-svc brotli debug +ftp gnutls gopher +hsts +http2 idn +imap kerberos ldap mbedtls +openssl +pop3 +progress-meter +psl rtmp rustls samba +smtp ssh ssl sslv3 static-libs +tftp +websockets zstd", "0"},
		{"sys-apps/systemd-255.4", "gpkg.tar", "acl amd64 kmod lz4 pam policykit seccomp zstd",
			"+acl apparmor audit boot cgroup-hybrid cryptsetup curl +dns-over-tls elfutils fido2 +gcrypt gnutls homed http idn importd iptables +kernel-install +kmod +lz4 lzma +openssl pam pcre pkcs11 policykit pwquality qrcode +resolvconf +seccomp selinux split-usr +sysv-utils test tpm ukify vanilla xkb +zstd", "0/2"},
		{"sys-devel/gcc-13.2.1_p20240210", "gpkg.tar",
			"amd64 cxx fortran nls nptl openmp pch sanitize ssp",
			"ada +cxx d debug doc fixed-point +fortran go graphite hardened jit libssp lto modula2 multilib +nls +nptl objc objc++ objc-gc +openmp +pch pgo +pie +sanitize +ssp systemtap test valgrind vanilla vtv zstd", "13"},
		{"virtual/editor-0-r7", "gpkg.tar", "amd64", "", "0"},
		{"www-client/firefox-125.0.1", "gpkg.tar",
			"amd64 dbus gmp-autoupdate jumbo-build openh264 system-av1 system-harfbuzz wayland X",
			"+clang cpu_flags_arm_neon dbus debug eme-free hardened hwaccel jack +jumbo-build libproxy lto openh264 pgo pulseaudio sndio selinux +system-av1 +system-harfbuzz +system-icu wayland wifi X +gmp-autoupdate", "rapid"},
	}
	for i, p := range packages {
		category, pf, _ := strings.Cut(p.cpv, "/")
		pn := regexp.MustCompile(`-\d`).Split(pf, 2)[0]
		path := fmt.Sprintf("%s/%s/%s-%d.%s", category, pn, pf, 1+i%3, p.kind)
		h.put(t, p.cpv, path, random(p.cpv, 3000+i*i*7919), "USE", p.use, "IUSE", p.iuse, "SLOT",
			p.slot, "BUILD_ID", fmt.Sprint(1+i%3), "BUILD_TIME",
			fmt.Sprint(firstTimestamp-i*90_000), "REPO", map[bool]string{true: "guru",
				false: "gentoo"}[i == 7])
	}
	h.put(t, "x11-misc/a+very-long_name-that-does-not-end-1.0.20240101_rc3_p20240311-r12",
		"x11-misc/a+very-long_name-that-does-not-end/a+very-long_name-that-does-not-end-1.0.20240101_rc3_p20240311-r12-1.xpak",
		random("long", 5000), "USE", strings.Repeat("x", 120)+" short", "IUSE", strings.Repeat("x",
			120)+" short", "BUILD_TIME", fmt.Sprint(firstTimestamp))
	h.index.SetTimestamp(time.Now().Add(-2 * time.Hour).Unix())
	h.writeIndex(t)
	for i := range 30 {
		write(t, filepath.Join(h.distdir, fmt.Sprintf("source-%02d.%d.tar.xz", i, i*7%10)),
			random("d", 1000+i*i*1777))
	}
	write(t, filepath.Join(h.distdir, "gtk+-2.24.33~rc1 50%.tar.bz2"), random("gtk", 4321))
	return h
}

// pictureDrive serves a drive with several origins, one of which is nobody's.
func pictureDrive(t *testing.T) *running {
	mount := filepath.Join(t.TempDir(), "usb")
	write(t, filepath.Join(mount, "photos.txt"), nil)
	origins := []*origin{newOrigin(t, "bighost", 0), newOrigin(t, "cross-aarch64", 0),
		newOrigin(t, "stranger", 1)}
	for _, o := range origins {
		for _, name := range []string{"app-misc/hello-1.0", "dev-libs/greet-2.1_p3",
			"virtual/words-0-r1"} {
			o.packages[name+".tbz2"] = random(o.name+name, 20_000)
		}
		o.distfiles["hello-1.0.tar.xz"] = random("hello", 30_000)
		o.export(t, mount)
	}
	return serve(t, binhost.Drive(mount, trusting(&clock{}, origins[0].key)), "", nil)
}

func TestBrowser(t *testing.T) {
	h := pictureHost(t)
	s := serve(t, h.source(), "/funtoo", nil)
	usb := pictureDrive(t)
	for _, window := range []struct {
		name          string
		width, height int
	}{{"desktop", 1280, 900}, {"phone", 390, 844}} {
		t.Run(window.name, func(t *testing.T) {
			b := newBrowser(t, window.width, window.height)
			for _, scheme := range []string{"light", "dark"} {
				b.dark(t, scheme)
				name := window.name + "-" + scheme
				b.open(t, s.url+"/")
				b.screenshot(t, name+"-start")
				b.fits(t)
				b.click(t, "details.howto summary")
				b.screenshot(t, name+"-use")
				b.fits(t)
				b.open(t, s.url+"/distfiles/")
				b.screenshot(t, name+"-listing")
				b.fits(t)
				b.open(t, s.url+"/packages/dev-libs/")
				b.screenshot(t, name+"-dir")
				if dark := eval[bool](t, b,
					"getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] < 100"); dark != (scheme == "dark") {
					t.Errorf("the page is dark: %t, and the person wants it %s", dark, scheme)
				}
			}
			b.walk(t, s, h)
			b.open(t, usb.url+"/")
			b.screenshot(t, window.name+"-overview")
			b.fits(t)
			b.follow(t, ".origins a")
			b.screenshot(t, window.name+"-origin")
			b.fits(t)
			if got := b.texts(t, ".badge"); len(got) != 1 || got[0] != "trusted here" {
				t.Errorf("the origin's page says of the signature %q", got)
			}
			if c := b.complaints(t); len(c) > 0 {
				t.Errorf("the browser complains: %q", c)
			}
			b.open(t, s.url+"/no-such-page")
			b.screenshot(t, window.name+"-missing")
			if got := b.texts(t, ".error p"); len(got) == 0 || got[0] != "there is nothing here" {
				t.Errorf("the page of what is not there says %q", got)
			}
		})
	}
}

// fits holds that nothing sticks out to the side, and that everything came from the server.
func (b *browser) fits(t *testing.T) {
	t.Helper()
	if wide := eval[int](t, b,
		"document.documentElement.scrollWidth - document.documentElement.clientWidth"); wide > 0 {
		t.Errorf("%s: the page is %d pixels wider than the window",
			eval[string](t, b, "location.pathname"), wide)
	}
	if foreign := eval[[]string](t, b,
		"performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin))"); len(foreign) > 0 {
		t.Errorf("the page loads %q", foreign)
	}
	if n := eval[int](t, b, "document.scripts.length"); n != 0 {
		t.Errorf("the page has %d scripts", n)
	}
}

// walk searches, filters, sorts, and follows a listing to a file.
func (b *browser) walk(t *testing.T, s *running, h *host) {
	t.Helper()
	b.open(t, s.url+"/")
	names := ".packages td.name"
	if got := b.texts(t, names); len(got) != 15 || got[0] != "app-admin/sudo" {
		t.Fatalf("the start page lists %q", got)
	}
	b.enter(t, "input[name=q]", "LIB png")
	b.follow(t, ".search button")
	if got := b.texts(t, names); len(got) != 1 || got[0] != "media-libs/libpng" {
		t.Errorf("a search finds %q", got)
	}
	b.follow(t, ".found a")
	b.click(t, "select[name=category] option[value=dev-libs]")
	b.follow(t, ".search button")
	if got := strings.Join(b.texts(t, names), " "); got != "dev-libs/boost dev-libs/openssl" {
		t.Errorf("the category has %q", got)
	}
	b.follow(t, "th.size a")
	if got := strings.Join(b.texts(t, names), " "); got != "dev-libs/openssl dev-libs/boost" {
		t.Errorf("the largest first: %q", got)
	}
	b.follow(t, "th.size a")
	if got := strings.Join(b.texts(t, names), " "); got != "dev-libs/boost dev-libs/openssl" {
		t.Errorf("the smallest first: %q", got)
	}
	b.follow(t, ".facts a")
	b.follow(t, "a[href$='/sys-apps/']")
	b.follow(t, "a.dir")
	if got := b.texts(t, ".top nav a"); strings.Join(got,
		"/") != "pkgsneak/packages/sys-apps/systemd" {
		t.Errorf("the path is %q", got)
	}
	b.click(t, "a.file")
	file := "sys-apps/systemd/systemd-255.4-2.gpkg.tar"
	want, err := os.ReadFile(filepath.Join(h.pkgdir, file))
	if err != nil {
		t.Fatal(err)
	}
	if got := b.downloaded(t, filepath.Base(file), len(want)); !bytes.Equal(got, want) {
		t.Errorf("%s has other bytes after the download", file)
	}
	b.follow(t, "a.up")
	b.open(t, s.url+"/distfiles/")
	b.enter(t, "input[name=q]", "gtk")
	b.follow(t, ".search button")
	b.click(t, "a.file")
	b.downloaded(t, "gtk+-2.24.33~rc1 50%.tar.bz2", 4321)
}
