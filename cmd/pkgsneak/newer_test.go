package main

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
)

// newerFormat is a file as a newer program could have left it.
type newerFormat struct {
	what string
	// whose state directory it is in, or whose key signs what is on the drive
	machine string
	// a pattern below the state directory or, after "usb/", below the drive's tree; PKGDIR stands
	// for the name of a cache of that
	file string
	// old is replaced by text; where old is "", the file is made
	old, text string
	fate      fate
}

type fate uint8

const (
	refused  fate = iota // with what to do; and it stays as it is
	replaced             // refused, until the machine has a newer one
	none                 // it counts as none, as a cache does
)

// A key that the archive does not have.
const someKey = "0123456789ABCDEF0123456789ABCDEF01234567"

var newerFormats = []newerFormat{
	{"memory", "client", "memory", `"version":1`, `"version":9`, refused},
	{"memory that tells more at once", "client", "memory", `"version":1`,
		`"version":9,"since":"x"`, refused},
	{"imports", "client", "imports/*", "imports 1", "imports 9", refused},
	{"pending", "client", "pending/E426DFB155C1399BA627BC685F11DA19B168707A.host.packages", "",
		"pkgsneak pending 9\tx\n", refused},
	{"decisions", "client", "decisions", "decisions 1", "decisions 9", refused},
	{"renewed", "client", "renewed", "", "pkgsneak renewed 9\tx\n", refused},
	{"replacing", "client", "replacing", "", "pkgsneak replacing 9\tx\n", refused},
	{"undo", "client", "undo", `"version":1`, `"version":9`, refused},
	{"undo that tells more at once", "client", "undo", `"version":1`, `"version":9,"since":"x"`,
		refused},
	{"accepted list", "client", "accepted/*", `"format":1`, `"format":9`, none},
	{"last request", "client", "client", "client 1", "client 9", none},
	{"repositories", "client", "repositories", `"format": 1`, `"format": 9`, refused},
	{"repositories of another shape", "client", "repositories", `"format": 1,`,
		`"format": 9, "here": 7,`, refused},
	{"client", "host", "clients/*/client", `"format":1`, `"format":9`, refused},
	{"client of another shape", "host", "clients/*/client", `"format":1`,
		`"format":9,"accepted":7`, refused},
	{"client that is damaged", "host", "clients/*/client", `"format":1,"name":"client"`,
		`"format":9,"name":"cl`, refused},
	{"stored request", "host", "clients/*/1*.json", `"format": 1`, `"format": 9`, replaced},
	{"drive", "host", "drives/*", `"format":1`, `"format":9`, none},
	{"catalogue", "host", "catalogues/*", `"format":1`, `"format":9`, none},
	{"offered client", "host", "offered/" + someKey, "", `{"format":9}`, none},
	{"forgotten client", "host", "forgotten/" + someKey, "", `{"format":9}`, none},
	{"digests", "host", "digests/PKGDIR", "", "pkgsneak digests 9\tx\n", none},
	{"refused packages", "host", "refused/PKGDIR", "", "pkgsneak refused 9\tx\n", none},
	{"damaged files", "host", "damaged", "damaged 1", "damaged 9", none},
	{"generation", "host", "usb/host/generation/*.json", `"format": 1`, `"format": 9`, refused},
	{"request", "client", "usb/clients/client/generation/2.json", `"format": 1`, `"format": 9`,
		refused},
}

// meetings are what the machines are asked to do where such a file is.
var meetings = map[string][]string{
	"client": {"status usb", "trust list", "verify usb", "import -p usb", "undo -p",
		"request -p usb", "doctor usb"},
	"host": {"status usb", "verify usb", "clients", "export -p usb", "export usb",
		"export --repair usb", "forget -p host usb"},
}

// destroys matches commands by which what a newer program wrote would be lost.
var destroys = regexp.MustCompile(
	`\b(rm|mv) |\bforget |--repair|writes it (again|anew)|clients accept|request once more`)

// A file of a newer program is not damaged: no message has a command by which it would be lost, one
// tells to use the newer pkgsneak, and the file stays.
func TestNewerFormats(t *testing.T) {
	for machine := range meetings {
		t.Run(machine, func(t *testing.T) {
			t.Parallel()
			p := storyParams()
			p.Dir, p.Files = "", []string{filepath.Join(formatsDir(t), "newer.txt")}
			p.Cmds["unpack"] = unpackCmd(filepath.Join(formatsDir(t), "2026-11-29.tar.gz"))
			p.Cmds["meet"] = func(ts *testscript.TestScript, neg bool, args []string) {
				wantArgs(ts, neg, args, 0)
				storyAs(ts, false, []string{machine})
				meetNewer(ts, t, machine)
			}
			testscript.Run(t, p)
		})
	}
}

