package vm_test

import (
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pkgsneak/scripts/vm"
	"pkgsneak/scripts/vm/disk"
)

// mutant is pkgsneak with a step of the order of writes left out. It is built
// with go build -overlay: nothing of it is in the program that is shipped.
type mutant struct {
	name     string
	file     string // below the module
	old, new string // a piece of it, and what it becomes
	second   bool   // it shows in a run that follows a pull between the copies
}

var mutants = []mutant{
	{
		name: "without recover", file: "sync/drivewriter/writer.go", second: true,
		old: "w.recover, w.collectGarbage, func(",
		new: "w.collectGarbage, func(",
	},
	{
		name: "without the flush", file: "sync/drivewriter/session.go",
		old: "	if err := s.syncfs(); err != nil {\n		return err\n	}\n	return s.fsync(layout.NextManifestFile)\n}\n\nfunc (s *session) syncfs",
		new: "	return s.syncfs()\n}\n\nfunc (s *session) syncfs",
	},
	{
		name: "without the sync of parents", file: "sync/drivewriter/session.go",
		old: "		return unix.Syncfs(int(s.d.Top().Fd()))\n",
		new: "		_ = unix.Syncfs\n		return fs.WalkDir(s.root.FS(), \".\", func(name string, e fs.DirEntry, err error) error {\n			if err != nil || !e.Type().IsRegular() {\n				return err\n			}\n			return s.fsync(name)\n		})\n",
	},
	{
		name: "with a slot that is renamed into place", file: "sync/drivewriter/inplace.go",
		old: "	var f *os.File\n	err := s.do(\"overwrite\", name, func() (err error) {\n		f, err = durable.OpenFile(s.root, name, os.O_RDWR, 0)\n",
		new: "	if name != layout.PackagesFile {\n		return s.replace(name, fill)\n	}\n	var f *os.File\n	err := s.do(\"overwrite\", name, func() (err error) {\n		f, err = durable.OpenFile(s.root, name, os.O_RDWR, 0)\n",
	},
}

// extra is what a mutant needs beside its change.
var extra = map[string]string{"with a slot that is renamed into place": `
func (s *session) replace(name string, fill func(io.Writer) error) error {
	f, err := durable.OpenFile(s.root, name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if err = fill(f); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close(), s.root.Rename(name+".new", name)); err != nil {
		return err
	}
	return s.fsync(".")
}
`}

// source is the changed file.
func (m mutant) source() (string, error) {
	data, err := os.ReadFile(filepath.Join("../..", m.file))
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(data), m.old); n != 1 {
		return "", fmt.Errorf("%s has %d times what the mutant %q changes: it has to follow",
			m.file, n, m.name)
	}
	return strings.Replace(string(data), m.old, m.new, 1) + extra[m.name], nil
}

// The mutants fit the program as it is now.
func TestMutantsFit(t *testing.T) {
	for _, m := range mutants {
		src, err := m.source()
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, src, 0); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

// breed builds a mutant where the guest can see it, and puts it there.
func (m mutant) breed(t *testing.T, guest *vm.Machine) string {
	t.Helper()
	src, err := m.source()
	ok(t, err)
	dir := t.TempDir()
	changed := filepath.Join(dir, filepath.Base(m.file))
	ok(t, os.WriteFile(changed, []byte(src), 0o644))
	original, err := filepath.Abs(filepath.Join("../..", m.file))
	ok(t, err)
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	ok(t, err)
	list := filepath.Join(dir, "overlay.json")
	ok(t, os.WriteFile(list, overlay, 0o644))
	name := strings.ReplaceAll(m.name, " ", "-")
	ok(t, build(theLab().share(name), list, "../../cmd/pkgsneak"))
	must[string](t)(guest.Sh(t.Context(), "cp /lab/"+name+" /bin/"))
	return "/bin/" + name
}

// A test that cannot fail proves nothing: a step of the order left out shows as
// a bad state.
func TestMutantsAreCaught(t *testing.T) {
	for _, mu := range mutants {
		t.Run(mu.name, func(t *testing.T) {
			t.Parallel()
			m := borrow(t)
			bin := mu.breed(t, m)
			states := sequence()
			rng := rand.New(rand.NewPCG(7, 11))
			r := record(t, m, flavours[0], bin, states[:3])
			if mu.second {
				next, err := r.second(disk.State{Prefix: r.gens[2].committed}, 2, bin, states[2])
				ok(t, err)
				r = next
			}
			count, overdue := newTally(), share(mutantShare)
			for _, s := range spread(r.focus(rng, 4)) {
				if overdue() {
					t.Skipf("NO TIME to catch pkgsneak %s: %v", mu.name, count)
				}
				if problem := r.check(s, count); problem != "" {
					tried, _ := count.all()
					t.Logf("caught after %d states: %s", tried, problem)
					return
				}
			}
			t.Errorf("pkgsneak %s was not caught: %v", mu.name, count)
		})
	}
}
