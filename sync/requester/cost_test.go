package requester

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/machine"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/progress"
)

// realMachine is a machine with so many installed packages, whose texts are as long as those of a
// real one and have as much in them: 1,200 packages of a desktop are 1.0 MB of the keys that a
// request tells, which zstd packs to 103 KB.
func realMachine(tb testing.TB, packages int) machine.Machine {
	tb.Helper()
	root := tb.TempDir()
	put := func(name, text string) {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text+"\n"), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	syllables := strings.Fields("ka lib x gst py the qt net son mar di lo re vim tor fen gnu sta mu el on ber cu kr ja")
	word := func() string {
		s := ""
		for range 2 + rng.IntN(3) {
			s += syllables[rng.IntN(len(syllables))]
		}
		return s
	}
	var flags []string
	for range 300 {
		flags = append(flags, word())
	}
	// few are in many lists, and many in few
	often := func(n int) int { return min(rng.IntN(n), rng.IntN(n), rng.IntN(n)) }
	some := func(n int) string {
		var list []string
		for range n {
			list = append(list, flags[often(len(flags))])
		}
		return strings.Join(list, " ")
	}
	// an eclass gives all its packages the same flags
	var shared []string
	for range 400 {
		shared = append(shared, some(rng.IntN(24)))
	}
	categories := strings.Fields("dev-libs dev-python x11-libs media-libs app-misc sys-apps net-misc")
	var names, versions, atoms, libs, world []string
	for i := range packages {
		name := categories[i%len(categories)] + "/" + word() + "q"
		version := fmt.Sprintf("%d.%d.%d", rng.IntN(9), rng.IntN(30), rng.IntN(9))
		names, versions = append(names, name), append(versions, version)
		atoms = append(atoms, []string{name, ">=" + name + "-" + version + ":0/" +
			version[:1] + "=",
			name + "[" + some(1) + "(-)?]", ">=" + name + "-" + version}[i%4])
		libs = append(libs, "lib"+name[strings.Index(name, "/")+1:]+".so."+version[:1])
	}
	for i, name := range names {
		var deps, needs []string
		for range min(i, rng.IntN(24)) {
			dep := often(i)
			deps, needs = append(deps, atoms[dep]), append(needs, libs[dep])
		}
		iuse := shared[often(len(shared))]
		dir := "var/db/pkg/" + name + "-" + versions[i] + "/"
		put(dir+"EAPI", "8")
		put(dir+"SLOT", "0/"+versions[i][:1])
		put(dir+"KEYWORDS", "alpha amd64 arm arm64 hppa ~loong ppc ppc64 ~riscv sparc x86")
		put(dir+"LICENSE", []string{"GPL-2", "MIT", "BSD LGPL-2.1+",
			"|| ( Apache-2.0 GPL-3 )"}[i%4])
		put(dir+"IUSE", iuse)
		put(dir+"USE", "abi_x86_64 amd64 elibc_glibc kernel_linux "+iuse)
		put(dir+"RDEPEND", strings.Join(deps, " "))
		put(dir+"BUILD_TIME", fmt.Sprint(1_600_000_000+rng.IntN(90_000_000)))
		put(dir+"repository", "gentoo")
		put(dir+"PROVIDES", "x86_64: "+libs[i])
		put(dir+"REQUIRES", "x86_64: libc.so.6 libm.so.6 "+strings.Join(needs[:len(needs)/2], " "))
		if i%4 == 0 {
			world = append(world, name)
		}
	}
	put("var/lib/portage/world", strings.Join(world, "\n"))
	put("etc/portage/make.conf",
		"ARCH=amd64\nCHOST=x86_64-pc-linux-gnu\nACCEPT_KEYWORDS=amd64\nACCEPT_LICENSE=*")
	settings, err := portage.Load(tb.Context(), portage.Options{Root: root})
	if err != nil {
		tb.Fatal(err)
	}
	return machine.Machine{Settings: settings, Hostname: "attic", StateDir: tb.TempDir(),
		PKGDIR: tb.TempDir(), DISTDIR: tb.TempDir(), Now: func() time.Time { return epoch }}
}

// The request of a machine with 1,200 packages that wants 140 more has less than 150 KB.
func TestSizeOfRequest(t *testing.T) {
	m := realMachine(t, 1200)
	var wishes []string
	for i := range 140 {
		wishes = append(wishes, fmt.Sprintf(">=dev-libs/lacking-%d-with-a-name-%d.%d.%d:0/%d[ssl]",
			i, i%9, i%30, i%7, i%5))
	}
	r, err := Request(t.Context(), m, Options{Pretend: true, Wishes: wishes}, nil)
	if err != nil {
		t.Fatal(err)
	}
	told := r.Record.Installed
	t.Logf("%d packages, %d bytes of them, %d bytes are carried, %d of them the record",
		told.Packages, told.Bytes, r.Bytes, len(r.Text))
	list := r.Bytes - int64(len(r.Text))
	if told.Packages < 1150 || told.Bytes < 1_000_000 || list < 103_000 {
		t.Fatalf("the machine is smaller than a real one: %+v, packed to %d bytes", told, list)
	}
	if r.Bytes >= 150_000 {
		t.Errorf("the request has %d bytes", r.Bytes)
	}
}

// BenchmarkRequest makes that request.
func BenchmarkRequest(b *testing.B) {
	m := realMachine(b, 1200)
	for b.Loop() {
		if _, err := Request(b.Context(), m, Options{Pretend: true},
			progress.Watcher(nil)); err != nil {
			b.Fatal(err)
		}
	}
}
