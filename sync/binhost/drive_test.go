package binhost_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/binhost"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/trust"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var keys = sync.OnceValues(func() ([]*manifest.PrivateKey, error) {
	var made []*manifest.PrivateKey
	for _, name := range []string{"host one", "host two"} {
		key, err := manifest.GenerateKey(name, epoch.Add(-time.Hour))
		if err != nil {
			return nil, err
		}
		made = append(made, key)
	}
	return made, nil
})

// origin is a machine that exports to a drive.
type origin struct {
	name      string
	key       *manifest.PrivateKey
	packages  map[string][]byte // by PATH
	distfiles map[string][]byte
	catalogue []pkgindex.Entry // what is not on the drive as well
	serial    int64
}

func newOrigin(t testing.TB, name string, key int) *origin {
	made, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	return &origin{name: name, key: made[key], packages: map[string][]byte{},
		distfiles: map[string][]byte{}, serial: epoch.Unix()}
}

// export writes everything as one generation.
func (o *origin) export(t testing.TB, mount string) {
	t.Helper()
	d, err := drive.Create(mount)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	dir, held, err := d.FindOrigin(o.key.Public(), o.name, epoch)
	if err != nil {
		t.Fatal(err)
	}
	if held != nil {
		held.Close()
	}
	w, err := drivewriter.Begin(context.Background(), d, drivewriter.BeginOptions{Dir: dir,
		Name: o.name, Key: o.key, Now: epoch, PartSize: 10 << 20, NoReadBack: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	index := &pkgindex.Index{Entries: o.catalogue}
	for k, v := range map[string]string{"CHOST": "x86_64-pc-linux-gnu",
		"URI": "http://elsewhere.example/", "TTL": "86400"} {
		index.Header.Set(k, v)
	}
	var items []layout.Item
	put := func(kind payload.Kind, name string, data []byte) {
		if w.Committed() != nil {
			if it, ok := w.Committed().Find(kind, name); ok && it.Size == int64(len(data)) {
				items = append(items, it)
				return
			}
		}
		it, err := w.Put(context.Background(), drivewriter.NewFile{Kind: kind, Path: name,
			Size: int64(len(data))}, func(out io.Writer) error {
			_, err := out.Write(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, it)
	}
	for _, name := range slices.Sorted(maps.Keys(o.packages)) {
		data := o.packages[name]
		index.Entries = append(index.Entries, entry(t, strings.TrimSuffix(name, ".tbz2"), name,
			data, time.Unix(firstTimestamp, 0)))
		put(payload.Package, name, data)
	}
	for _, name := range slices.Sorted(maps.Keys(o.distfiles)) {
		put(payload.Distfile, name, o.distfiles[name])
	}
	o.serial = max(o.serial, w.Last()) + 1
	if _, err := w.Commit(context.Background(), drivewriter.Contents{Serial: o.serial, At: epoch,
		Items: items, Catalogue: index,
		Record: layout.Record{Created: epoch, CHOST: "x86_64-pc-linux-gnu",
			Profile: "default/linux/amd64"}}); err != nil {
		t.Fatal(err)
	}
}

// clock is a time that a test moves.
type clock struct{ seconds atomic.Int64 }

func (c *clock) now() time.Time { return epoch.Add(time.Duration(c.seconds.Load()) * time.Second) }

// later lets a source look again.
func (c *clock) later() { c.seconds.Add(5) }

// maskingJudge judges for a machine with lines in package.mask and nothing else.
func maskingJudge(t *testing.T, lines string) *forecast.Judge {
	t.Helper()
	root := t.TempDir()
	write(t, filepath.Join(root, "etc/portage/package.mask"), []byte(lines))
	settings, err := portage.Load(t.Context(), portage.Options{Root: root,
		Env: func(string) (string, bool) { return "", false }})
	if err != nil {
		t.Fatal(err)
	}
	return forecast.NewJudge(forecast.ReadGates(settings, nil), forecast.GateOptions{})
}

// trusting are the options of a machine that trusts these keys.
func trusting(c *clock, ring ...*manifest.PrivateKey) binhost.DriveOptions {
	var public manifest.Ring
	for _, k := range ring {
		public = append(public, k.Public())
	}
	return binhost.DriveOptions{Now: c.now, Trust: func() (trust.View, error) {
		return trust.View{Ring: public, Now: epoch}, nil
	}}
}

// fullOrigin has a file that is split on the drive, one whose name the drive cannot have, small
// ones, and a catalogue that has more than the drive.
func fullOrigin(t testing.TB) *origin {
	o := newOrigin(t, "buildhost", 0)
	o.packages["app-misc/split-1.tbz2"] = random("split", 23<<20)
	o.packages["app-misc/large-1.tbz2"] = random("large", 9<<20)
	o.packages["app-misc/small++-1.tbz2"] = []byte("small")
	o.distfiles["what? a:name*.tar.gz"] = []byte("odd name")
	o.distfiles["AUX.tar"] = []byte("reserved name")
	o.distfiles["plain-1.0.tar.xz"] = random("plain", 100_000)
	o.catalogue = []pkgindex.Entry{entry(t, "app-misc/left-at-home-1",
		"app-misc/left-at-home-1.tbz2", []byte("x"), epoch)}
	return o
}

func TestDrive(t *testing.T) {
	o, mount, c := fullOrigin(t), t.TempDir(), &clock{}
	o.export(t, mount)
	trusted := trusting(c, o.key)
	trusted.Judge = maskingJudge(t, "app-misc/small++\n")
	s := serve(t, binhost.Drive(mount, trusted), "/usb", nil)
	split := o.packages["app-misc/split-1.tbz2"]
	for _, base := range []string{"/usb", "/usb/buildhost"} {
		for name, data := range o.packages {
			wantBody(t, name, s.get(t, base+"/packages/"+name), 200, data)
			wantBody(t, "HEAD "+name, s.ask(t, "HEAD", base+"/packages/"+name), 200, nil)
		}
		for name, data := range o.distfiles {
			wantBody(t, name, s.get(t, base+"/distfiles/"+escape(name)), 200, data)
			wantBody(t, name, s.get(t, base+"/distfiles/"+bucket(name)+"/"+escape(name)), 200, data)
			wrong := map[bool]string{true: "01", false: "00"}[bucket(name) == "00"]
			wantBody(t, "in the wrong bucket", s.get(t, base+"/distfiles/"+wrong+"/"+escape(name)),
				404, []byte("there is nothing here\n"))
		}
		plain := string(s.get(t, base+"/packages/Packages").body)
		for _, want := range []string{"PATH: app-misc/split-1.tbz2",
			fmt.Sprintf("TIMESTAMP: %d\n", o.serial), "PACKAGES: 3\n"} {
			if !strings.Contains(plain, want) {
				t.Errorf("the index has no %q:\n%s", want, plain)
			}
		}
		for _, bad := range []string{"left-at-home", "URI:", "TTL:"} {
			if strings.Contains(plain, bad) {
				t.Errorf("the index has %q:\n%s", bad, plain)
			}
		}
		if got := gunzip(t, s.get(t, base+"/packages/Packages.gz").body); string(got) != plain {
			t.Error("Packages.gz is not Packages")
		}
	}
	etag := s.get(t, "/usb/packages/app-misc/split-1.tbz2").header.Get("Etag")
	wantBody(t, "a range over two parts", s.get(t, "/usb/packages/app-misc/split-1.tbz2",
		"Range: bytes=10485000-20971999", "If-Range: "+etag), 206, split[10485000:20972000])
	page := string(s.get(t, "/usb/").body)
	for _, want := range []string{"trusted here", "host one", "of 4 that the origin has",
		"x86_64-pc-linux-gnu", "/usb/packages/app-misc/small++-1.tbz2",
		"1 package masked here by package.mask (app-misc/small++-1)"} {
		if !strings.Contains(strings.ReplaceAll(page, "&#43;", "+"), want) {
			t.Errorf("the start page does not say %q:\n%s", want, page)
		}
	}
	if !strings.Contains(string(s.get(t, "/usb/buildhost/").body),
		`href="/usb/buildhost/packages/app-misc/small`) {
		t.Error("below the origin's name the links lead elsewhere")
	}
	for _, path := range []string{"/usb/Manifest", "/usb/buildhost/Manifest",
		"/usb/buildhost/generation/", "/usb/keys/", "/usb/buildhost/bin/", "/usb/pkgsneak/",
		"/usb/packages/app-misc/left-at-home-1.tbz2",
		"/usb/buildhost/packages/../Manifest", "/usb/README.txt"} {
		if got := s.get(t, path); got.code != 404 {
			t.Errorf("%s: %d", path, got.code)
		}
	}
	if list := s.problems.all(); len(list) > 0 {
		t.Errorf("problems: %q", list)
	}
}

// Parts of a file that was never read as a whole are compared before they go out, or are the end of
// what was compared.
func TestDriveRangesFirst(t *testing.T) {
	o, mount := fullOrigin(t), t.TempDir()
	o.export(t, mount)
	for _, name := range []string{"app-misc/split-1.tbz2", "app-misc/large-1.tbz2",
		"app-misc/small++-1.tbz2"} {
		data := o.packages[name]
		n := len(data)
		for _, test := range []struct {
			header string
			body   []byte
		}{
			{fmt.Sprintf("bytes=%d-", n/2), data[n/2:]},
			{fmt.Sprintf("bytes=%d-", n-1), data[n-1:]},
			{"bytes=0-", data},
			{"bytes=1-3", data[1:4]},
			{"bytes=-2", data[n-2:]},
		} {
			s := serve(t, binhost.Drive(mount, trusting(&clock{}, o.key)), "", nil)
			wantBody(t, name+" "+test.header, s.get(t, "/packages/"+name, "Range: "+test.header),
				206, test.body)
			wantBody(t, name+" after "+test.header, s.get(t, "/packages/"+name), 200, data)
		}
	}
}

// A file that is not as it was signed does not reach a client whole, whichever way the client asks.
func TestDriveDamaged(t *testing.T) {
	o, mount := fullOrigin(t), t.TempDir()
	o.export(t, mount)
	tree := filepath.Join(mount, "pkgsneak/buildhost")
	flip(t, tree, "app-misc/large-1.tbz2", -1)
	flip(t, tree, "app-misc/split-1", 12345)
	flip(t, tree, "app-misc/small++-1.tbz2", 0)
	if err := os.Truncate(stored(t, tree, "plain-1.0.tar.xz"), 99_999); err != nil {
		t.Fatal(err)
	}
	odd := stored(t, tree, "AUX")
	if err := errors.Join(os.Remove(odd), os.Symlink("/etc/passwd", odd)); err != nil {
		t.Fatal(err)
	}
	s := serve(t, binhost.Drive(mount, trusting(&clock{}, o.key)), "", nil)
	for _, path := range []string{"/packages/app-misc/large-1.tbz2",
		"/packages/app-misc/split-1.tbz2"} {
		for _, header := range []string{"X: ", "Range: bytes=0-", "Range: bytes=5000000-"} {
			got, err := s.try(http.MethodGet, path, header)
			if !errors.Is(err, io.ErrUnexpectedEOF) || got.code/100 != 2 {
				t.Errorf("%s with %q: %d, %d bytes, %v", path, header, got.code, len(got.body), err)
			}
		}
		for _, header := range []string{"Range: bytes=5000000-5000010", "Range: bytes=-1",
			"Range: bytes=0-1,5-6"} {
			got := s.get(t, path, header)
			if got.code != 500 || !bytes.Contains(got.body, []byte("damaged")) {
				t.Errorf("%s with %q: %d %.100q", path, header, got.code, got.body)
			}
		}
	}
	for _, path := range []string{"/packages/app-misc/small++-1.tbz2",
		"/distfiles/plain-1.0.tar.xz", "/distfiles/AUX.tar"} {
		for range 2 {
			if got := s.get(t, path); got.code != 500 ||
				!bytes.Contains(got.body, []byte("damaged")) {
				t.Errorf("%s: %d %.100q", path, got.code, got.body)
			}
		}
	}
	wantBody(t, "another file", s.get(t, "/distfiles/"+escape("what? a:name*.tar.gz")), 200,
		[]byte("odd name"))
	if list := s.problems.all(); len(list) < 14 {
		t.Errorf("of 14 damaged answers the operator hears %d: %q", len(list), list)
	}
}

// stored finds the one stored file with part of a path in its name.
func stored(t testing.TB, tree, part string) string {
	t.Helper()
	var found string
	err := filepath.WalkDir(tree, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(p, part) && found == "" {
			found = p
		}
		return err
	})
	if err != nil || found == "" {
		t.Fatalf("no file %q on the drive: %v", part, err)
	}
	return found
}

// flip turns a bit of a stored file; size and mtime stay. A negative offset counts from the end.
func flip(t testing.TB, tree, part string, offset int64) {
	t.Helper()
	name := stored(t, tree, part)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if offset < 0 {
		offset += int64(len(data))
	}
	data[offset] ^= 1
	if err := errors.Join(os.WriteFile(name, data, 0o644),
		os.Chtimes(name, fi.ModTime(), fi.ModTime())); err != nil {
		t.Fatal(err)
	}
}

func TestDriveTrust(t *testing.T) {
	o, mount, c := fullOrigin(t), t.TempDir(), &clock{}
	o.export(t, mount)
	fingerprint := string(o.key.Public().Fingerprint())

	t.Run("unknown key", func(t *testing.T) {
		nobody := trusting(c)
		if refused, err := binhost.CheckDrive(mount, nobody); !errors.Is(err,
			manifest.ErrUntrusted) || len(refused) != 1 {
			t.Errorf("%+v, %v", refused, err)
		}
		s := serve(t, binhost.Drive(mount, nobody), "", nil)
		for _, path := range []string{"/packages/Packages", "/packages/",
			"/buildhost/packages/Packages", "/buildhost/", "/distfiles/plain-1.0.tar.xz",
			"/distfiles/layout.conf"} {
			if got := s.get(t, path); got.code != 404 {
				t.Errorf("%s: %d", path, got.code)
			}
		}
		page := string(s.get(t, "/").body)
		for _, want := range []string{manifest.Fingerprint(fingerprint).Grouped(), "is not served",
			"pkgsneak trust " + mount} {
			if !strings.Contains(page, want) {
				t.Errorf("the page does not say %q:\n%s", want, page)
			}
		}
	})
	t.Run("unknown key, and that is meant", func(t *testing.T) {
		anybody := trusting(c)
		anybody.Untrusted = true
		if _, err := binhost.CheckDrive(mount, anybody); err != nil {
			t.Error(err)
		}
		s := serve(t, binhost.Drive(mount, anybody), "", nil)
		wantBody(t, "a package", s.get(t, "/packages/app-misc/small++-1.tbz2"), 200,
			[]byte("small"))
		if page := string(s.get(t, "/").body); !strings.Contains(page, "not trusted here") ||
			!strings.Contains(page, "Nobody vouches") {
			t.Errorf("the page does not warn:\n%s", page)
		}
	})
	t.Run("trusted while it runs", func(t *testing.T) {
		options := trusting(c)
		var ring atomic.Pointer[manifest.Ring]
		ring.Store(&manifest.Ring{})
		options.Trust = func() (trust.View, error) {
			return trust.View{Ring: *ring.Load(), Now: epoch}, nil
		}
		s := serve(t, binhost.Drive(mount, options), "", nil)
		if got := s.get(t, "/packages/Packages"); got.code != 404 {
			t.Errorf("before: %d", got.code)
		}
		ring.Store(&manifest.Ring{o.key.Public()})
		c.later()
		if got := s.get(t, "/packages/Packages"); got.code != 200 {
			t.Errorf("after: %d", got.code)
		}
	})
	t.Run("wrong signature", func(t *testing.T) {
		for _, slot := range []string{"Manifest", "Manifest.next"} {
			name := filepath.Join(mount, "pkgsneak/buildhost", slot)
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			write(t, name, bytes.Replace(text, []byte("DATA packages/"),
				[]byte("DATA packagez/"), 1))
		}
		anybody := trusting(c, o.key)
		anybody.Untrusted = true
		if _, err := binhost.CheckDrive(mount, anybody); !errors.Is(err, manifest.ErrUntrusted) {
			t.Errorf("%v", err)
		}
		s := serve(t, binhost.Drive(mount, anybody), "", nil)
		if got := s.get(t, "/packages/Packages"); got.code != 404 {
			t.Errorf("it is served: %d", got.code)
		}
	})
}

func TestSeveralOrigins(t *testing.T) {
	one, two, three := newOrigin(t, "one", 0), newOrigin(t, "packages",
		0), newOrigin(t, "foreign", 1)
	mount, c := t.TempDir(), &clock{}
	for _, o := range []*origin{one, two, three} {
		o.packages["app-misc/a-1.tbz2"] = []byte("of " + o.name)
		o.distfiles["a.tar"] = []byte("source of " + o.name)
		o.export(t, mount)
	}
	s := serve(t, binhost.Drive(mount, trusting(c, one.key)), "", nil)
	for _, o := range []*origin{one, two} {
		wantBody(t, o.name, s.get(t, "/"+o.name+"/packages/app-misc/a-1.tbz2"), 200,
			[]byte("of "+o.name))
		wantBody(t, o.name, s.get(t, "/"+o.name+"/distfiles/a.tar"), 200,
			[]byte("source of "+o.name))
	}
	if got := s.get(t, "/foreign/packages/app-misc/a-1.tbz2"); got.code != 404 {
		t.Errorf("of an origin that is not trusted: %d", got.code)
	}
	if got := s.get(t, "/distfiles/a.tar"); got.code != 404 {
		t.Errorf("of no origin in particular: %d", got.code)
	}
	page := string(s.get(t, "/").body)
	for _, want := range []string{`href="/one/"`, `href="/packages/"`, "1 package, 6 B",
		"foreign</bdi> is not served"} {
		if !strings.Contains(page, want) {
			t.Errorf("the overview does not say %q:\n%s", want, page)
		}
	}
	if got := string(s.get(t, "/one/", "Host: h").body); !strings.Contains(got,
		"sync-uri = http://h/one/packages") {
		t.Errorf("the origin's page has another address:\n%s", got)
	}
}

// A new generation is served as soon as it is there, and a drive may go and come back.
func TestDriveChanges(t *testing.T) {
	o, c := newOrigin(t, "host", 0), &clock{}
	mount := filepath.Join(t.TempDir(), "usb")
	if err := os.Mkdir(mount, 0o755); err != nil {
		t.Fatal(err)
	}
	o.packages["app-misc/a-1.tbz2"] = []byte("a")
	o.export(t, mount)
	s := serve(t, binhost.Drive(mount, trusting(c, o.key)), "", nil)
	first := s.get(t, "/packages/Packages")
	wantBody(t, "a", s.get(t, "/packages/app-misc/a-1.tbz2"), 200, []byte("a"))
	o.packages["app-misc/b-1.tbz2"] = []byte("b")
	o.export(t, mount)
	c.later()
	if second := s.get(t, "/packages/Packages",
		"If-Modified-Since: "+first.header.Get("Last-Modified")); second.code != 200 ||
		!bytes.Contains(second.body, []byte("app-misc/b-1")) {
		t.Errorf("the second generation: %d\n%s", second.code, second.body)
	}
	wantBody(t, "b", s.get(t, "/packages/app-misc/b-1.tbz2"), 200, []byte("b"))

	if open := openBelow(t, mount); len(open) > 0 {
		t.Errorf("without a request the drive could not be unmounted: %q", open)
	}
	away := mount + "-away"
	if err := os.Rename(mount, away); err != nil {
		t.Fatal(err)
	}
	got := s.get(t, "/packages/app-misc/a-1.tbz2")
	if got.code != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("a drive that has just gone: %d", got.code)
	}
	c.later()
	for _, path := range []string{"/packages/Packages", "/"} {
		if got := s.get(t, path); got.code != 503 {
			t.Errorf("%s without a drive: %d", path, got.code)
		}
	}
	if err := os.Rename(away, mount); err != nil {
		t.Fatal(err)
	}
	c.later()
	wantBody(t, "back again", s.get(t, "/packages/app-misc/a-1.tbz2"), 200, []byte("a"))
}

// openBelow lists what this process has open below a directory.
func openBelow(t *testing.T, dir string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, dir) {
			open = append(open, to)
		}
	}
	return open
}

