package selection

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"pkgsneak/sync/depend"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/resolve"
)

const mib = 1 << 20

// world is a client's machine and the host's catalogue after some weeks, as large as a real one: of
// 1,200 installed packages 279 are updated, 1.9 GiB. Nine bundles in ten are a single package, the
// median is 0.4 MiB and the largest of several packages has six; some libraries get a new sub-slot,
// and their users are rebuilt with them.
type world struct {
	installed, catalogue []resolve.Package
	size                 []int64
	// a package -> what has to come with it, as the world was made
	with  map[string][]string
	roots []depend.Atom
}

func makeWorld(seed int64) *world {
	const all, updates, total = 1200, 279, 1920 * mib
	rng := rand.New(rand.NewSource(seed))
	w := &world{with: make(map[string][]string)}
	name := func(i int) string { return fmt.Sprintf("cat-%c/p%d", 'a'+i%20, i) }
	newer := make(map[int]bool)
	bumped := make(map[int][]int) // a library with a new sub-slot -> its users
	deps := make([][]int, all)
	for i := range all {
		for range min(i, rng.Intn(5)) {
			deps[i] = append(deps[i], rng.Intn(i))
		}
	}
	for lib := 600; len(bumped) < 10; lib += 17 { // ten of one to four users
		for k := range 1 + len(bumped)%4 {
			bumped[lib] = append(bumped[lib], lib+1+k)
			newer[lib+1+k] = true
		}
		newer[lib] = true
	}
	for len(newer) < updates {
		newer[rng.Intn(all)] = true
	}
	user := make(map[int]int)
	for lib, list := range bumped {
		for _, u := range list {
			user[u] = lib
			w.with[name(lib)] = append(w.with[name(lib)], name(u))
		}
		for _, u := range list {
			w.with[name(u)] = append(slices.Clone(w.with[name(lib)]), name(lib))
		}
	}
	text := func(i, sub int) string {
		var list []string
		for _, j := range deps[i] {
			list = append(list, name(j))
		}
		if lib, ok := user[i]; ok {
			list = append(list, fmt.Sprintf("%s:0/%d=", name(lib), sub))
		}
		return strings.Join(list, " ")
	}
	var sum int64
	for i := range all {
		w.size = append(w.size, max(int64(math.Exp(rng.NormFloat64()*1.9)*0.4*mib), 20<<10))
		if newer[i] {
			sum += w.size[i]
		}
	}
	// compilers, browsers
	for large := int64(258 * mib); sum < total && large > 8*mib; large = large * 9 / 10 {
		for i := rng.Intn(all); ; i = rng.Intn(all) {
			if newer[i] && w.size[i] < 4*mib && user[i] == 0 && bumped[i] == nil {
				sum += large - w.size[i]
				w.size[i] = large
				break
			}
		}
	}
	for i := range all {
		p := resolve.Package{CPV: name(i) + "-1", Slot: "0", Sub: "1", EAPI: "8",
			RDepend: text(i, 1), BuildTime: 1000}
		w.installed = append(w.installed, p)
		a, err := depend.ParseAtom(name(i))
		if err != nil {
			panic(err)
		}
		w.roots = append(w.roots, a)
		if newer[i] {
			p.CPV, p.Sub, p.RDepend, p.BuildTime = name(i)+"-2", "2", text(i, 2), 2000+int64(i)
			if bumped[i] == nil {
				p.Sub = "1"
			}
		}
		w.catalogue = append(w.catalogue, p)
	}
	return w
}

func (w *world) input(room int64, clients ...Client) Input {
	in := Input{Room: room, Clients: clients, Only: true}
	for i, p := range w.catalogue {
		p.Size = w.size[i]
		in.Packages = append(in.Packages,
			Package{File{payload.Package, p.CPV + ".xpak", w.size[i], false}, p})
	}
	return in
}

func machine(in resolve.Input) func() *resolve.Input {
	return func() *resolve.Input { return &in }
}

