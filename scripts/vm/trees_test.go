package vm_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pkgsneak/scripts/vm"
	"pkgsneak/scripts/vm/disk"
	"pkgsneak/scripts/vm/wire"
)

// The places of ebuild repositories in the guest. That of the client lies on the disk whose power
// is cut.
const (
	hostConf   = "/t/hostconf"
	hostTree   = "/t/hosttree/gentoo"
	clientConf = "/t/clientconf"
	clientRepo = powerDir + "/c/repos"
)

// treeOf is an ebuild repository at some state: by path.
func treeOf(n int) map[string]string {
	files := map[string]string{
		"profiles/repo_name":   "gentoo\n",
		"metadata/layout.conf": "masters =\n",
		"metadata/timestamp.x": fmt.Sprintf("%d\n", 1777000000+n*86400),
	}
	for p := range 40 {
		name := fmt.Sprintf("app-misc/p%d/p%d-%d", p, p, n)
		files[name+".ebuild"] = strings.Repeat(fmt.Sprintf("# %s\n", name), 40+p)
		files[fmt.Sprintf("metadata/md5-cache/app-misc/p%d-%d", p, n)] = "EAPI=8\n"
	}
	return files
}

// ofConf lets a command read the configuration below a directory.
func ofConf(dir string, c wire.Command) wire.Command {
	c.Env = append(c.Env, "PORTAGE_CONFIGROOT="+dir)
	return c
}

// plantTree gives the guest's host a repository.
func plantTree(t testing.TB, m *vm.Machine, files map[string]string) {
	t.Helper()
	dir, err := os.MkdirTemp(theLab().share("."), "tree")
	ok(t, err)
	defer os.RemoveAll(dir)
	for name, text := range files {
		at := filepath.Join(dir, name)
		ok(t, os.MkdirAll(filepath.Dir(at), 0o755))
		ok(t, os.WriteFile(at, []byte(text), 0o644))
	}
	ok(t, m.Copy(t.Context(), wire.ShareDir+"/"+filepath.Base(dir), hostTree))
}

// treeClient is a client whose power is cut while it takes a repository.
type treeClient struct {
	*client
	trees [2]map[string][32]byte
}

// The power of a client fails while an ebuild repository takes the place of the one before: the old
// one or the new one has the name, whole, and the next import ends with the new one and leaves
// nothing behind but the one that it keeps. The same for the undo of that.
func TestPowerCutDuringExchange(t *testing.T) {
	for _, f := range clientFlavours {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			if !long() && f.kind != "ext4" {
				t.Skipf("NO TIME: %s=long has %s, too", modeVariable, f.kind)
			}
			m := borrow(t)
			s := newStick(t, m, flavours[1])
			furnish(t, m, sequence()[1])
			must[string](t)(m.Sh(t.Context(), fmt.Sprintf(
				"for c in %s %s; do mkdir -p $c/etc/portage; done; "+
					"printf '[gentoo]\nlocation = %s\n' >%s/etc/portage/repos.conf; "+
					"printf '[gentoo]\nlocation = %s/gentoo\n' >%s/etc/portage/repos.conf",
				hostConf, clientConf, hostTree, hostConf, clientRepo, clientConf)))
			c := &treeClient{client: &client{flavour: f, t: t, m: m}}
			for i, n := range []int{1, 2} {
				c.trees[i] = make(map[string][32]byte)
				for name, text := range treeOf(n) {
					c.trees[i][name] = sum([]byte(text))
				}
			}
			s.plug(false)
			c.export(1)
			c.settle()
			ok(t, m.Unmount(t.Context(), drive))
			ok(t, m.Mount(t.Context(), wire.Mount{Device: s.p.Device, Dir: drive, Type: s.kind}))
			c.export(2)
			c.replay("import", c.takes(), 1)
			c.below = append(c.below, whole("import"))
			c.replay("undo", ofConf(clientConf, wire.Command{Unnamed: true, Argv: []string{program,
				"undo", "--json", "--state-dir", clientDir + "/state", "--pkgdir",
				clientDir + "/pkgdir", "--distdir", clientDir + "/distdir"}}), 0)
			s.unplug()
		})
	}
}

func (c *treeClient) takes() wire.Command { return ofConf(clientConf, importCommand()) }