// meetNewer runs the commands of a machine once without such files, and once with each.
func meetNewer(ts *testscript.TestScript, t *testing.T, machine string) {
	ts.Check(ts.Exec("sh", "-c", "mkdir kept && cp -a usb host client kept"))
	before := make(map[string]map[string]bool)
	for _, command := range meetings[machine] {
		before[command] = meeting(ts, command, nil)
	}
	for _, row := range newerFormats {
		if row.machine != machine && !strings.HasPrefix(row.file, "usb/") {
			continue
		}
		said := false
		for _, command := range meetings[machine] {
			changed := make(map[string]string)
			for line := range meeting(ts, command, func() { makeNewer(ts, row, changed) }) {
				if destroys.MatchString(line) && !before[command][line] {
					t.Errorf("%s: pkgsneak %s: %s", row.what, command, line)
				}
				said = said || strings.HasPrefix(line, "hint: ") &&
					strings.Contains(line, "newer pkgsneak")
			}
			for name, want := range changed {
				text, err := os.ReadFile(name)
				if row.fate == refused && (err != nil || string(text) != want) {
					t.Errorf("%s: pkgsneak %s: %s has changed: %v", row.what, command, name, err)
				}
			}
		}
		if !said && row.fate != none {
			t.Errorf("%s: nobody says that the newer pkgsneak is to be used", row.what)
		}
	}
}

// meeting runs a command on what was kept, and returns the lines that it prints.
func meeting(ts *testscript.TestScript, command string, change func()) map[string]bool {
	ts.Check(ts.Exec("sh", "-c", "rm -rf usb host client && cp -a kept/. ."))
	if change != nil {
		change()
	}
	_ = ts.Exec("pkgsneak", strings.Fields(command)...)
	lines := make(map[string]bool)
	for line := range strings.Lines(ts.ReadFile("stdout") + ts.ReadFile("stderr")) {
		lines[line] = true
	}
	return lines
}

// makeNewer changes the files of a row, and notes each one's text by its name.
func makeNewer(ts *testscript.TestScript, row newerFormat, changed map[string]string) {
	sum := digest.Bytes([]byte(ts.Getenv("PKGS")))
	pattern := filepath.Join(ts.Getenv("WORK"), row.machine, "var/lib/pkgsneak",
		strings.Replace(row.file, "PKGDIR", hex.EncodeToString(sum[:16]), 1))
	if below, onDrive := strings.CutPrefix(row.file, "usb/"); onDrive {
		pattern = ts.MkAbs(filepath.Join("usb/pkgsneak", below))
	}
	if row.old == "" {
		ts.Check(os.MkdirAll(filepath.Dir(pattern), 0o755))
		ts.Check(os.WriteFile(pattern, []byte(row.text), 0o644))
		changed[pattern] = row.text
		return
	}
	files, err := filepath.Glob(pattern)
	ts.Check(err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		ts.Check(err)
		if !bytes.Contains(text, []byte(row.old)) {
			ts.Fatalf("%s has no %q", file, row.old)
		}
		text = bytes.Replace(text, []byte(row.old), []byte(row.text), 1)
		ts.Check(os.WriteFile(file, text, 0o644))
		if strings.HasPrefix(row.file, "usb/") {
			signAgain(ts, file, text, row.machine)
		}
		changed[file] = string(text)
	}
	if len(files) == 0 {
		ts.Fatalf("there is no %s", pattern)
	}
}

// signAgain makes the list beside a record, by the key of a machine, one that has this record.
func signAgain(ts *testscript.TestScript, record string, text []byte, machine string) {
	dir := filepath.Dir(filepath.Dir(record))
	name := map[string]string{"host": "signing.asc", "client": "client.asc"}[machine]
	armor, err := os.ReadFile(filepath.Join(ts.Getenv("WORK"), machine, "var/lib/pkgsneak", name))
	ts.Check(err)
	key, err := manifest.ReadPrivateKey(armor)
	ts.Check(err)
	for _, copied := range []string{"Manifest", "Manifest.next"} {
		old, err := os.ReadFile(filepath.Join(dir, copied))
		ts.Check(err)
		signed, err := manifest.Open(append(bytes.TrimRight(old, "\n"), '\n'),
			manifest.Ring{key.Public()}, time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
		ts.Check(err)
		for i, f := range signed.Files {
			if filepath.Join(dir, f.Path) == record {
				signed.Files[i].Size, signed.Files[i].Sum = int64(len(text)),
					manifest.Digest(digest.Bytes(text))
			}
		}
		now, err := manifest.Sign(&signed.List, key, signed.SignedAt)
		ts.Check(err)
		ts.Check(os.WriteFile(filepath.Join(dir, copied),
			append(now, bytes.Repeat([]byte("\n"), max(0, len(old)-len(now)))...), 0o644))
	}
}