func (w *world) client(name string) Client {
	return Client{Name: name, Machine: machine(resolve.Input{Installed: w.installed,
		World: w.roots})}
}

// lacks are the packages that are newer than what is installed and can be reached, as the resolver
// sees it: it is not what is tested here.
func (w *world) lacks(t testing.TB) map[string]int64 {
	r, err := resolve.Resolve(resolve.Input{Installed: w.installed, World: w.roots,
		Candidates: w.catalogue})
	if err != nil || !r.OK {
		t.Fatal(r.Trouble, err)
	}
	list := make(map[string]int64)
	for _, m := range r.Merges {
		list[m.Package.CPV] = w.size[m.Index]
	}
	return list
}

// reference is the order of the package comment for one client, written down without any care for
// time: the bundle with the fewest bytes a package that fits, again and again.
func (w *world) reference(lacks map[string]int64, room int64) map[string]bool {
	carried := make(map[string]bool)
	names := slices.Sorted(maps.Keys(lacks))
	for {
		best, least := []string(nil), math.Inf(1)
		for _, name := range names {
			if carried[name] {
				continue
			}
			bundle := []string{name}
			for _, other := range w.with[strings.TrimSuffix(name, "-2")] {
				if full := other + "-2"; lacks[full] > 0 && !carried[full] {
					bundle = append(bundle, full)
				}
			}
			var bytes int64
			for _, n := range bundle {
				bytes += lacks[n]
			}
			if each := float64(bytes) / float64(len(bundle)); bytes <= room && each < least {
				best, least = bundle, each
			}
		}
		if best == nil {
			return carried
		}
		for _, n := range best {
			carried[n] = true
			room -= lacks[n]
		}
	}
}

func carriedBy(p *Plan) map[string]bool {
	carried := make(map[string]bool)
	for _, g := range p.Groups {
		for _, f := range g.Files {
			carried[strings.TrimSuffix(f.Path, ".xpak")] = true
		}
	}
	return carried
}

// TestAgainstReference: on a drive that is too small the plan carries at least 0.95 of what the
// naive bundler carries, and all but one can be merged without the rest.
func TestAgainstReference(t *testing.T) {
	w := makeWorld(3)
	lacks := w.lacks(t)
	var total int64
	var sizes []int64
	single := 0
	for name, size := range lacks {
		total += size
		sizes = append(sizes, size)
		if w.with[strings.TrimSuffix(name, "-2")] == nil {
			single++
		}
	}
	slices.Sort(sizes)
	t.Logf("%d packages, %d MiB, %d%% alone, median %.2f MiB, largest %d MiB", len(lacks),
		total/mib, single*100/len(lacks), float64(sizes[len(sizes)/2])/mib, sizes[len(sizes)-1]/mib)
	if total < 1400*mib {
		t.Fatalf("the world is too small: %d MiB", total/mib)
	}
	for _, room := range []int64{50, 200, 600, 1200} {
		plan, err := Make(w.input(room*mib, w.client("attic")))
		if err != nil {
			t.Fatal(err)
		}
		carried, want := carriedBy(plan), w.reference(lacks, room*mib)
		var bytes int64
		var alone []resolve.Package
		for i, p := range w.catalogue {
			if carried[p.CPV] {
				bytes += w.size[i]
				alone = append(alone, p)
			}
		}
		r, err := resolve.Resolve(resolve.Input{Installed: w.installed, World: w.roots,
			Candidates: alone})
		if err != nil || !r.OK {
			t.Fatal(r.Trouble, err)
		}
		t.Logf("%4d MiB: carried %d of %d, reference %d, merged %d", room, len(carried), len(lacks),
			len(want), len(r.Merges))
		if len(carried)*100 < len(want)*95 || len(r.Merges) < len(carried)-1 || bytes > room*mib ||
			bytes != plan.Taken {
			t.Errorf("%d MiB: carried %d (%d bytes, the plan says %d), reference %d, merged %d",
				room, len(carried), bytes, plan.Taken, len(want), len(r.Merges))
		}
		if s := plan.Shares[0]; s.Packages != len(carried) || s.Packages+s.Stay != len(lacks) ||
			plan.Whole != total {
			t.Errorf("%d MiB: the share %+v, all %d, whole %d of %d", room, s, len(lacks),
				plan.Whole, total)
		}
	}
}