// export puts a state of the repository on the drive.
func (c *treeClient) export(n int) {
	c.t.Helper()
	must[string](c.t)(c.m.Sh(c.t.Context(),
		"rm -rf "+hostTree+"; mkdir -p "+filepath.Dir(hostTree)))
	plantTree(c.t, c.m, treeOf(n))
	if rep := tryCommand(c.t, c.m, ofConf(hostConf, exportCommand(program))); rep.Exit != 0 {
		c.t.Fatalf("the export of the tree ended with %d: %s", rep.Exit, rep.Error)
	}
}

// settle imports the drive's first generation onto a fresh disk.
func (c *treeClient) settle() {
	c.t.Helper()
	f, err := os.Open(c.format(c.t))
	ok(c.t, err)
	defer f.Close()
	offer(c.t, c.m, "client", must[disk.Log](c.t)(disk.Dump(f, c.mib<<20)))
	device := c.attach([]wire.Layer{whole("client")}, "settled")
	must[string](c.t)(c.m.Sh(c.t.Context(), fmt.Sprintf(
		"cp -a %s %s/state; mkdir %[2]s/pkgdir %[2]s/distdir %[2]s/repos", clientSeed, clientDir)))
	c.end("the first import", c.takes())
	if problem := c.shows(0, 0); problem != "" {
		c.t.Fatal(problem)
	}
	c.detach(device)
	c.below = []wire.Layer{whole("client"), whole("settled")}
}

func (c *treeClient) end(what string, command wire.Command) {
	c.t.Helper()
	if rep := tryCommand(c.t, c.m, command); rep.Exit != 0 {
		c.t.Fatalf("%s ended with %d: %s", what, rep.Exit, rep.Error)
	}
}

// replay records a command, and tries the states that a power cut can leave of it. Afterwards the
// client has the tree of that number.
func (c *treeClient) replay(name string, command wire.Command, last int) {
	c.t.Helper()
	device := c.attach(c.below, name)
	c.end("the recorded "+name, command)
	c.detach(device)
	log := must[disk.Log](c.t)(c.m.Log(c.t.Context(), name))
	rng := rand.New(rand.NewPCG(23, 29))
	p := sampler{8, 2, 6, c.unit, rng}
	if long() {
		p = sampler{0, 40, 120, c.unit, rng}
	}
	count, overdue := newTally(), share(cutShare/2)
	all := p.states(log, 0, len(log))
	for i, state := range spread(all) {
		if overdue() {
			c.t.Logf("%s: NO TIME for %d of %d states", c.name, len(all)-i, len(all))
			break
		}
		count.tried[state.Kind()]++
		if problem := c.try(name, state, command, last); problem != "" {
			count.bad[state.Kind()]++
			c.t.Errorf("%s, %s: state %v of %d: %s", c.name, name, state, len(log), problem)
		}
	}
	c.t.Logf("%s, %s: %d entries recorded; %v", c.name, name, len(log), count)
}

// try looks at the client after a power cut and lets it go on.
func (c *treeClient) try(name string, s disk.State, command wire.Command, last int) string {
	c.t.Helper()
	device := c.attach(append(slices.Clone(c.below), wire.Layer{Log: name, State: s}), "")
	defer c.detach(device)
	if problem := c.shows(0, 1); problem != "" {
		return problem
	}
	if rep := tryCommand(c.t, c.m, command); rep.Exit != 0 {
		return fmt.Sprintf("the %s after it ended with %d: %s", name, rep.Exit, rep.Error)
	}
	if problem := c.shows(last, last); problem != "" {
		return "after the next " + name + ": " + problem
	}
	list := must[string](c.t)(c.m.Sh(c.t.Context(), "ls -A "+clientRepo))
	for _, left := range strings.Fields(list) {
		if left != "gentoo" && !(last == 1 && left == ".gentoo.pkgsneak-undo") {
			return fmt.Sprintf("after the next %s %q is left", name, left)
		}
	}
	return ""
}

// shows compares what has the name with the trees from one number to another.
func (c *treeClient) shows(from, to int) string {
	got := make(map[string][32]byte)
	for _, f := range must[[]wire.File](c.t)(c.m.Tree(c.t.Context(), clientRepo+"/gentoo")) {
		if f.Err != "" {
			return f.Path + ": " + f.Err
		}
		got[f.Path] = f.Sum
	}
	for _, want := range c.trees[from : to+1] {
		if maps.Equal(got, want) {
			return ""
		}
	}
	return fmt.Sprintf("what has the name is neither tree: %d files, not %d", len(got),
		len(c.trees[to]))
}
