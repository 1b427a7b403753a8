package exporter

import (
	"os"
	"path/filepath"
	"strings"

	"pkgsneak/sync/distdir"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/portage"
)

// linkedDir is a directory of PORTAGE_RO_DISTDIRS. Links of DISTDIR into it are as good as files: Portage
// makes them, after it has verified the file that they lead to.
type linkedDir struct {
	path  string
	root  *os.Root
	names map[string]string // of distfiles whose links lead here: their paths below root
}

// readOnlyDistdirs are the directories of PORTAGE_RO_DISTDIRS, where this process finds them.
func readOnlyDistdirs(m machine.Machine) []string {
	if m.Settings == nil {
		return nil
	}
	return portage.ReadOnlyDistdirs(m.Settings)
}

// openLinked opens those of the directories that are there; Portage passes over the others too.
func openLinked(paths []string) []*linkedDir {
	var dirs []*linkedDir
	for _, path := range paths {
		if root, err := os.OpenRoot(path); err == nil {
			dirs = append(dirs, &linkedDir{path: path, root: root, names: make(map[string]string)})
		}
	}
	return dirs
}

func closeLinked(dirs []*linkedDir) {
	for _, d := range dirs {
		d.root.Close()
	}
}

// findLinked finds the file behind a link of DISTDIR, which is root at the path at, that leads into one of the directories. Any other link, or
// one to something else than a regular file with contents, is none of Portage's.
func findLinked(dirs []*linkedDir, root *os.Root, at, name string) (distdir.File, bool) {
	target, err := root.Readlink(name)
	if err != nil || distdir.CheckName(name) != nil {
		return distdir.File{}, false
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(at, target)
	}
	for _, dir := range dirs {
		below, ok := strings.CutPrefix(filepath.Clean(target), strings.TrimSuffix(dir.path, "/")+"/")
		if !ok {
			continue
		}
		f, info, err := durable.Open(dir.root, below)
		if err != nil {
			continue
		}
		f.Close()
		if info.Size() > 0 {
			dir.names[name] = below
			return distdir.File{Name: name, Info: info}, true
		}
	}
	return distdir.File{}, false
}

// openLinkedFile opens a regular file of a directory, or the one to which findLinked found its link to lead.
func openLinkedFile(dirs []*linkedDir, root *os.Root, path string) (*os.File, error) {
	name := path
	for _, dir := range dirs {
		if below, ok := dir.names[path]; ok {
			root, name = dir.root, below
		}
	}
	f, _, err := durable.Open(root, name)
	return f, err
}
