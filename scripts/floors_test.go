package scripts_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// The floors. A package imports packages of lower floors only, none of its own floor. A new one
// gets a line here.
var floors = map[string]int{
	// Tools for those who work on pkgsneak: programs of their own, which nothing imports.
	"scripts/bench":    8,
	"scripts/vm":       8,
	"scripts/vm/agent": 8,
	"scripts/vm/disk":  5,
	"scripts/vm/nbd":   6,
	"scripts/vm/wire":  6,

	"cmd/pkgsneak": 7,

	"sync/auto":      6,
	"sync/doctor":    6,
	"sync/roundtrip": 6,

	"sync/binhost":   5,
	"sync/exporter":  5,
	"sync/forget":    5,
	"sync/importer":  5,
	"sync/inspect":   5,
	"sync/requester": 5,
	"sync/undo":      5,

	"sync/clients":     4,
	"sync/drivewriter": 4,
	"sync/forecast":    4,
	"sync/reindex":     4,
	"sync/selection":   4,
	"sync/trust":       4,

	"sync/drive":   3,
	"sync/ebuilds": 3,
	"sync/pkgdir":  3,
	"sync/request": 3,
	"sync/resolve": 3,

	"sync/binpkg":   2,
	"sync/distdir":  2,
	"sync/layout":   2,
	"sync/state":    2,
	"sync/machine":  2,
	"sync/pkgindex": 2,
	"sync/volume":   2,

	"manifest":                 1,
	"scripts":                  1,
	"sync":                     1,
	"sync/cpu":                 1,
	"sync/cpv":                 1,
	"sync/depend":              1,
	"sync/digest":              1,
	"sync/durable":             1,
	"sync/emerge":              1,
	"sync/durable/durabletest": 2,
	"sync/fault":               1,
	"sync/listing":             1,
	"sync/payload":             1,
	"sync/pipeline":            1,
	"sync/portage":             1,
	"sync/progress":            1,
	"sync/pytext":              1,
	"sync/sandbox":             1,
	"sync/watch":               1,
}

// Packages that stand on another one of their floor: a level between the floors.
var levels = map[string][]string{
	"sync/depend": {"sync/cpv"},

	// Errors carry a class, on every floor, and a copy that can be interrupted has one reader.
	"sync/durable": {"sync/fault", "sync/pipeline"},
	"sync/watch":   {"sync/fault"},

	// A name on the drive follows the naming rule of packages, and the catalogue is an index.
	"sync/layout": {"sync/binpkg", "sync/pkgindex"},

	// A drive is no place in memory: which file systems are is in the table.
	"sync/machine": {"sync/volume"},

	// A request is what the resolver on the host takes for the client.
	"sync/request": {"sync/resolve"},

	// Files below a root have one way to be opened, a USE flag has one lexer, and how many
	// processors there are is known in one place.
	"sync/portage": {"sync/cpv", "sync/durable", "sync/fault", "sync/pipeline"},
}

// Packages for tests: any test may import them, and nothing else.
var testPackages = []string{"sync/durable/durabletest"}

// Each third-party package has its homes; a package that is not here has none. Tests may also use
// what testOnly names, anywhere.
var (
	homes = map[string][]string{
		"github.com/ProtonMail/go-crypto": {"manifest"},
		"github.com/dustin/go-humanize":   {"cmd/pkgsneak", "sync/binhost", "sync/fault"},
		"github.com/fsnotify/fsnotify":    {"sync/watch"},
		"github.com/klauspost/compress": {"scripts/bench", "sync/binhost", "sync/binpkg",
			"sync/ebuilds", "sync/layout", "sync/pkgindex"},
		"github.com/landlock-lsm/go-landlock": {"sync/sandbox"},
		"github.com/pierrec/lz4/v4":           {"sync/binhost", "sync/binpkg"},
		"github.com/google/jsonschema-go":     {"cmd/pkgsneak"},
		"github.com/rogpeppe/go-internal":     {"cmd/pkgsneak"},
		"github.com/ulikunitz/xz":             {"sync/binhost", "sync/binpkg"},
		"github.com/urfave/cli/v2":            {"cmd/pkgsneak"},
		"golang.org/x/crypto/blake2b":         {"scripts/bench", "sync/digest"},
		"golang.org/x/sys":                    anywhere,
		"golang.org/x/term":                   {"cmd/pkgsneak"},
	}
	testOnly = []string{"golang.org/x/crypto/blake2b", "github.com/landlock-lsm/go-landlock",
		"github.com/klauspost/compress", "github.com/ulikunitz/xz"}

	anywhere []string = nil
)

