package vm_test

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pkgsneak/scripts/vm"
	"pkgsneak/scripts/vm/disk"
	"pkgsneak/scripts/vm/wire"
)

// The file systems that a client's PKGDIR lies on.
var clientFlavours = []flavour{
	{"client-ext4", "ext4", []string{"mkfs.ext4", "-q", "-F"}, 128, "", 4096, 0},
	{"client-xfs", "xfs", []string{"mkfs.xfs", "-q", "-f"}, 320, "", 4096, 0},
	{"client-btrfs", "btrfs", []string{"mkfs.btrfs", "-q", "-f"}, 192, "", 4096, 0},
}

// client is a machine whose power is cut while it imports: all it has lies on
// one disk.
type client struct {
	flavour
	t     testing.TB
	m     *vm.Machine
	below []wire.Layer
	log   disk.Log
	// known is every file that it may have: SHA-256 -> MD5, as the index has them.
	known map[[32]byte]string
}

// powerDir is where the client's disk is mounted, clientDir a link into it.
const powerDir = "/t/power"

// The power of a client fails while it imports: each entry of its index matches
// its file, and the next import ends with everything in place and nothing left
// over.
func TestPowerCutDuringImport(t *testing.T) {
	for _, f := range clientFlavours {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			m := borrow(t)
			states := sequence()
			s := newStick(t, m, flavours[1])
			furnish(t, m, states[1])
			s.plug(false)
			s.exported()
			c := &client{flavour: f, t: t, m: m, known: make(map[[32]byte]string)}
			c.learn(states[1])
			c.learn(states[2])
			c.prepare()
			want := furnish(t, m, states[2])
			ok(t, m.Unmount(t.Context(), drive))
			ok(t, m.Mount(t.Context(), wire.Mount{Device: s.p.Device, Dir: drive, Type: s.kind}))
			s.exported()
			c.record()
			rng := rand.New(rand.NewPCG(17, 19))
			p := sampler{10, 2, 6, f.unit, rng}
			if long() {
				p = sampler{0, 40, 120, f.unit, rng}
			}
			count, overdue := newTally(), share(cutShare)
			all := p.states(c.log, 0, len(c.log))
			for i, state := range spread(all) {
				if overdue() {
					t.Logf("%s: NO TIME for %d of %d states", f.name, len(all)-i, len(all))
					break
				}
				if i > 0 && i%50 == 0 {
					t.Logf("%s: %d of %d states; %v", f.name, i, len(all), count)
				}
				count.tried[state.Kind()]++
				if problem := c.check(state, want); problem != "" {
					count.bad[state.Kind()]++
					t.Errorf("%s: state %v of %d: %s", f.name, state, len(c.log), problem)
				}
			}
			t.Logf("%s: %d entries recorded; %v", f.name, len(c.log), count)
			s.unplug()
		})
	}
}

func (c *client) learn(files []payload) {
	for _, f := range files {
		data := f.bytes()
		c.known[sum(data)] = fmt.Sprintf("%x", md5.Sum(data))
	}
}

// attach mounts the client's disk as it is in a state, and makes it the
// client.
func (c *client) attach(layers []wire.Layer, record string) (device string) {
	c.t.Helper()
	ctx := c.t.Context()
	device = must[string](c.t)(c.m.Attach(ctx, wire.Attach{Size: c.mib << 20, Layers: layers,
		Record: record}))
	ok(c.t, c.m.Mount(ctx, wire.Mount{Device: device, Dir: powerDir, Type: c.kind,
		Options: c.options}))
	must[string](c.t)(c.m.Sh(ctx,
		"rm -rf "+clientDir+"; mkdir -p "+powerDir+"/c; ln -s "+powerDir+"/c "+clientDir))
	return device
}

func (c *client) detach(device string) {
	c.t.Helper()
	ok(c.t, c.m.Unmount(c.t.Context(), powerDir))
	ok(c.t, c.m.Detach(c.t.Context(), device))
}

