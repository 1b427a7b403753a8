package scripts_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// Files are opened with O_LARGEFILE, without which 32-bit programs cannot open one of 2 GiB or
// more. os.Root and openat2 do not add it: below a root durable.OpenFile is the only way, and an
// unix.OpenHow names the flag.
func TestEveryFileMayBeLarge(t *testing.T) {
	found, err := smallOpens(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

func TestSmallOpensAreSeen(t *testing.T) {
	for name, row := range map[string]struct {
		source string
		want   int
	}{
		"field":     {`type d struct{ inner *os.Root }; func (x d) f() { x.inner.Open("a") }`, 1},
		"variable":  {`func f() { r, err := os.OpenRoot("a"); r.OpenFile("b", 0, 0); _ = err }`, 1},
		"parameter": {`func f(r, q *os.Root) { q.ReadFile("b"); r.Stat("b") }`, 1},
		"deeper":    {`func f(r *os.Root) { q, _ := r.OpenRoot("b"); q.Create("c") }`, 1},
		"as FS":     {`func f(r *os.Root) fs.FS { return r.FS() }`, 1},
		"openat2":   {`func f() { unix.Openat2(0, "a", &unix.OpenHow{Flags: unix.O_RDONLY}) }`, 1},
		"large": {
			`func f() { unix.Openat2(0, "a", &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_LARGEFILE}) }`, 0},
		"package": {
			`func f(r *os.Root) { os.Open("a"); drive.Open("b"); durable.OpenFile(r, "c", 0, 0) }`,
			0},
	} {
		tree := fstest.MapFS{"sync/x.go": {Data: []byte("package x\n" + row.source + "\n")}}
		if found, err := smallOpens(tree); err != nil || len(found) != row.want {
			t.Errorf("%s: %v, %v; expected %d", name, found, err, row.want)
		}
	}
}

// smallOpens lists the places that open a file without O_LARGEFILE.
func smallOpens(tree fs.FS) (found []string, err error) {
	packages := make(map[string][]*ast.File)
	files := token.NewFileSet()
	for _, top := range []string{"cmd", "sync"} {
		err := fs.WalkDir(tree, top, func(name string, d fs.DirEntry, err error) error {
			switch {
			case os.IsNotExist(err):
				return nil
			case err != nil:
				return err
			case d.IsDir() || !strings.HasSuffix(name, ".go") ||
				strings.HasSuffix(name, "_test.go") ||
				name == "sync/durable/open.go":
				return nil
			}
			text, err := fs.ReadFile(tree, name)
			if err != nil {
				return err
			}
			f, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution)
			packages[path.Dir(name)] = append(packages[path.Dir(name)], f)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	for _, pkg := range packages {
		roots := rootNames(pkg)
		for _, f := range pkg {
			ast.Inspect(f, func(n ast.Node) bool {
				if opensSmall(n, roots) {
					found = append(found,
						fmt.Sprintf("%s: opened without O_LARGEFILE: use durable.OpenFile or OpenDir", files.Position(n.Pos())))
				}
				return true
			})
		}
	}
	slices.Sort(found)
	return found, nil
}

// rootNames collects the names that stand for an os.Root anywhere in a package: of fields,
// parameters and variables, and of what an OpenRoot is assigned to.
func rootNames(pkg []*ast.File) map[string]bool {
	roots := make(map[string]bool)
	for _, f := range pkg {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Field:
				if isRootType(n.Type) {
					for _, name := range n.Names {
						roots[name.Name] = true
					}
				}
			case *ast.ValueSpec:
				if isRootType(n.Type) {
					for _, name := range n.Names {
						roots[name.Name] = true
					}
				}
			case *ast.AssignStmt:
				call, ok := n.Rhs[0].(*ast.CallExpr)
				if ok && lastName(call.Fun) == "OpenRoot" &&
					!isOf(call.Fun, "durable", "OpenRoot") {
					roots[lastName(n.Lhs[0])] = true
				}
			}
			return true
		})
	}
	return roots
}

func isRootType(e ast.Expr) bool {
	star, ok := e.(*ast.StarExpr)
	return ok && isOf(star.X, "os", "Root")
}

// isOf reports whether an expression is a name of a package.
func isOf(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	return ok && s.Sel.Name == name && lastName(s.X) == pkg
}

func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func opensSmall(n ast.Node, roots map[string]bool) bool {
	switch n := n.(type) {
	case *ast.CallExpr:
		method, ok := n.Fun.(*ast.SelectorExpr)
		return ok && roots[lastName(method.X)] &&
			slices.Contains([]string{"Open", "OpenFile", "Create", "ReadFile", "WriteFile", "FS"},
				method.Sel.Name)
	case *ast.CompositeLit:
		if lastName(n.Type) != "OpenHow" {
			return false
		}
		large := false
		ast.Inspect(n, func(in ast.Node) bool {
			name, ok := in.(*ast.Ident)
			large = large || ok && name.Name == "O_LARGEFILE"
			return true
		})
		return !large
	}
	return false
}