// topLevel are the names that may lie at the top of the tree beside names that begin with a dot.
var topLevel = []string{"CHANGELOG.md", "LICENSE", "README.md", "cmd", "go.mod", "go.sum",
	"manifest", "scripts", "sync", "testdata"}

// Folders whose names tell nothing of what is inside.
var forbiddenNames = []string{"common", "helpers", "types", "util", "utils"}

// cmdOnly are the names, by package, that only the command may touch: below cmd the clock, the
// environment, the arguments and the outputs are handed in.
var cmdOnly = map[string][]string{
	"fmt": {"Print", "Printf", "Println"},
	"os": {"Args", "Environ", "Exit", "Getenv", "Hostname", "LookupEnv", "Stderr",
		"Stdin", "Stdout"},
	"time": {"Now", "Since", "Until"},
	"log":  {"*"},
}

func TestFloors(t *testing.T) {
	tree := os.DirFS("..")
	broken, err := violations(tree, "pkgsneak")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range broken {
		t.Error(b)
	}
	if _, err := fs.Stat(tree, "cmd/pkgsneak/main.go"); err != nil {
		t.Errorf("the tree above this test is not the module: %v", err)
	}
}

// A checker that sees nothing passes every tree: each rule is broken once, in a tree of its own.
func TestFloorsSeesViolations(t *testing.T) {
	tests := []struct {
		name string
		tree map[string]string
		want string // "" expects a clean tree
	}{
		{"clean", map[string]string{
			"go.mod":                       "module pkgsneak",
			".gitignore":                   "/pkgsneak\n*.out\n",
			"pkgsneak":                     "a built program",
			"cpu.out":                      "a profile",
			"sync/exporter/export.go":      `package exporter; import ("io"; "pkgsneak/manifest"; "pkgsneak/sync/drive")`,
			"sync/exporter/export_test.go": `package exporter_test; import ("pkgsneak/sync/exporter"; "os"); var _ = os.Args`,
			"manifest/a_test.go":           `package manifest; import "pkgsneak/sync/durable/durabletest"`,
			"cmd/pkgsneak/main.go":         `package main; import ("os"; "pkgsneak/sync/exporter"; "github.com/urfave/cli/v2"); func main() { os.Exit(1) }`,
		}, ""},
		{"arrow upwards",
			map[string]string{"sync/drive/a.go": `package drive; import "pkgsneak/sync/exporter"`},
			"floor"},
		{"arrow upwards in a test",
			map[string]string{"sync/drive/a_test.go": `package drive_test; import "pkgsneak/sync/exporter"`}, "floor"},
		{"packages on one floor",
			map[string]string{"sync/drive/a.go": `package drive; import "pkgsneak/sync/pkgdir"`},
			"floor"},
		{"level between the floors",
			map[string]string{"sync/depend/a.go": `package depend; import "pkgsneak/sync/cpv"`},
			""},
		{"level upside down",
			map[string]string{"sync/cpv/a.go": `package cpv; import "pkgsneak/sync/depend"`},
			"floor"},
		{"manifest imports ours",
			map[string]string{"manifest/a.go": `package manifest; import "pkgsneak/sync/digest"`},
			"floor"},
		{"cmd imported",
			map[string]string{"sync/auto/a.go": `package auto; import "pkgsneak/cmd/pkgsneak"`},
			"floor"},
		{"cmd imported behind a build tag",
			map[string]string{"sync/auto/a.go": "//go:build ignore\n\npackage auto; import \"pkgsneak/cmd/pkgsneak\""}, "floor"},
		{"a package for tests",
			map[string]string{"sync/digest/a.go": `package digest; import "pkgsneak/sync/durable/durabletest"`}, "for tests only"},
		{"package without a floor",
			map[string]string{"sync/cache/a.go": `package cache`}, "no floor"},
		{"import of an unknown package",
			map[string]string{"sync/a.go": `package sync; import "pkgsneak/sync/cache"`},
			"no floor"},
		{"third party away from home",
			map[string]string{"sync/a.go": `package sync; import "github.com/urfave/cli/v2"`},
			"has its home"},
		{"third party below a module's path",
			map[string]string{"sync/a.go": `package sync; import "github.com/klauspost/compress/zstd"`}, "has its home"},
		{"third party without a home",
			map[string]string{"sync/a.go": `package sync; import "github.com/pkg/errors"`},
			"no home"},
		{"name that only begins alike",
			map[string]string{"cmd/pkgsneak/a.go": `package main; import "github.com/urfave/cli/v22"`}, "no home"},
		{"top-level folder", map[string]string{"internal/a.txt": ""}, "top level"},
		{"top-level file", map[string]string{"Makefile": ""}, "top level"},
		{"folder of odds and ends", map[string]string{"sync/drive/utils/a.txt": ""},
			"says nothing"},
		{"two packages called sync",
			map[string]string{"cmd/pkgsneak/a.go": `package main; import ("sync"; our "pkgsneak/sync")`}, "both"},
		{"clock below cmd",
			map[string]string{"sync/a.go": `package sync; import "time"; var t = time.Now`},
			"time.Now"},
		{"renamed import",
			map[string]string{"sync/a.go": `package sync; import sys "os"; func f() { sys.Exit(1) }`}, "os.Exit"},
		{"log below cmd",
			map[string]string{"sync/a.go": `package sync; import "log"; func f() { log.Fatal() }`},
			"log.Fatal"},
		{"dot import", map[string]string{"sync/a.go": `package sync; import . "time"`},
			"dot import"},
		{"not Go", map[string]string{"sync/a.go": `pakcage sync`}, "sync/a.go"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for name, text := range tt.tree {
				tree[name] = &fstest.MapFile{Data: []byte(text)}
			}
			broken, err := violations(tree, "pkgsneak")
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				if len(broken) > 0 {
					t.Fatalf("a clean tree is blamed: %q", broken)
				}
				return
			}
			if len(broken) != 1 || !strings.Contains(broken[0], tt.want) {
				t.Fatalf("got %q, want one line with %q", broken, tt.want)
			}
		})
	}
}

