package vm_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/scripts/vm"
	"pkgsneak/scripts/vm/wire"
)

// content is what a host has, or a client got: "pkgdir/CAT/PF.tbz2" or
// "distdir/NAME" -> SHA-256.
type content map[string][32]byte

// xpak makes a package as Portage did before GPKG: an image, then metadata.
func xpak(category, pf string, size int, seed uint64) []byte {
	payload := random(size, seed)
	var image bytes.Buffer
	z := gzip.NewWriter(&image)
	w := tar.NewWriter(z)
	w.WriteHeader(&tar.Header{Name: "./usr/share/" + pf, Mode: 0o644, Size: int64(len(payload))})
	w.Write(payload)
	w.Close()
	z.Close()
	var index, data []byte
	for _, kv := range [][2]string{{"CATEGORY", category}, {"PF", pf}, {"SLOT", "0"}, {"EAPI", "8"},
		{"KEYWORDS", "amd64"}, {"BUILD_TIME", fmt.Sprint(1700000000 + seed)}} {
		index = binary.BigEndian.AppendUint32(index, uint32(len(kv[0])))
		index = append(index, kv[0]...)
		index = binary.BigEndian.AppendUint32(index, uint32(len(data)))
		index = binary.BigEndian.AppendUint32(index, uint32(len(kv[1])+1))
		data = append(append(data, kv[1]...), '\n')
	}
	segment := []byte("XPAKPACK")
	segment = binary.BigEndian.AppendUint32(segment, uint32(len(index)))
	segment = binary.BigEndian.AppendUint32(segment, uint32(len(data)))
	segment = append(append(append(segment, index...), data...), "XPAKSTOP"...)
	file := append(image.Bytes(), segment...)
	file = binary.BigEndian.AppendUint32(file, uint32(len(segment)))
	return append(file, "STOP"...)
}

// random returns bytes that do not compress.
func random(n int, seed uint64) []byte {
	b := make([]byte, (n+7)&^7)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b[:n]
}

// payload is a file of a host: its path as in content, size and what it is
// made of.
type payload struct {
	path string
	size int
	seed uint64
}

func (p payload) bytes() []byte {
	rest, ok := strings.CutPrefix(p.path, "pkgdir/")
	if !ok {
		return random(p.size, p.seed)
	}
	return xpak(path.Dir(rest), strings.TrimSuffix(path.Base(rest), ".tbz2"), p.size, p.seed)
}

