package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// host is a pair of directories with a state of its own.
type host struct{ dir string }

func (h host) path(name string) string { return filepath.Join(h.dir, name) }

func (h host) flags() []string {
	return []string{"--pkgdir", h.path("packages"), "--distdir", h.path("distfiles"), "--state-dir", h.path("state"), "--no-progress"}
}

func (b *bench) host(name string) host { return host{filepath.Join(b.work, name)} }

func (b *bench) command(args []string, flags ...string) []string {
	return append(append([]string{b.program}, args...), flags...)
}

// quiet runs a command that is part of setting up.
func (b *bench) quiet(args ...string) error {
	_, err := b.measure(contest{}, args, nil)
	return err
}

func shell(script string) []string { return []string{"sh", "-c", script} }

// cases are the rows of the table, in order. The directories of one are there for the next.
func (b *bench) cases() []contest {
	var all []contest
	all = append(all, b.indexCases()...)
	all = append(all, b.copyCases()...)
	all = append(all, b.unchangedCases()...)
	return append(all, b.startCases()...)
}

func emaint(h host, goal float64) peer {
	return peer{"emaint binhost --fix", []string{"emaint", "binhost", "--fix"}, []string{"PKGDIR=" + h.path("packages")}, goal}
}

// bash is a peer that is a line of shell.
func bash(name string, goal float64, script string, args ...any) peer {
	return peer{name, shell(fmt.Sprintf(script, args...)), nil, goal}
}

// Goals: as fast, and within a tenth.
const (
	equal  = 1.0
	almost = 1 / 1.1
)

