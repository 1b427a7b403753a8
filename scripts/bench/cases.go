package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// host is a pair of directories with a state of its own.
type host struct{ dir string }

func (h host) path(name string) string { return filepath.Join(h.dir, name) }

func (h host) flags() []string {
	return []string{"--pkgdir", h.path("packages"), "--distdir", h.path("distfiles"), "--state-dir",
		h.path("state"), "--no-progress"}
}

func (b *bench) host(name string) host { return host{filepath.Join(b.work, name)} }

func (b *bench) command(args []string, flags ...string) []string {
	return append(append([]string{b.program}, args...), flags...)
}

// quiet runs a command that is part of setting up, and leaves the page cache alone.
func (b *bench) quiet(args ...string) error {
	_, err := b.measure(contest{warm: true}, args, nil)
	return err
}

func shell(script string) []string { return []string{"sh", "-c", script} }

// cases are the rows of the table, in order. The directories of one are there for the next.
func (b *bench) cases() []contest {
	var all []contest
	all = append(all, b.indexCases()...)
	all = append(all, b.copyCases()...)
	all = append(all, b.unchangedCases()...)
	all = append(all, b.changedCases()...)
	all = append(all, b.manyCases()...)
	return append(all, b.startCases()...)
}

func emaint(h host) peer {
	return peer{"emaint binhost --fix", []string{"emaint", "binhost", "--fix"},
		[]string{"PKGDIR=" + h.path("packages")}, 0, nil}
}

// floor is a peer that makes the system calls of an index. The flags are its own: without -sums it
// does nothing with their results.
func (b *bench) floor(name string, goal float64, h host, flags ...string) peer {
	return peer{name, append(append([]string{b.self}, flags...), "-floor", h.path("packages")), nil,
		goal, nil}
}

// bash is a peer that is a line of shell, which starts programs that a machine may lack.
func bash(name string, goal float64, needs, script string, args ...any) peer {
	return peer{name, shell(fmt.Sprintf(script, args...)), nil, goal, strings.Fields(needs)}
}

// Goals: as fast, within a tenth, within twice the time, and what is left to a first export, which
// unpacks each package.
const (
	equal       = 1.0
	almost      = 0.9
	half        = 0.5
	firstExport = 0.55
)

func (b *bench) indexCases() []contest {
	var all []contest
	for _, f := range []format{gpkg, xpak, tbz2} {
		h, n := b.host("small-"+string(f)), 10_000/b.scale
		index := b.command([]string{"index"}, h.flags()...)
		noIndex := func() error { return removeAll(h.path("packages/Packages")) }
		all = append(all, contest{
			name: fmt.Sprintf("index, cold, %d small %s", n,
				strings.ToUpper(string(f))), by: cpu, warm: true,
			setup: func() error { return b.smallPackages(h, n, f) }, reset: noIndex,
			ours: index, peers: []peer{emaint(h),
				b.floor("its system calls alone", half, h, "-contents"),
				b.floor("its system calls, md5 and sha1", 0, h, "-contents", "-sums")},
		}, contest{
			name: fmt.Sprintf("index, nothing changed, %d %s", n,
				strings.ToUpper(string(f))), by: cpu, warm: true,
			setup: func() error { return cmp.Or(b.smallPackages(h, n, f), b.quiet(index...)) },
			ours:  index, peers: []peer{emaint(h), b.floor("its system calls alone", half, h)},
		})
	}
	h := b.large()
	return append(all, contest{
		name: fmt.Sprintf("index, cold, %s of packages", bytesText(b.size)), by: wall,
		setup: b.largePackages, reset: func() error {
			return removeAll(h.path("packages/Packages"))
		},
		ours: b.command([]string{"index"}, h.flags()...),
		peers: []peer{{"one pass of md5 and sha1", []string{b.self, "-hash", h.path("packages")},
			nil, almost, nil}},
	})
}

