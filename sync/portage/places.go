package portage

import (
	"os"
	"path"
	"strings"
)

// places are the directories from which all else is read, with a slash at the end.
type places struct {
	eprefix string // of the target; without a slash
	// prefix of the Portage that runs, which is the same but where ROOT has another; without a
	// slash
	broot      string
	configRoot string
	global     string // with make.globals and repos.conf; without a slash
	rootdir    string // ROOT
	eroot      string // ROOT and EPREFIX
}

// findPlaces finds the directories from which all else is read.
func findPlaces(t tree, env Env) places {
	var at places
	target, ofTarget := env.lookup("EPREFIX")
	prefix, ok := env.lookup("PORTAGE_OVERRIDE_EPREFIX")
	if !ok {
		prefix = target
	} else if !ofTarget {
		target = prefix
	}
	prefix, target = prefixPath(prefix), prefixPath(target)
	at.broot, at.eprefix = prefix, target
	at.configRoot = slashed(prefix)
	if c, ok := env.lookup("PORTAGE_CONFIGROOT"); ok && c != "" {
		at.configRoot = slashed(c)
	}
	at.global = prefix + "/usr/share/portage/config"
	for _, old := range []string{"/usr/lib/portage/cnf", "/usr/lib64/portage/cnf"} {
		if !t.exists(path.Join(at.global, "make.globals")) &&
			t.exists(path.Join(prefix+old, "make.globals")) {
			at.global = prefix + old
		}
	}
	return at
}

// prefixPath is a prefix as Portage writes it: absolute and clean, "" for the root.
func prefixPath(p string) string {
	if p == "" {
		return ""
	}
	if p = path.Join("/", p); p == "/" {
		return ""
	}
	return p
}

// slashed makes a path absolute and clean with a slash at the end, as Portage writes its roots.
func slashed(p string) string {
	if p = path.Join("/", p); p == "/" {
		return p
	}
	return p + "/"
}

// makeConfs are the two names of make.conf, or the old one if both are one file.
func (at places) makeConfs(t tree) []string {
	old, now := path.Join(at.configRoot, "etc/make.conf"), path.Join(at.configRoot,
		"etc/portage/make.conf")
	a, errA := t.stat(old)
	b, errB := t.stat(now)
	if errA == nil && errB == nil && os.SameFile(a, b) {
		return []string{old}
	}
	return []string{old, now}
}

// roots are the variables of places: they can be used in make.globals and make.conf, and nothing
// else can set them.
func (at places) roots() map[string]string {
	return map[string]string{
		"BROOT": at.broot, "EPREFIX": at.eprefix, "EROOT": at.eroot,
		"ESYSROOT":           slashed(at.eprefix),
		"PORTAGE_CONFIGROOT": at.configRoot, "ROOT": at.rootdir, "SYSROOT": "/",
	}
}

// findModules lists the directories in which the modules of an installed Portage may lie.
func findModules(t tree, eprefix string) []string {
	var dirs []string
	for _, lib := range []string{"usr/lib", "usr/lib64"} {
		dir := path.Join("/", eprefix, lib)
		names, err := t.names(dir)
		if err != nil {
			continue
		}
		dirs = append(dirs, path.Join(dir, "portage/pym/portage"))
		for _, n := range names {
			if strings.HasPrefix(n, "python") {
				dirs = append(dirs, path.Join(dir, n, "site-packages/portage"))
			}
		}
	}
	return dirs
}