func (b *bench) indexCases() []contest {
	var all []contest
	for _, f := range []format{gpkg, xpak} {
		goal := 30.0
		if f == gpkg {
			goal = 100
		}
		h, n := b.host("small-"+string(f)), 10_000/b.scale
		index := b.command([]string{"index"}, h.flags()...)
		noIndex := func() error { return removeAll(h.path("packages/Packages")) }
		all = append(all, contest{
			name: fmt.Sprintf("index, cold, %d small %s", n, strings.ToUpper(string(f))), by: cpu, warm: true,
			setup: func() error { return b.smallPackages(h, n, f) }, reset: noIndex,
			ours: index, peers: []peer{emaint(h, goal)},
		}, contest{
			name: fmt.Sprintf("index, nothing changed, %d %s", n, strings.ToUpper(string(f))), by: cpu, warm: true,
			setup: func() error { return b.quiet(index...) },
			ours:  index, peers: []peer{emaint(h, 30)},
		})
	}
	h := b.large()
	return append(all, contest{
		name: fmt.Sprintf("index, cold, %s of packages", bytesText(b.size)), by: wall,
		setup: b.largePackages, reset: func() error { return removeAll(h.path("packages/Packages")) },
		ours:  b.command([]string{"index"}, h.flags()...),
		peers: []peer{{"one pass of md5 and sha1", []string{b.self, "-hash", h.path("packages")}, nil, almost}},
	})
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

// largePackages makes a PKGDIR of the usual sizes: most packages are small, most bytes are in large ones.
func (b *bench) largePackages() error {
	h := b.large()
	if _, err := os.Stat(h.dir); err == nil {
		return nil
	}
	err := b.make(task{Seed: 2, PKGDIR: h.path("packages"), Usual: 1500 / b.scale, Bytes: b.size, Formats: []format{gpkg, xpak}, DISTDIR: h.path("distfiles")})
	if err != nil {
		return err
	}
	return b.quiet(b.command([]string{"index"}, h.flags()...)...)
}

// copyCases are an export to an empty directory, the import of it, and reading it back.
func (b *bench) copyCases() []contest {
	h, drive, client := b.large(), b.host("drive"), b.host("client")
	size, src := bytesText(b.size), h.path("packages")
	export := b.command([]string{"export", drive.dir, "--any-directory", "--no-read-back"}, h.flags()...)
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
		bash("cp -r; sync", almost, "%s", copyTo(copied)),
		bash("rsync -a; sync", equal, "rsync -a %[1]s %[2]s/ && sync -f %[2]s", src, copied),
	}
	return []contest{{
		name: "first export of " + size + ", no read-back", by: wall, also: []figure{cpu, memory}, setup: b.largePackages, reset: firstEver, ours: export, peers: copies,
	}, {
		name: "export of " + size + " to one more drive, no read-back", by: wall, also: []figure{cpu}, reset: reset, ours: export, peers: copies,
	}, {
		name: "import of " + size, by: wall, also: []figure{cpu, memory},
		setup: func() error {
			if err := b.largePackages(); err != nil {
				return err
			}
			if err := exported(); err != nil {
				return err
			}
			return b.trust(h, drive, client)
		},
		reset: func() error {
			return removeAll(client.path("packages"), client.path("distfiles"), client.path("state/imports"), client.path("state/digests"), client.path("state/memory"), copied)
		},
		ours: imported,
		peers: append(copies, bash("rsync -a; b2sum -c", 2,
			"cd %[1]s && find . -type f -print0 | xargs -0 b2sum >%[3]s/sums && rsync -a %[1]s %[2]s/ && sync -f %[2]s && cd %[2]s/packages && b2sum --quiet -c %[3]s/sums", src, copied, b.work)),
	}, {
		name: "verify of " + size, by: wall, also: []figure{cpu, memory},
		setup: func() error {
			sums := fmt.Sprintf("cd %s && find . -type f -size +0 ! -name 'Manifest*' -print0 | xargs -0 b2sum >%s/tree-sums", tree, b.work)
			return b.quiet(shell(sums)...)
		},
		ours: b.command([]string{"verify", drive.dir}, "--state-dir", client.path("state"), "--no-progress"),
		peers: []peer{bash("b2sum -c on all processors", equal,
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

// unchangedCases are about work that grows with what changed: nothing, and one package.
func (b *bench) unchangedCases() []contest {
	var all []contest
	for _, n := range []int{1_000, 5_000, 10_000, 50_000} {
		n /= b.scale
		h, drive, client := b.host(fmt.Sprintf("host-%d", n)), b.host(fmt.Sprintf("drive-%d", n)), b.host(fmt.Sprintf("client-%d", n))
		export := b.command([]string{"export", drive.dir, "--any-directory"}, h.flags()...)
		imported := b.command([]string{"import", drive.dir}, client.flags()...)
		build := 1
		change := func() error {
			build++
			if err := b.make(task{Seed: uint64(n + build), PKGDIR: h.path("packages"), Build: build, Formats: []format{xpak}}); err != nil {
				return err
			}
			return b.quiet(b.command([]string{"index"}, h.flags()...)...)
		}
		setup := func() error {
			if err := b.smallPackages(h, n, gpkg, xpak); err != nil {
				return err
			}
			if err := b.make(task{Seed: 3, DISTDIR: h.path("distfiles"), Distfiles: 2 * n}); err != nil {
				return err
			}
			if err := os.MkdirAll(drive.dir, 0o755); err != nil {
				return err
			}
			for _, args := range [][]string{b.command([]string{"index"}, h.flags()...), export} {
				if err := b.quiet(args...); err != nil {
					return err
				}
			}
			if err := b.trust(h, drive, client); err != nil {
				return err
			}
			// The first run after an import remembers what the clock was too close to before.
			for _, args := range [][]string{imported, imported, export} {
				if err := b.quiet(args...); err != nil {
					return err
				}
			}
			return nil
		}
		rsync := func(from, to host) peer {
			return bash("rsync -a --dry-run", equal, "rsync -a --dry-run %s %s %s/", from.path("packages"), from.path("distfiles"), to.dir)
		}
		name := fmt.Sprintf("%d packages, %d distfiles", n, 2*n)
		half := 0.0
		if n == 5_000/b.scale {
			half = 0.5
		}
		all = append(all,
			contest{name: "export, nothing changed, " + name, by: wall, also: []figure{memory}, setup: setup, ours: export, peers: []peer{rsync(h, client)}},
			contest{name: "import, nothing changed, " + name, by: wall, also: []figure{memory}, ours: imported, peers: []peer{rsync(h, client)}},
			contest{name: "export, one changed of " + name, by: wall, limit: half, reset: change, ours: export},
			contest{name: "import, one changed of " + name, by: wall, reset: func() error {
				if err := change(); err != nil {
					return err
				}
				return b.quiet(export...)
			}, limit: half, ours: imported},
		)
	}
	return all
}

func (b *bench) startCases() []contest {
	return []contest{
		{name: "pkgsneak --version", by: wall, warm: true, limit: 0.01, ours: []string{b.program, "--version"}},
		{name: "status without anything", by: wall, warm: true, limit: 0.01, ours: []string{b.program, "status", "--state-dir", b.host("nothing").dir}},
	}
}
