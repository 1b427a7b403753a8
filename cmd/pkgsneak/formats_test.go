package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// keepFormats names the archive that TestKeepFormats writes, of what the program of today leaves on
// a drive and in state directories: its year and month, where a format has changed since the last
// one. Archives are never written anew.
const keepFormats = "PKGSNEAK_KEEP_FORMATS"

// withoutTrees is the archive in which no ebuild repository travels.
const withoutTrees = "2026-11.tar.gz"

// formatsPlace stands in an archive for the directory of the story, which no two runs share.
const formatsPlace = "/place/of/the/story"

// movedTo rewrites the names of directories in the state of the machines.
func movedTo(ts *testscript.TestScript, from, to string) {
	for _, machine := range formatRoots {
		for _, name := range []string{"memory", "undo", "repositories"} {
			path := ts.MkAbs(filepath.Join(machine, "var/lib/pkgsneak", name))
			text, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			ts.Check(err)
			ts.Check(os.WriteFile(path, []byte(strings.ReplaceAll(string(text), from, to)), 0o600))
		}
	}
}

// formatRoots are the directories of an archive.
var formatRoots = []string{"usb", "host", "client"}

func formatsDir(t *testing.T) string {
	dir, err := filepath.Abs(filepath.Join("testdata", "formats"))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestKeepFormats(t *testing.T) {
	version := os.Getenv(keepFormats)
	if version == "" {
		t.Skip("only where " + keepFormats + " names the archive")
	}
	archive := filepath.Join(formatsDir(t), version+".tar.gz")
	if _, err := os.Stat(archive); err == nil {
		t.Fatalf("%s is kept already", archive)
	}
	p := storyParams()
	p.Dir, p.Files = "", []string{filepath.Join(formatsDir(t), "make.txt")}
	p.Cmds["keep"] = func(ts *testscript.TestScript, neg bool, args []string) {
		wantArgs(ts, neg, args, 0)
		movedTo(ts, ts.Getenv("WORK"), formatsPlace)
		// Digests are a cache of files that have other inodes there.
		ts.Check(ts.Exec("tar", append([]string{"--create", "--gzip", "--file", archive,
			"--exclude=digests", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"},
			formatRoots...)...))
	}
	testscript.Run(t, p)
}

// TestOldFormats reads what earlier programs have left, and lets newer ones have left it.
func TestOldFormats(t *testing.T) {
	archives, err := filepath.Glob(filepath.Join(formatsDir(t), "*.tar.gz"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("SKIPPED: no tar in PATH")
	}
	for _, archive := range archives {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			p := storyParams()
			p.Dir, p.Files = "", []string{filepath.Join(formatsDir(t), "read.txt")}
			if filepath.Base(archive) != withoutTrees {
				p.Files = append(p.Files, filepath.Join(formatsDir(t), "trees.txt"))
			}
			p.Cmds["newer"] = newerCmd
			p.Cmds["unpack"] = unpackCmd(archive)
			testscript.Run(t, p)
		})
	}
}

// unpackCmd unpacks an archive where the story is.
func unpackCmd(archive string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		wantArgs(ts, neg, args, 0)
		ts.Check(ts.Exec("tar", "--extract", "--file", archive))
		movedTo(ts, formatsPlace, ts.Getenv("WORK"))
	}
}

// newerCmd COMMAND...: the command must end with 1, report that a newer pkgsneak wrote the file and
// what to do, and leave the state directory as it is.
func newerCmd(ts *testscript.TestScript, neg bool, args []string) {
	before := stateOf(ts)
	storyExits(ts, neg, append([]string{"1"}, args...))
	said := ts.ReadFile("stderr")
	for _, want := range []string{"state file", "a newer pkgsneak wrote it: format 9, ",
		"hint: use the newer pkgsneak"} {
		if !strings.Contains(said, want) {
			ts.Fatalf("%q is not said", want)
		}
	}
	if strings.Contains(said, "rm -") {
		ts.Fatalf("to remove what is not damaged is no hint")
	}
	if !maps.Equal(before, stateOf(ts)) {
		ts.Fatalf("the state directory has changed")
	}
}

// stateOf returns the texts of the machine's state directory.
func stateOf(ts *testscript.TestScript) map[string]string {
	texts := make(map[string]string)
	ts.Check(filepath.WalkDir(ts.Getenv("STATE"),
		func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			texts[path] = string(text)
			return err
		}))
	return texts
}

// The page about drives and formats has the numbers of today's code.
func TestFormatsPageIsCurrent(t *testing.T) {
	page, err := os.ReadFile("doc/drive.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file, number string // an expression for the number in the file
		row          string // and one for its row on the page; %s is the number
	}{
		{"sync/layout/record.go", `formatWhole = (\d+)`, `generation \| %s;`},
		{"sync/layout/record.go", `formatPart  = (\d+)`, `generation \| \d+; %s where`},
		{"sync/layout/facts.go", `FactsVersion += (\d+)`, `facts \| %s \|`},
		{"sync/request/record.go", `Format = (\d+)`, `request \| %s \|`},
		{"sync/request/code.go", `codeFormat  = (\d+)`, `receipt code \| %s \|`},
		{"sync/state/memory.go", `"pkgsneak memory", (\d+)`, `memory of a machine \| %s \|`},
		{"sync/state/imports.go", `imports", version: (\d+)`, `imports, pending \| %s \|`},
		{"sync/state/decisions.go", `version: (\d+)`, `decisions, .*\| %s \|`},
		{"sync/state/renew.go", `version: (\d+)`, `.*, renewed, .*\| %s \|`},
		{"sync/state/replace.go", `version: (\d+)`, `.*, replacing \| %s \|`},
		{"sync/state/undo.go", `undoPlain += (\d+)`, `undo \| %s;`},
		{"sync/state/undo.go", `undoVersion = (\d+)`, `undo \| \d+; %s where`},
		{"sync/state/accepted.go", `acceptedFormat = (\d+)`, `accepted list \| %s \|`},
		{"sync/ebuilds/notes.go", `notesFormat = (\d+)`, `ebuild repositories \| %s \|`},
		{"sync/clients/client.go", `const format = (\d+)`, `clients, drives \| %s \|`},
		{"sync/state/digests.go", `version: (\d+)`, `caches \| digests %s,`},
		{"sync/state/damaged.go", `version: (\d+)`, `caches .* damaged %s,`},
		{"sync/state/client.go", `version: (\d+)`, `caches .* client %s \|`},
		{"sync/state/refused.go", `version: (\d+)`, `cache of refused packages \| %s \|`},
		{"cmd/pkgsneak/json.go", `jsonFormat = (\d+)`, `--json \| %s \|`},
	} {
		code, err := os.ReadFile(filepath.Join("..", "..", c.file))
		if err != nil {
			t.Fatal(err)
		}
		number := regexp.MustCompile(c.number).FindSubmatch(code)
		if number == nil {
			t.Errorf("%s has no %s", c.file, c.number)
			continue
		}
		row := "(?m)^\\| " + fmt.Sprintf(c.row, number[1])
		if !regexp.MustCompile(row).Match(page) {
			t.Errorf("drive.md has no row %s: %s has the number %s", row, c.file, number[1])
		}
	}
}