// TestFair: clients that lack different packages get as many bytes each, up to one bundle.
func TestFair(t *testing.T) {
	in := Input{Room: 300 * mib, Only: true}
	for c := range 3 {
		var wants resolve.Input
		for i := range 100 {
			name := fmt.Sprintf("cat-%d/p%d", c, i)
			p := resolve.Package{CPV: name + "-1", BuildTime: 5}
			in.Packages = append(in.Packages,
				Package{File{payload.Package, name, int64(2+c*3) * mib, false}, p})
			a, err := depend.ParseAtom(name)
			if err != nil {
				t.Fatal(err)
			}
			wants.World = append(wants.World, a)
		}
		in.Clients = append(in.Clients, Client{Name: fmt.Sprint("client-", c),
			Machine: machine(wants)})
	}
	plan, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range plan.Shares {
		if s.Bytes < 92*mib || s.Bytes > 108*mib {
			t.Errorf("%s gets %d MiB of 300", s.Client, s.Bytes/mib)
		}
	}
}

// TestShares: neither wishes nor claims of a client take the share of another one; a package that
// several need comes in its turn.
func TestShares(t *testing.T) {
	all := func(merges []resolve.Merge) map[string]bool {
		closing := make(map[string]bool)
		for _, m := range merges {
			closing[m.Package.CPV] = true
		}
		return closing
	}
	world := func(in *Input, category string, n int, size int64) (atoms []depend.Atom) {
		for i := range n {
			name := fmt.Sprintf("%s/p%d", category, i)
			in.Packages = append(in.Packages, pkg(name+"-1", size, 5, ""))
			atoms = append(atoms, atomList(t, name)...)
		}
		return atoms
	}
	for _, greed := range []string{"wishes", "security"} {
		in := Input{Room: 100, Only: true}
		greedy := Client{Name: "greedy", Machine: machine(resolve.Input{})}
		if list := world(&in, "cat-a", 100, 1); greed == "wishes" {
			greedy.Wishes = list
		} else {
			greedy.Machine, greedy.Closing = machine(resolve.Input{World: list}), all
		}
		modest := Client{Name: "modest",
			Machine: machine(resolve.Input{World: world(&in, "cat-b", 100, 1)})}
		in.Clients = []Client{greedy, modest}
		plan, err := Make(in)
		if err != nil {
			t.Fatal(err)
		}
		if s := plan.Shares; s[0].Bytes != 50 || s[1].Bytes != 50 {
			t.Errorf("%s: %+v", greed, s)
		}
		in.Room = 185 // more than the modest one needs
		in.Packages = slices.DeleteFunc(in.Packages, func(p Package) bool {
			return strings.HasPrefix(p.CPV, "cat-b/p9")
		})
		if plan, err = Make(in); err != nil || plan.Shares[0].Bytes != 96 ||
			plan.Shares[1].Bytes != 89 {
			t.Errorf("%s: room is left: %+v, %v", greed, plan.Shares, err)
		}
	}
	together := Input{Room: 100, Only: true}
	together.Clients = []Client{
		{Name: "greedy", Machine: machine(resolve.Input{System: world(&together, "cat-a", 90, 1)})},
		{Name: "modest", Machine: machine(resolve.Input{World: world(&together, "cat-b", 100, 1)})}}
	if plan, err := Make(together); err != nil || plan.Shares[1].Bytes < 50 {
		t.Errorf("one bundle of all: %+v, %v", plan.Shares, err)
	}
	in := Input{Room: 100, Only: true}
	large := world(&in, "cat-large", 1, 60)
	for c := range 5 {
		own := world(&in, fmt.Sprint("cat-", c), 20, 1)
		in.Clients = append(in.Clients, Client{Name: fmt.Sprint("client-", c),
			Machine: machine(resolve.Input{World: slices.Concat(large, own)}),
			Closing: func([]resolve.Merge) map[string]bool {
				return map[string]bool{"cat-large/p0-1": true}
			}})
	}
	plan, err := Make(in)
	if err != nil || !strings.HasPrefix(written(plan), "3:cat-large/p0-1 4:") {
		t.Errorf("what all need: %s, %v", written(plan), err)
	}
}