// violations walks the tree of a module and lists, a line each, what breaks the floors. It parses
// every Go file, whatever its build tags and whether it is a test.
func violations(tree fs.FS, module string) ([]string, error) {
	c := &checker{tree: tree, module: module}
	ignored, err := ignoredAtTop(tree)
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".":
			return nil
		case strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" && path.Dir(name) != ".":
			return skip(d)
		case path.Dir(name) == "." && matches(ignored, name):
			return skip(d)
		case path.Dir(name) == "." && !slices.Contains(topLevel, name):
			c.say("%s: not among the names of the top level", name)
			return skip(d)
		case name == "testdata":
			return skip(d)
		case d.IsDir() && slices.Contains(forbiddenNames, d.Name()):
			c.say("%s: a folder of this name says nothing about what is in it", name)
			return skip(d)
		case !d.IsDir() && path.Ext(name) == ".go":
			return c.file(name)
		}
		return nil
	})
	slices.Sort(c.broken)
	return slices.Compact(c.broken), err
}

func skip(d fs.DirEntry) error {
	if d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

type checker struct {
	tree   fs.FS
	module string
	broken []string
}

func (c *checker) say(format string, args ...any) {
	c.broken = append(c.broken, fmt.Sprintf(format, args...))
}

func (c *checker) file(name string) error {
	src, err := fs.ReadFile(c.tree, name)
	if err != nil {
		return err
	}
	f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
	if err != nil {
		c.say("%v", err)
		return nil
	}
	pkg := path.Dir(name)
	floor, ok := floors[pkg]
	if !ok {
		c.say("%s: the package has no floor", pkg)
		return nil
	}
	test := strings.HasSuffix(name, "_test.go")
	imports := map[string]string{} // name in this file -> path
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		switch local := localName(spec, p); {
		case local == "." && !test:
			c.say("%s: dot import of %s", name, p)
		default:
			imports[local] = p
		}
		c.arrow(name, pkg, floor, p, test)
	}
	if imports["sync"] != "" && hasBoth(f, c.module) {
		c.say("%s: imports both packages called sync", name)
	}
	if !test && floor < floors["cmd/pkgsneak"] {
		c.cmd(name, f, imports)
	}
	return nil
}