// prepare imports the drive's first generation onto a fresh disk.
func (c *client) prepare() {
	c.t.Helper()
	f, err := os.Open(c.format(c.t))
	ok(c.t, err)
	defer f.Close()
	offer(c.t, c.m, "client", must[disk.Log](c.t)(disk.Dump(f, c.mib<<20)))
	device := c.attach([]wire.Layer{whole("client")}, "settled")
	must[string](c.t)(c.m.Sh(c.t.Context(),
		fmt.Sprintf("cp -a %s %s/state; mkdir %[2]s/pkgdir %[2]s/distdir", clientSeed, clientDir)))
	if rep := tryCommand(c.t, c.m, importCommand()); rep.Exit != 0 {
		c.t.Fatalf("the first import ended with %d: %s", rep.Exit, rep.Error)
	}
	c.detach(device)
	c.below = []wire.Layer{whole("client"), whole("settled")}
}

// record imports the drive's second generation, write by write.
func (c *client) record() {
	c.t.Helper()
	device := c.attach(c.below, "cut")
	if rep := tryCommand(c.t, c.m, importCommand("--prune")); rep.Exit != 0 {
		c.t.Fatalf("the recorded import ended with %d: %s", rep.Exit, rep.Error)
	}
	c.detach(device)
	c.log = must[disk.Log](c.t)(c.m.Log(c.t.Context(), "cut"))
}

// check looks at the client after a power cut and lets it go on.
func (c *client) check(s disk.State, want content) (problem string) {
	c.t.Helper()
	ctx := c.t.Context()
	device := c.attach(append(slices.Clone(c.below), wire.Layer{Log: "cut", State: s}), "")
	defer c.detach(device)
	if problem := c.checkIndex(); problem != "" {
		return problem
	}
	if rep := tryCommand(c.t, c.m, importCommand("--prune")); rep.Exit != 0 {
		return fmt.Sprintf("the import after it ended with %d: %s", rep.Exit, rep.Error)
	}
	got := clientTrees(c.t, c.m)
	// Portage's lock stays after a power cut, and does nobody harm
	delete(got, "pkgdir/.Packages.portage_lockfile")
	if !maps.Equal(got, want) {
		return "after the next import: " + difference(got, want)
	}
	if problem := c.checkIndex(); problem != "" {
		return "after the next import: " + problem
	}
	index := must[wire.Result](c.t)(c.m.Run(ctx,
		wire.Command{Argv: []string{program, "index", "--check", clientDir + "/pkgdir"}}))
	if index.Code != 0 {
		return fmt.Sprintf("after the next import index --check ended with %d: %s%s", index.Code,
			index.Stdout, index.Stderr)
	}
	return ""
}

// checkIndex compares each entry of the index with its file.
func (c *client) checkIndex() string {
	ctx := c.t.Context()
	data := must[[]byte](c.t)(c.m.Get(ctx, clientDir+"/pkgdir/Packages"))
	files := make(map[string]wire.File)
	for _, f := range must[[]wire.File](c.t)(c.m.Tree(ctx, powerDir+"/c/pkgdir")) {
		files[f.Path] = f
	}
	if !bytes.HasSuffix(data, []byte("\n")) {
		return fmt.Sprintf("the index of %d bytes is cut off", len(data))
	}
	var errs []error
	for block := range strings.SplitSeq(string(data), "\n\n") {
		entry := make(map[string]string)
		for line := range strings.Lines(block) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
				entry[key] = value
			}
		}
		if entry["CPV"] == "" {
			continue // the header
		}
		name := entry["PATH"]
		if name == "" {
			name = entry["CPV"] + ".tbz2"
		}
		f, there := files[name]
		if !there || strconv.FormatInt(f.Size, 10) != entry["SIZE"] ||
			c.known[f.Sum] != entry["MD5"] {
			errs = append(errs,
				fmt.Errorf("the index says %s has %s bytes, MD5 %s; the file: %t, %d bytes, MD5 %q",
					name, entry["SIZE"], entry["MD5"], there, f.Size, c.known[f.Sum]))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err.Error()
	}
	return ""
}