func pkg(cpv string, size int64, built int64, rdepend string) Package {
	return Package{File{payload.Package, cpv, size, false}, resolve.Package{CPV: cpv, Slot: "0",
		EAPI: "8", BuildTime: built, RDepend: rdepend, IUse: "ssl"}}
}

func atomList(t *testing.T, text string) []depend.Atom {
	t.Helper()
	var list []depend.Atom
	for _, word := range strings.Fields(text) {
		a, err := depend.ParseAtom(word)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
	}
	return list
}

// written is a plan's groups as text: level:file+file ...
func written(p *Plan) string {
	var list []string
	for _, g := range p.Groups {
		var files []string
		for _, f := range g.Files {
			files = append(files, f.Path)
		}
		slices.Sort(files)
		list = append(list, fmt.Sprintf("%d:%s", g.Level, strings.Join(files, "+")))
	}
	return strings.Join(list, " ")
}

// TestOrder: the seven levels in their order, and the order within the fourth.
func TestOrder(t *testing.T) {
	in := Input{Room: 100, Packages: []Package{
		pkg("a/cheap-2", 2, 9, ""), pkg("a/dear-2", 9, 9, ""), pkg("a/waits-2", 8, 9,
			""), pkg("a/safe-2", 7, 9, ""), pkg("a/wish-1", 6, 9, "a/lib"),
		pkg("a/lib-1", 5, 9, ""), pkg("app-portage/pkgsneak-2", 4, 9, ""), pkg("sys-libs/glibc-2",
			3, 9, ""), pkg("a/needs-2", 1, 9, ">=sys-libs/glibc-2"),
		pkg("a/old-1", 1, 3, ""), pkg("a/new-1", 1, 8, "a/old"), pkg("sys-apps/portage-2", 1, 9,
			""), pkg("a/future-1", 1, 2, "")},
		Distfiles: []File{{payload.Distfile, "big.tar", 5, false},
			{payload.Distfile, "small.tar", 1, false}, {payload.Distfile, "patch.tar", 1, false},
			{payload.Distfile, "wanted.tar", 9, false}, {payload.Distfile, "huge.tar", 90, false}},
		Extras: []File{{"program", "bin/linux-amd64/pkgsneak", 3, false}},
	}
	in.Packages[12].EAPI = "99"
	installed := []resolve.Package{}
	for _, n := range []string{"a/cheap-1", "a/dear-1", "a/waits-1", "a/safe-1",
		"app-portage/pkgsneak-1", "sys-libs/glibc-1", "a/needs-1", "sys-apps/portage-1"} {
		installed = append(installed, resolve.Package{CPV: n, Slot: "0", BuildTime: 1})
	}
	in.Clients = []Client{{Name: "attic", Wishes: atomList(t, "a/wish"),
		Distfiles: [][]string{{"huge.tar"}, {"wanted.tar", "nowhere.tar", "patch.tar"}},
		Machine: machine(resolve.Input{Installed: installed,
			World: atomList(t,
				"a/cheap a/dear a/waits a/safe app-portage/pkgsneak sys-libs/glibc a/needs sys-apps/portage"),
			Accept: func(p resolve.Package, _ bool) resolve.Reason {
				if p.EAPI == "99" {
					return resolve.Reason{Kind: resolve.Unreadable}
				}
				return resolve.Reason{}
			}}),
		Waited:  func(i int) int { return map[int]int{2: 3}[i] },
		Closing: func([]resolve.Merge) map[string]bool { return map[string]bool{"a/safe-2": true} },
	}}
	plan, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	want := "1:bin/linux-amd64/pkgsneak 1:sys-apps/portage-2 1:sys-libs/glibc-2 1:app-portage/pkgsneak-2 2:a/lib-1+a/wish-1 3:a/safe-2 4:a/waits-2 4:a/needs-2 4:a/cheap-2 4:a/dear-2 " +
		"5:patch.tar+wanted.tar 6:a/new-1 6:a/old-1 6:a/future-1 7:small.tar 7:big.tar"
	if got := written(plan); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	if s := plan.Shares[0]; s.Distfiles != 2 || s.Packages != 10 || s.Stay != 1 ||
		s.StayBytes != 90 || !slices.Contains(plan.Stay, Part{"attic", "huge.tar", 90}) {
		t.Errorf("%+v, %+v", s, plan.Stay)
	}
	in.Only = true
	plan, err = Make(in)
	if err != nil {
		t.Fatal(err)
	}
	if got := written(plan); strings.Contains(got, "6:") ||
		!strings.HasSuffix(got, "5:patch.tar+wanted.tar") {
		t.Errorf("only what is needed: %s", got)
	}
	in.Only, in.Clients[0].InTransit = false, func(i int) bool { return i == 1 || i == 5 }
	plan, err = Make(in)
	if err != nil {
		t.Fatal(err)
	}
	if got := written(plan); strings.Contains(got, "a/dear-2") ||
		!strings.Contains(got, "2:a/lib-1+a/wish-1") || plan.Shares[0].InTransit != 1 {
		t.Errorf("in transit: %s, %+v", got, plan.Shares)
	}
}