// plant writes files below a directory of the host and reports what is there.
func plant(t testing.TB, dir string, files []payload) content {
	t.Helper()
	c := make(content)
	for _, sub := range []string{"pkgdir", "distdir"} {
		ok(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	old := time.Unix(1_700_000_000, 0) // long enough ago to be remembered by size and time
	for _, f := range files {
		name, data := filepath.Join(dir, f.path), f.bytes()
		ok(t, os.MkdirAll(filepath.Dir(name), 0o755))
		ok(t, os.WriteFile(name, data, 0o644))
		ok(t, os.Chtimes(name, old.Add(time.Duration(f.seed)*time.Second),
			old.Add(time.Duration(f.seed)*time.Second)))
		c[f.path] = sum(data)
	}
	return c
}

func sum(data []byte) [32]byte { return sha256.Sum256(data) }

// sequence are the states of a host that are exported one after the other:
// packages and distfiles are added, rebuilt and removed, categories come.
func sequence() [][]payload {
	have := make(map[string]payload)
	seed := uint64(0)
	set := func(size int, paths ...string) {
		for _, p := range paths {
			seed++
			have[p] = payload{p, size + int(seed)*37, seed}
		}
	}
	var states [][]payload
	keep := func() {
		var files []payload
		for _, name := range slices.Sorted(maps.Keys(have)) {
			files = append(files, have[name])
		}
		states = append(states, files)
	}
	set(6000, "pkgdir/app-misc/hello-1.0.tbz2", "pkgdir/app-misc/world-2.0-r1.tbz2",
		"pkgdir/sys-apps/tool-0.9.tbz2")
	set(40_000, "distdir/hello-1.0.tar.gz")
	keep()
	set(3000, "pkgdir/dev-libs/libnew-1.2.3_p4-r5.tbz2",
		"pkgdir/sys-apps/tool-with-a-long-name-indeed-20240101.tbz2")
	set(150_000, "distdir/libnew-1.2.3.tar.xz")
	keep()
	set(7000, "pkgdir/app-misc/hello-1.0.tbz2") // rebuilt
	delete(have, "pkgdir/app-misc/world-2.0-r1.tbz2")
	delete(have, "distdir/hello-1.0.tar.gz")
	set(2000, "pkgdir/app-misc/another-one-4.4.4.tbz2")
	keep()
	set(5000, "pkgdir/net-misc/fetch-7.tbz2", "pkgdir/net-misc/fetch-8.tbz2",
		"pkgdir/sys-apps/tool-0.9.tbz2")
	set(20_000, "distdir/fetch-8.tar.gz")
	delete(have, "pkgdir/dev-libs/libnew-1.2.3_p4-r5.tbz2")
	keep()
	return states
}

// report is the last line of --json.
type report struct {
	Exit   int      `json:"exit"`
	Error  string   `json:"error"`
	Hints  []string `json:"hints"`
	Report struct {
		Serial    int64 `json:"serial"`
		Unchanged bool  `json:"unchanged"`
		Asked     []struct {
			Serial         int64
			State, Problem string
		} `json:"requests"`
		Origins []struct {
			Plan struct {
				Serial int64 `json:"serial"`
			} `json:"plan"`
			Serial     int64               `json:"serial"`
			LeftOut    []item              `json:"left_out"`
			Bad        []item              `json:"bad"`
			Stale      []any               `json:"stale"`
			Undeclared []any               `json:"undeclared"`
			Unreadable []item              `json:"unreadable"`
			Slots      []any               `json:"slots"`
			Problem    string              `json:"problem"`
			Files      struct{ Files int } `json:"files"`
		} `json:"origins"`
	} `json:"result"`
}

type item struct{ Path, Reason string }

// result reads the last line of what a run with --json printed.
func result(r wire.Result) (report, error) {
	var last report
	lines := strings.Split(strings.TrimSpace(string(r.Stdout)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		return last, fmt.Errorf("it ended with %d and printed %.300q, %.300q: %w", r.Code, r.Stdout,
			r.Stderr, err)
	}
	return last, nil
}

// The paths at which the guest keeps its hosts and clients.
const (
	hostState   = "/t/host/state"
	hostPkgdir  = "/t/host/pkgdir"
	hostDistdir = "/t/host/distdir"
	clientSeed  = "/t/client" // a state directory that trusts the host
	clientDir   = "/t/c"
	drive       = "/mnt"
	program     = "/bin/pkgsneak"
)

// exportCommand runs the host's export; bin is the program.
func exportCommand(bin string, more ...string) wire.Command {
	argv := []string{bin, "export", "--json", "--state-dir", hostState, "--pkgdir", hostPkgdir,
		"--distdir", hostDistdir, "--name", "host"}
	return wire.Command{Argv: append(append(argv, more...), drive), Unnamed: true}
}

func importCommand(more ...string) wire.Command {
	argv := []string{program, "import", "--json", "--state-dir", clientDir + "/state", "--pkgdir",
		clientDir + "/pkgdir", "--distdir", clientDir + "/distdir"}
	return wire.Command{Argv: append(append(argv, more...), drive), Unnamed: true}
}

func verifyCommand() wire.Command {
	return wire.Command{Argv: []string{program, "verify", "--json", "--state-dir",
		clientDir + "/state", drive}, Unnamed: true}
}

// freshClient are the directories of a client that has nothing yet.
func freshClient() []wire.Copy {
	return []wire.Copy{{From: clientSeed, To: clientDir + "/state"}, {To: clientDir + "/pkgdir"},
		{To: clientDir + "/distdir"}}
}

// settle makes a host with a key and a client that trusts it. The program is
// copied: a process whose pages come over the shared directory crawls.
func settle(t testing.TB, m *vm.Machine) {
	t.Helper()
	ctx := t.Context()
	script := "rm -rf /t/*; cp /lab/pkgsneak " + program + `; mkdir -p /mnt
pkgsneak key generate --state-dir ` + hostState + ` --name host
pkgsneak key --armor --state-dir ` + hostState + ` >/t/key.asc
pkgsneak key --json --state-dir ` + hostState
	var key struct{ Result struct{ Fingerprint string } }
	out := must[string](t)(m.Sh(ctx, script))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	ok(t, json.Unmarshal([]byte(lines[len(lines)-1]), &key))
	must[string](t)(m.Sh(ctx,
		"pkgsneak trust /t/key.asc --state-dir "+clientSeed+" --fingerprint "+key.Result.Fingerprint))
}

// received is what a client has, without the index.
func received(t testing.TB, trees [][]wire.File) content {
	t.Helper()
	c := make(content)
	for i, sub := range []string{"pkgdir", "distdir"} {
		for _, f := range trees[i] {
			if f.Err != "" {
				t.Errorf("the client's %s/%s: %s", sub, f.Path, f.Err)
			}
			if base := path.Base(f.Path); sub == "distdir" || base != "Packages" &&
				base != "Packages.gz" {
				c[sub+"/"+f.Path] = f.Sum
			}
		}
	}
	return c
}
