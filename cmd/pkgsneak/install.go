package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pkgsneak/sync/auto"
	"pkgsneak/sync/fault"
)

// installer puts files of the system in place, or takes them away.
type installer struct{ *invocation }

// installs reports whether the line asks for an installation, and not for the reverse.
func (c installer) installs() (asked, away bool, err error) {
	in, out := c.opt.install, c.opt.uninstall
	switch {
	case in && out:
		return false, false, usageErrorf("--install and --uninstall exclude each other")
	case (in || out) && len(c.args) > 0:
		return false, false,
			usageErrorf("--install and --uninstall take no argument, and %q is one", c.args[0])
	case c.opt.packaged && c.opt.root == "":
		return false, false,
			withHint(usageErrorf("--packaged is for packages, which are made below another directory: it needs --root DIR"),
				"pkgsneak %s --install --root DIR --packaged", c.flags.Command.Name)
	}
	return in || out, out, nil
}

// install puts the files in place or takes them away.
func (c installer) install(o auto.InstallOptions, away bool, next func()) error {
	root := c.opt.root
	c.places = nil // none of those is written
	program, err := c.programToInstall(root)
	if err != nil {
		return err
	}
	dir := filepath.Join(c.env.root, "/")
	if root != "" {
		if dir, err = filepath.Abs(root); err != nil {
			return err
		}
		// a package's image is made by the way
		if info, err := os.Stat(dir); err != nil && !c.opt.packaged {
			return withHint(usageErrorf("--root %q: %w", root, fault.Bare(err)), "mkdir -p %s",
				shellWord(root))
		} else if err == nil && !info.IsDir() {
			return usageErrorf("--root %q: not a directory", root)
		}
	}
	o.Root, o.Program, o.Packaged, o.Force = dir, program, c.opt.packaged, c.opt.force
	o.Run = auto.Linux().Run
	do, question := auto.Install, "%s was changed here. Replace it?"
	if away {
		do, question = auto.Uninstall, "%s was changed here. Remove it?"
	}
	if c.out.asks {
		o.Confirm = func(path string) (bool, error) { return c.out.ask(c.ctx, question, path) }
	}
	changes, err := do(c.ctx, o)
	if err != nil {
		return err
	}
	for _, l := range []struct {
		word  styled
		paths []string
	}{{green("written"), changes.Written}, {blue("as it was"), changes.Same},
		{red("removed"), changes.Removed}} {
		for _, p := range l.paths {
			c.out.say("  %-9s  %s", l.word, p)
		}
	}
	for _, p := range changes.Edited {
		c.out.say("  %-9s  %s, your settings", blue("kept"), p)
	}
	for _, p := range changes.Kept {
		c.out.warn("%s was changed here, and stays as it is (--force)", p)
	}
	for _, n := range changes.Notices {
		c.out.notice("%s %s", bold("note:"), n)
	}
	if !away {
		next()
	}
	code := exitDone
	if len(changes.Kept) > 0 {
		code = exitLeftOut
	}
	c.result(code, changes)
	return outcome(code)
}

// systemDirs are where a program lies that the system may start by itself: not on a drive, and not
// where others write.
var systemDirs = []string{"/usr/", "/opt/", "/bin/", "/sbin/"}

// programToInstall is the path that will be started: this program, or, for packagers, where their
// package puts it.
func (c installer) programToInstall(root string) (string, error) {
	program := c.env.executable
	if root != "" || program == "" || c.opt.uninstall {
		return "", nil
	}
	if !slices.ContainsFunc(systemDirs, func(dir string) bool {
		return strings.HasPrefix(program, dir)
	}) && !c.opt.force {
		return "",
			withHint(usageErrorf("the system would start %q, which is no place for a program of the system", program),
				"install -m 755 %s /usr/local/bin/pkgsneak && /usr/local/bin/pkgsneak %s --install",
				shellWord(program), c.flags.Command.Name)
	}
	return program, nil
}