// TestNobodyKnown: without clients the newest packages come with what they need of the catalogue,
// and what does not fit whole is passed over.
func TestNobodyKnown(t *testing.T) {
	in := Input{Room: 10, Packages: []Package{pkg("a/large-1", 3, 9, "a/heavy"),
		pkg("a/heavy-1", 20, 1, ""), pkg("a/app-1", 2, 8, "a/lib"),
		pkg("a/lib-1", 3, 1, ""), pkg("a/alone-1", 1, 7, "")}}
	plan, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	if got := written(plan); got != "6:a/app-1+a/lib-1 6:a/alone-1" {
		t.Error(got)
	}
	if plan.Whole != 29 || plan.Taken != 6 || len(plan.Stay) != 2 ||
		plan.Stay[0].Name != "a/heavy-1" {
		t.Errorf("%+v", plan)
	}
}

// TestMinimal: of a client that told no more than what it has and wishes, wishes come with
// closures, less what it has.
func TestMinimal(t *testing.T) {
	in := Input{Room: 10, Only: true, Packages: []Package{pkg("a/wish-1", 2, 9, "a/lib a/had"),
		pkg("a/lib-1", 3, 1, ""), pkg("a/had-1", 90, 1, "")},
		Clients: []Client{{Name: "cellar", Wishes: atomList(t, "a/wish"), Has: func(i int) bool {
			return i == 2
		}}}}
	plan, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	if got := written(plan); got != "2:a/lib-1+a/wish-1" || plan.Shares[0].Packages != 1 {
		t.Errorf("%s %+v", got, plan.Shares)
	}
}