func localName(spec *ast.ImportSpec, p string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	return path.Base(p)
}

func hasBoth(f *ast.File, module string) bool {
	var std, ours bool
	for _, spec := range f.Imports {
		std = std || spec.Path.Value == `"sync"`
		ours = ours || spec.Path.Value == strconv.Quote(module+"/sync")
	}
	return std && ours
}

// arrow holds one import against the tables.
func (c *checker) arrow(name, pkg string, floor int, imported string, test bool) {
	if target, ours := strings.CutPrefix(imported, c.module+"/"); ours {
		below, ok := floors[target]
		switch {
		case target == pkg: // a test of the package from outside
		case !ok:
			c.say("%s: imports %s, which has no floor", name, target)
		case slices.Contains(testPackages, target):
			if !test {
				c.say("%s: imports %s, which is for tests only", name, target)
			}
		case below >= floor && !slices.Contains(levels[pkg], target):
			c.say("%s: on floor %d, imports %s on floor %d", name, floor, target, below)
		}
		return
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return // the standard library
	}
	owner, at, ok := home(imported)
	switch {
	case !ok:
		c.say("%s: imports %s, which has no home", name, imported)
	case at == nil || slices.Contains(at, pkg):
	case test && slices.Contains(testOnly, owner):
	default:
		c.say("%s: imports %s, which has its home in %s", name, imported,
			strings.Join(at, " and "))
	}
}

// home finds the entry of homes that an import path lies below.
func home(imported string) (owner string, at []string, ok bool) {
	for owner, at := range homes {
		if imported == owner || strings.HasPrefix(imported, owner+"/") {
			return owner, at, true
		}
	}
	return "", nil, false
}

// cmd reports what a file below cmd takes from the process instead of getting it handed in.
func (c *checker) cmd(name string, f *ast.File, imports map[string]string) {
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		id, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		pkg := imports[id.Name]
		if names := cmdOnly[pkg]; slices.Contains(names, sel.Sel.Name) ||
			slices.Contains(names, "*") {
			c.say("%s: uses %s.%s, which belongs to cmd", name, pkg, sel.Sel.Name)
		}
		return true
	})
}

// ignoredAtTop reads the patterns of .gitignore: what it names is not part of the tree. Only the
// simple ones are understood, which are all there are.
func ignoredAtTop(tree fs.FS) ([]string, error) {
	data, err := fs.ReadFile(tree, ".gitignore")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var patterns []string
	for line := range strings.Lines(string(data)) {
		if p := strings.Trim(strings.TrimSpace(line), "/"); p != "" && !strings.HasPrefix(p, "#") {
			patterns = append(patterns, p)
		}
	}
	return patterns, nil
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return ok && err == nil
	})
}