func TestCheckDriveNothing(t *testing.T) {
	if _, err := binhost.CheckDrive(t.TempDir(), trusting(&clock{})); !errors.Is(err,
		drive.ErrNoTree) {
		t.Errorf("a drive without a tree: %v", err)
	}
	if _, err := binhost.CheckDrive(filepath.Join(t.TempDir(), "none"),
		trusting(&clock{})); err == nil {
		t.Error("a drive that is not there is fine")
	}
}

// A download of a large file is answered while it is compared, not after.
func TestDriveStreams(t *testing.T) {
	o, mount := fullOrigin(t), t.TempDir()
	o.export(t, mount)
	s := serve(t, binhost.Drive(mount, trusting(&clock{}, o.key)), "", nil)
	c := dial(t, s.address)
	c.SetReadBuffer(128 << 10)
	fmt.Fprint(c, "GET /packages/app-misc/split-1.tbz2 HTTP/1.1\r\nHost: x\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := io.CopyN(&got, res.Body, 100_000); err != nil {
		t.Fatal(err)
	}
	// The part that was not read yet turns bad under the reader's feet: the last part of the
	// file lies behind what the kernel's buffers hold. The end of the file does not come.
	flip(t, filepath.Join(mount, "pkgsneak/buildhost"), lastPart(t, mount), -1)
	n, err := io.Copy(&got, res.Body)
	if want := len(o.packages["app-misc/split-1.tbz2"]); !errors.Is(err, io.ErrUnexpectedEOF) ||
		got.Len() >= want {
		t.Errorf("%d more bytes, %d of %d in all, %v", n, got.Len(), want, err)
	}
}

// lastPart is the name of the last part of the split package.
func lastPart(t *testing.T, mount string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(mount,
		"pkgsneak/buildhost/packages/app-misc/split-1*"))
	if err != nil || len(found) != 3 {
		t.Fatalf("the parts are %q, %v", found, err)
	}
	return filepath.Base(found[2])
}