// TestLeave: what everybody has leaves first, what somebody lacks stays, and nothing leaves where
// there is room.
func TestLeave(t *testing.T) {
	in := Input{Room: 12, Packages: []Package{pkg("a/had-1", 4, 1, ""), pkg("a/had-2", 4, 2, ""),
		pkg("a/lacked-1", 4, 3, ""), pkg("a/new-1", 4, 9, "")},
		Clients: []Client{{Name: "attic", Has: func(i int) bool { return i < 2 },
			Machine: machine(resolve.Input{World: atomList(t, "a/lacked a/new")})}}}
	for i := range 3 {
		in.Packages[i].Held = true
	}
	plan, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	if got := written(plan); got != "4:a/lacked-1 4:a/new-1" {
		t.Error(got)
	}
	if len(plan.Leave) != 1 || plan.Leave[0].Path != "a/had-1" || plan.Leave[0].Reason != HadByAll {
		t.Errorf("leaves: %+v", plan.Leave)
	}
	in.Only = true // the clients are not all that there are
	if plan, err = Make(in); err != nil || len(plan.Leave) != 1 ||
		plan.Leave[0].Reason != HadByOne {
		t.Errorf("for one client leaves %+v, %v", plan.Leave, err)
	}
	in.Only, in.Room = false, 16
	if plan, err = Make(in); err != nil || len(plan.Leave) != 0 {
		t.Errorf("there is room for all: %+v, %v", plan.Leave, err)
	}
	in.Room = 4
	if plan, err = Make(in); err != nil || written(plan) != "4:a/lacked-1" ||
		len(plan.Leave) != 2 || len(plan.Stay) != 1 {
		t.Errorf("room for one: %s %+v %v", written(plan), plan, err)
	}
	in.Room = 3
	if plan, err = Make(in); err != nil || len(plan.TooLarge) != 2 {
		t.Errorf("room for none: %+v %v", plan.TooLarge, err)
	}
}

func TestTooManyClients(t *testing.T) {
	if _, err := Make(Input{Clients: make([]Client, MaxClients+1)}); err == nil {
		t.Error("no error")
	}
}

// BenchmarkMake plans for ten clients of 2,000 packages each.
func BenchmarkMake(b *testing.B) {
	w := makeWorld(3)
	for i := len(w.installed); i < 2000; i++ {
		p := resolve.Package{CPV: fmt.Sprintf("more-a/p%d-1", i), Slot: "0", EAPI: "8",
			BuildTime: 1000, RDepend: w.installed[i%1200].RDepend}
		w.installed, w.catalogue, w.size = append(w.installed, p), append(w.catalogue,
			p), append(w.size, mib)
	}
	var clients []Client
	for i := range 10 {
		clients = append(clients, w.client(fmt.Sprint("client-", i)))
	}
	in := w.input(200*mib, clients...)
	in.Only = false
	b.ReportAllocs()
	for b.Loop() {
		plan, err := Make(in)
		if err != nil || len(plan.Groups) == 0 {
			b.Fatal(err)
		}
		b.ReportMetric(float64(cmp.Or(plan.Shares[0].Packages, 0)), "packages")
	}
}

// crowd is a planner for clients that need the same packages, one in each bundle, on a drive with
// room for all of them.
func crowd(clients, packages int) *planner {
	in := &Input{Room: 1 << 40, Clients: make([]Client, clients)}
	var bundles []bundle
	for i := range packages {
		in.Packages = append(in.Packages, pkg(fmt.Sprintf("cat-a/p%d-1", i), mib, 5, ""))
		bundles = append(bundles, bundle{lead: i, files: []int{i}, level: Updates})
	}
	p := newPlanner(in)
	for range clients {
		p.needs = append(p.needs, need{known: true, bundles: bundles})
	}
	p.shareRoom()
	return p
}

// Bundles of which nothing is left to take do not queue: neither in the second round those of the
// first one, nor those that another client has taken.
func TestTakenDoesNotQueue(t *testing.T) {
	p := crowd(3, 10)
	p.taken[4] = true
	if n := newQueue(p, p.needs[0].bundles, Updates).Len(); n != 9 {
		t.Errorf("%d of 9 queue", n)
	}
	p.takeTurns(Updates, true)
	if n := newQueue(p, p.needs[0].bundles, Updates).Len(); n != 0 || len(p.plan.Groups) != 9 {
		t.Errorf("%d queue again, %d were taken", n, len(p.plan.Groups))
	}
}

// BenchmarkTakeTurns shares 5,000 packages among 100 clients that need all of them.
func BenchmarkTakeTurns(b *testing.B) {
	for b.Loop() {
		p := crowd(100, 5000)
		for _, shared := range []bool{true, false} {
			p.takeTurns(Updates, shared)
		}
		if len(p.plan.Groups) != 5000 {
			b.Fatal(len(p.plan.Groups))
		}
	}
}