// lookedThrough is what the shell does to have of each package what a first export finds out: the
// sums that the signed list and the index have, that of a GPKG's image, and the names in the image.
// zstd complains about what follows the image of an XPAK.
func lookedThrough(dir string) string {
	const look = `for f; do b2sum "$f" && sha1sum "$f" || exit 1
case $f in
*.gpkg.tar) tar -xOf "$f" --wildcards "*/image.tar.zst" | b2sum &&
	tar -xOf "$f" --wildcards "*/image.tar.zst" | zstd -dcq | tar -t;;
*) zstd -dcq "$f" 2>/dev/null | tar -t;;
esac || exit 1; done`
	return fmt.Sprintf("find %s -name '*.*' ! -name Packages -type f -print0 | "+
		"xargs -0 -n 8 -P $(nproc) sh -c '%s' look >/dev/null", dir, look)
}

func bytesText(n int64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

func removeAll(names ...string) error {
	for _, name := range names {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

// smallPackages makes n packages of a few kilobytes.
func (b *bench) smallPackages(h host, n int, formats ...format) error {
	if _, err := os.Stat(h.dir); err == nil {
		return nil
	}
	return b.make(task{Seed: 1, PKGDIR: h.path("packages"), Small: n, Formats: formats})
}

func (b *bench) large() host { return b.host("large") }

// largePackages makes a PKGDIR of the usual sizes: most packages are small, most bytes are in large
// ones.
func (b *bench) largePackages() error {
	h := b.large()
	if _, err := os.Stat(h.dir); err == nil {
		return nil
	}
	err := b.make(task{Seed: 2, PKGDIR: h.path("packages"), Usual: 1500 / b.scale, Bytes: b.size,
		Formats: []format{gpkg, xpak}, DISTDIR: h.path("distfiles")})
	if err != nil {
		return err
	}
	return b.quiet(b.command([]string{"index"}, h.flags()...)...)
}

// copyCases are an export to an empty directory, the import of it, and reading it back.
func (b *bench) copyCases() []contest {
	h, drive, client := b.large(), b.host("drive"), b.host("client")
	size, src := bytesText(b.size), h.path("packages")
	export := b.command([]string{"export", drive.dir, "--any-directory",
		"--no-read-back"}, h.flags()...)
	imported := b.command([]string{"import", drive.dir}, client.flags()...)
	tree := filepath.Join(drive.dir, "pkgsneak")
	copyTo := func(to string) string {
		return fmt.Sprintf("mkdir -p %[2]s && cp -r %[1]s %[2]s/ && sync -f %[2]s", src, to)
	}
	copied := b.host("copied").dir
	fresh := func(dirs ...string) func() error {
		return func() error {
			if err := removeAll(dirs...); err != nil {
				return err
			}
			return os.MkdirAll(dirs[0], 0o755)
		}
	}
	exported := func() error {
		if err := fresh(drive.dir, copied)(); err != nil {
			return err
		}
		return b.quiet(export...)
	}
	reset := fresh(drive.dir, copied, h.path("state/memory"))
	firstEver := func() error {
		if err := removeAll(h.path("state/digests")); err != nil {
			return err
		}
		return reset()
	}
	copies := []peer{
		bash("cp -r; sync", almost, "", "%s", copyTo(copied)),
		bash("rsync -a; sync", equal, "rsync", "rsync -a %[1]s %[2]s/ && sync -f %[2]s", src, copied),
	}
	ready := func() error { // for a client that trusts the host
		if err := b.largePackages(); err != nil {
			return err
		}
		return cmp.Or(exported(), b.trust(h, drive, client))
	}
	firstCopies := []peer{bash("cp -r; sync", firstExport, "", "%s", copyTo(copied)), copies[1],
		bash("cp -r; sync; zstd, tar, b2sum and sha1sum of each on all processors", equal,
			"zstd b2sum sha1sum", "%s && %s", copyTo(copied), lookedThrough(src))}
	firstCopies[1].goal = 0
	return []contest{{
		name: "first export of " + size + ", no read-back", by: wall, also: []figure{cpu,
			memory}, setup: b.largePackages, reset: firstEver, ours: export, peers: firstCopies,
	}, {
		name: "export of " + size + " to one more drive, no read-back", by: wall,
		also:  []figure{cpu},
		setup: func() error { return errors.Join(b.largePackages(), reset(), b.quiet(export...)) },
		reset: reset, ours: export, peers: copies,
	}, {
		name: "import of " + size, by: wall, also: []figure{cpu, memory},
		setup: ready,
		reset: func() error {
			return removeAll(client.path("packages"), client.path("distfiles"),
				client.path("state/imports"), client.path("state/digests"),
				client.path("state/memory"), copied)
		},
		ours: imported,
		peers: append(copies, bash("rsync -a; b2sum -c", 2, "rsync b2sum",
			"cd %[1]s && find . -type f -print0 | xargs -0 b2sum >%[3]s/sums && rsync -a %[1]s %[2]s/ && sync -f %[2]s && cd %[2]s/packages && b2sum --quiet -c %[3]s/sums", src, copied, b.work)),
	}, {
		name: "verify of " + size, by: wall, also: []figure{cpu, memory},
		setup: func() error {
			if _, err := os.Stat(tree); err != nil {
				if err := ready(); err != nil {
					return err
				}
			}
			sums := fmt.Sprintf("cd %s && find . -type f -size +0 ! -name 'Manifest*' -print0 | xargs -0 b2sum >%s/tree-sums", tree, b.work)
			return b.quiet(shell(sums)...)
		},
		ours: b.command([]string{"verify", drive.dir}, "--state-dir", client.path("state"),
			"--no-progress"),
		peers: []peer{bash("b2sum -c on all processors", equal, "b2sum",
			"cd %[1]s && split -n r/$(nproc) %[2]s/tree-sums %[2]s/part- && for p in %[2]s/part-*; do b2sum --quiet -c $p & done; wait; rm %[2]s/part-*", tree, b.work)},
	}}
}

// trust lets a client take what a host exports.
func (b *bench) trust(h, drive, client host) error {
	key := filepath.Join(b.work, "key.asc")
	script := fmt.Sprintf("%[1]s key --armor --state-dir %[2]s >%[3]s && fpr=$(basename %[5]s/pkgsneak/keys/*.asc .asc) && %[1]s trust %[3]s --fingerprint $fpr --state-dir %[4]s",
		b.program, h.path("state"), key, client.path("state"), drive.dir)
	return b.quiet(shell(script)...)
}

// operation is a host, a drive and a client that are up to date.
type operation struct {
	b                      *bench
	packages, distfiles    int
	host, drive, client    host
	index, export, imports []string
	builds                 int
}

func (b *bench) operation(packages, distfiles int) *operation {
	name := func(what string) host {
		return b.host(fmt.Sprintf("%s-%d-%d", what, packages, distfiles))
	}
	j := &operation{b: b, packages: packages, distfiles: distfiles, host: name("host"),
		drive: name("drive"), client: name("client"), builds: 1}
	j.index = b.command([]string{"index"}, j.host.flags()...)
	j.export = b.command([]string{"export", j.drive.dir, "--any-directory"}, j.host.flags()...)
	j.imports = b.command([]string{"import", j.drive.dir}, j.client.flags()...)
	return j
}

func (j *operation) String() string {
	if j.distfiles == 0 {
		return fmt.Sprintf("%d packages", j.packages)
	}
	return fmt.Sprintf("%d packages, %d distfiles", j.packages, j.distfiles)
}

// make makes what the host has, unless it has it.
func (j *operation) make() error {
	if _, err := os.Stat(j.host.path("distfiles")); err == nil {
		return nil
	}
	if err := j.b.smallPackages(j.host, j.packages, gpkg, xpak); err != nil {
		return err
	}
	for _, dir := range []string{j.host.path("distfiles"), j.drive.dir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if j.distfiles == 0 {
		return nil
	}
	return j.b.make(task{Seed: 3, DISTDIR: j.host.path("distfiles"), Distfiles: j.distfiles})
}

// exported is make, and a drive that has all of it, which the client trusts.
func (j *operation) exported() error {
	if err := j.make(); err != nil {
		return err
	}
	if _, err := os.Stat(j.drive.path("pkgsneak")); err == nil {
		return nil
	}
	return cmp.Or(j.b.quiet(j.export...), j.b.trust(j.host, j.drive, j.client))
}

// imported is exported, and a client that has all of it.
func (j *operation) imported() error {
	if err := j.exported(); err != nil {
		return err
	}
	if _, err := os.Stat(j.client.path("packages")); err == nil {
		return nil
	}
	return j.b.quiet(j.imports...)
}

// run makes everything and brings it to the client, unless that has been done.
func (j *operation) run() error {
	if _, err := os.Stat(j.client.path("packages")); err == nil {
		return nil
	}
	if err := j.make(); err != nil {
		return err
	}
	for _, args := range [][]string{j.index, j.export} {
		if err := j.b.quiet(args...); err != nil {
			return err
		}
	}
	if err := j.b.trust(j.host, j.drive, j.client); err != nil {
		return err
	}
	// The first run after an import remembers what the clock was too close to before.
	for _, args := range [][]string{j.imports, j.imports, j.export} {
		if err := j.b.quiet(args...); err != nil {
			return err
		}
	}
	return nil
}

// rebuild gives the host another build of one package.
func (j *operation) rebuild() error {
	j.builds++
	if err := j.b.make(task{Seed: uint64(j.packages + j.builds), PKGDIR: j.host.path("packages"),
		Build: j.builds, Formats: []format{xpak}}); err != nil {
		return err
	}
	return j.b.quiet(j.index...)
}

// unchangedCases are about finding out that there is nothing to do.
func (b *bench) unchangedCases() []contest {
	j := b.operation(10_000/b.scale, 20_000/b.scale)
	rsync := func(to host) peer {
		return bash("rsync -a --dry-run", equal, "rsync", "rsync -a --dry-run %s %s %s/",
			j.host.path("packages"), j.host.path("distfiles"), to.dir)
	}
	return []contest{
		{name: "export, nothing changed, " + j.String(), by: wall, also: []figure{cpu},
			setup: j.run, ours: j.export, peers: []peer{rsync(j.client)}},
		{name: "import, nothing changed, " + j.String(), by: wall, also: []figure{cpu},
			setup: j.run, ours: j.imports, peers: []peer{rsync(j.client)}},
	}
}

// changedCases tell how the work for one package grows with what there is.
func (b *bench) changedCases() []contest {
	var all []contest
	for _, n := range []int{1_000, 5_000, 10_000, 50_000} {
		j := b.operation(n/b.scale, 0)
		limit := 0.0
		if n == 5_000 {
			limit = 0.5
		}
		all = append(all,
			contest{name: "export, one changed of " + j.String(), by: wall, warm: true,
				also: []figure{memory}, setup: j.run, reset: j.rebuild, limit: limit,
				ours: j.export},
			contest{name: "import, one changed of " + j.String(), by: wall, warm: true,
				also: []figure{memory}, setup: j.run, reset: func() error {
					if err := j.rebuild(); err != nil {
						return err
					}
					return b.quiet(j.export...)
				}, limit: limit, ours: j.imports},
		)
	}
	return all
}

// manyCases are about memory.
func (b *bench) manyCases() []contest {
	j := b.operation(50_000/b.scale, 1)
	anew := func() error {
		var names []string
		for _, name := range []string{"packages", "distfiles", "state/imports", "state/digests",
			"state/memory"} {
			names = append(names, j.client.path(name))
		}
		return removeAll(names...)
	}
	return []contest{{
		name: "index, cold, " + j.String(), by: memory, limit: mostMemory, once: true,
		setup: j.make, reset: func() error {
			return removeAll(j.host.path("packages/Packages"))
		}, ours: j.index,
	}, {
		name: "first export, " + j.String(), by: memory, limit: mostMemory, once: true,
		setup: j.make, reset: func() error {
			return errors.Join(removeAll(j.drive.dir, j.host.path("state/digests"),
				j.host.path("state/memory")), os.MkdirAll(j.drive.dir, 0o755))
		}, ours: j.export,
	}, {
		name: "export, nothing changed, " + j.String(), by: memory, limit: mostMemory, once: true,
		setup: j.exported, ours: j.export,
	}, {
		name: "first import, " + j.String(), by: memory, limit: mostMemory, once: true,
		setup: func() error {
			return cmp.Or(j.exported(), b.trust(j.host, j.drive, j.client))
		}, reset: anew,
		ours: j.imports,
	}, {
		name: "import, nothing changed, " + j.String(), by: memory, limit: mostMemory, once: true,
		setup: j.imported, ours: j.imports,
	}}
}

func (b *bench) startCases() []contest {
	return []contest{
		{name: "pkgsneak --version", by: wall, warm: true, limit: 0.01,
			ours: []string{b.program, "--version"}},
		{name: "status without anything", by: wall, warm: true, limit: 0.01,
			ours: []string{b.program, "status", "--state-dir", b.host("nothing").dir}},
	}
}
