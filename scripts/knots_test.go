package scripts_test

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// How large a type and a knot of files may be. A knot is a largest set of files of one package in
// which each refers to each, directly or by way of others: none of them can be read alone.
const (
	mostMethods = 35 // of one type
	mostKnot    = 6  // files
	mostKnotCmd = 10 // files of cmd/pkgsneak
)

// Each package is read alone and from outside, and so is each type.
func TestKnotsAndLargeTypes(t *testing.T) {
	sizes, err := measure("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(sizes) < 20 {
		t.Fatalf("only %d packages were found", len(sizes))
	}
	var types []typeSize
	for _, s := range sizes {
		types = append(types, s.types...)
		bound := mostKnot
		if s.path == "cmd/pkgsneak" {
			bound = mostKnotCmd
		}
		hold(t, "the knot of files in "+s.path, len(s.knot), bound, strings.Join(s.knot, " "))
	}
	for _, ts := range types {
		hold(t, "the number of methods of "+ts.name, ts.methods, mostMethods, "")
	}
	slices.SortFunc(types, func(a, b typeSize) int { return b.methods - a.methods })
	for _, ts := range types[:5] {
		t.Logf("%3d methods: %s", ts.methods, ts.name)
	}
	slices.SortFunc(sizes, func(a, b packageSize) int { return len(b.knot) - len(a.knot) })
	for _, s := range sizes[:8] {
		t.Logf("%3d files in one knot: %s: %s", len(s.knot), s.path, strings.Join(s.knot, " "))
	}
}

// A measure that sees nothing holds nothing: a circle by way of a type, a method and a variable is
// one, and local names, fields of others and comments are no arrows.
func TestMeasureSeesKnots(t *testing.T) {
	for _, tt := range []struct {
		name    string
		files   map[string]string
		knot    string
		methods int
	}{
		{"a chain", map[string]string{"a.go": "func A() { B() }", "b.go": "func B() { C() }",
			"c.go": "func C() {}"}, "", 0},
		{"a circle", map[string]string{"a.go": "func A() { B() }",
			"b.go": "var B = func() { var _ C }", "c.go": "type C struct{}; func (C) M() { A() }"},
			"a.go b.go c.go", 1},
		{"a circle by a method and a field",
			map[string]string{"a.go": "type A struct{ f int }; func g(a A) { a.m() }",
				"b.go": "func (a A) m() { _ = a.f }"}, "a.go b.go", 1},
		{"two small circles", map[string]string{"a.go": "func A() { B() }",
			"b.go": "func B() { A(); C() }", "c.go": "func C() { D() }",
			"d.go": "func D() { C() }"}, "c.go d.go", 0},
		{"a local name", map[string]string{"a.go": "func A() { B() }",
			"b.go": "func B() { A := 1; _ = A }"}, "", 0},
		{"names of another package", map[string]string{"a.go": "import \"x/y\"\nfunc A() { y.B() }",
			"b.go": "func B() { A() }"}, "", 0},
		{"a test", map[string]string{"a.go": "func A() {}", "a_test.go": "func B() { A() }"}, "",
			0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte("package p\n"+text+"\n"),
					0o600); err != nil {
					t.Fatal(err)
				}
			}
			sizes, err := measure(dir)
			if err != nil || len(sizes) != 1 {
				t.Fatalf("%v, %d packages", err, len(sizes))
			}
			knot := strings.Join(sizes[0].knot, " ")
			if tt.knot == "" && len(sizes[0].knot) != 1 || tt.knot != "" && knot != tt.knot {
				t.Errorf("the knot is %q, want %q", knot, tt.knot)
			}
			methods := 0
			for _, ts := range sizes[0].types {
				methods += ts.methods
			}
			if methods != tt.methods {
				t.Errorf("%d methods, want %d", methods, tt.methods)
			}
		})
	}
}

