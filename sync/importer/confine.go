package importer

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/sandbox"
)

// Confine confines this process, for ever, to what Import needs on this machine: it reads the drive
// and what the advice at the end is made of (ebuild repositories, installed packages), and writes
// PKGDIR, DISTDIR and the state directory, and the directory of ExcludeFile. To be called when the
// configuration was read. The process can neither mount, unmount nor run a program afterwards; a
// caller that has to imports in a process of its own.
func Confine(m machine.Machine, o ImportOptions) sandbox.Confined {
	o = o.whole()
	c := sandbox.Grants{Read: slices.Concat([]string{o.Drive}, o.Further, m.Settings.Lookups())}
	dirs := []string{m.StateDir}
	if !o.NoPackages {
		dirs = append(dirs, m.PKGDIR)
	}
	if !o.NoDistfiles {
		dirs = append(dirs, m.DISTDIR)
		c.Read = append(c.Read, linked(m.DISTDIR)...)
	}
	if o.ExcludeFile != "" {
		c.Write = append(c.Write, filepath.Dir(o.ExcludeFile))
	}
	if o.Repos != NoRepos && carriesRepos(append([]string{o.Drive}, o.Further...)) {
		dirs = append(dirs, repositoryPlaces(m, o)...)
		c.Read = append(c.Read, "/proc") // whether Portage runs
	} else if site, err := siteOf(m); err == nil { // the import reports it
		dirs = append(dirs, site.Notes.Unsettled()...)
	}
	if o.Pretend || checkNewPlaces(m, o) != nil { // the import reports that
		c.Read = append(c.Read, dirs...)
		return sandbox.Confine(c)
	}
	c.Write = append(c.Write, dirs...)
	return m.ConfineWriting(c)
}

// checkNewPlaces refuses a PKGDIR or DISTDIR that would be made in a directory that is missing,
// unless Portage's configuration names it: emerge makes that one, too.
func checkNewPlaces(m machine.Machine, o ImportOptions) error {
	pkgs, dists := m.PKGDIR, m.DISTDIR
	if o.NoPackages || !m.NamedPKGDIR {
		pkgs = ""
	}
	if o.NoDistfiles || !m.NamedDISTDIR {
		dists = ""
	}
	return drive.CheckParents(pkgs, dists)
}

// repositoryPlaces are the directories in which ebuild repositories change places: those of the
// ones that import brought, or that are given to it, and the place of new ones.
func repositoryPlaces(m machine.Machine, o ImportOptions) []string {
	site, err := siteOf(m)
	if err != nil {
		return nil // the import reports it
	}
	places := site.Grants(names(o.AdoptRepos))
	if o.Pretend {
		return places
	}
	// what lies around an absent one is not granted
	return slices.DeleteFunc(places, func(dir string) bool {
		return os.MkdirAll(dir, 0o755) != nil
	})
}

// carriesRepos reports whether there is a packed repository on one of the drives: without one
// nothing of this machine's changes. Nothing is believed of it yet.
func carriesRepos(drives []string) bool {
	return slices.ContainsFunc(drives, func(dir string) bool {
		found, err := filepath.Glob(filepath.Join(globQuote(dir), layout.TreeDir, "*",
			layout.ReposDir, "*"+layout.ArchiveSuffix))
		return err == nil && len(found) > 0
	})
}

// globQuote protects what means something in a pattern.
func globQuote(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// maxLinked is how many files behind links can be read by a confined import. Those behind further
// ones count as local files with other contents.
const maxLinked = 4096

// linked are the files outside of a directory that symbolic links in it lead to: what lies in
// PORTAGE_RO_DISTDIRS has to be compared.
func linked(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil { // that is told when the directory is opened
		return nil
	}
	var files []string
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 || len(files) == maxLinked {
			continue
		}
		file, err := filepath.EvalSymlinks(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		if fi, err := os.Stat(file); err == nil && fi.Mode().IsRegular() {
			files = append(files, file)
		}
	}
	return files
}