// hold compares a size with its bound.
func hold(t *testing.T, what string, size, bound int, more string) {
	t.Helper()
	if size > bound {
		t.Errorf("%s is %d, at most %d: %s", what, size, bound, more)
	}
}

type packageSize struct {
	path string
	// base names of the files of the largest one, sorted; one file where there is none
	knot  []string
	types []typeSize
}

type typeSize struct {
	name    string // package path and type
	methods int    // declared on it, not promoted
}

// measure reads the packages of the module in dir, without their tests. Names are resolved with
// package types, where imports stand for nothing: a local name is no arrow, and neither is a field
// or a method of what another package declares.
func measure(dir string) ([]packageSize, error) {
	var sizes []packageSize
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if base := d.Name(); name != dir && (strings.HasPrefix(base, ".") || base == "testdata") {
			return fs.SkipDir
		}
		p, err := build.ImportDir(name, 0)
		if _, none := err.(*build.NoGoError); none {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		size, err := measurePackage(name, filepath.ToSlash(rel), p.GoFiles)
		sizes = append(sizes, size)
		return err
	})
	return sizes, err
}

func measurePackage(dir, rel string, names []string) (packageSize, error) {
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return packageSize{}, err
		}
		files = append(files, f)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{}}
	conf := types.Config{Importer: blanks{}, Error: func(error) {}, FakeImportC: true}
	// what an import would have told is unknown, and nothing else is
	pkg, _ := conf.Check(rel, fset, files, info)
	fileOf := func(pos token.Pos) string { return filepath.Base(fset.Position(pos).Filename) }
	arrows := map[string]map[string]bool{}
	for id, obj := range info.Uses {
		if obj.Pkg() != pkg || !ofPackage(obj) {
			continue
		}
		from, to := fileOf(id.Pos()), fileOf(obj.Pos())
		if arrows[from] == nil {
			arrows[from] = map[string]bool{}
		}
		arrows[from][to] = from != to
	}
	size := packageSize{path: rel, knot: largestKnot(names, arrows)}
	for _, name := range pkg.Scope().Names() {
		if n, ok := pkg.Scope().Lookup(name).(*types.TypeName); ok && !n.IsAlias() {
			if named, ok := n.Type().(*types.Named); ok && named.NumMethods() > 0 {
				size.types = append(size.types, typeSize{rel + "." + name, named.NumMethods()})
			}
		}
	}
	return size, nil
}

// blanks imports every package as one without names.
type blanks struct{}

func (blanks) Import(name string) (*types.Package, error) {
	p := types.NewPackage(name, path.Base(name))
	p.MarkComplete()
	return p, nil
}

// ofPackage tells what the package declares, its methods and fields included, from a local name.
func ofPackage(obj types.Object) bool {
	switch o := obj.(type) {
	case *types.Func:
		return true
	case *types.Var:
		return o.IsField() || o.Parent() == o.Pkg().Scope()
	}
	return obj.Parent() == obj.Pkg().Scope()
}

// largestKnot is the largest strongly connected set of files (Tarjan).
func largestKnot(files []string, arrows map[string]map[string]bool) []string {
	index, low, on := map[string]int{}, map[string]int{}, map[string]bool{}
	var stack, largest []string
	var visit func(string)
	visit = func(f string) {
		index[f], low[f] = len(index)+1, len(index)+1
		stack, on[f] = append(stack, f), true
		for to, real := range arrows[f] {
			switch {
			case !real:
			case index[to] == 0:
				visit(to)
				low[f] = min(low[f], low[to])
			case on[to]:
				low[f] = min(low[f], index[to])
			}
		}
		if low[f] != index[f] {
			return
		}
		at := slices.Index(stack, f)
		knot := slices.Clone(stack[at:])
		stack = stack[:at]
		for _, k := range knot {
			on[k] = false
		}
		if slices.Sort(knot); len(knot) > len(largest) {
			largest = knot
		}
	}
	for _, f := range files {
		if index[f] == 0 {
			visit(f)
		}
	}
	return largest
}
