package exporter

import (
	"os"

	"pkgsneak/sync/distdir"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/portage"
)

// linkedDir is a directory of PORTAGE_RO_DISTDIRS. Links of DISTDIR into it are as good as files:
// Portage makes them, after it has verified the file that they lead to.
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

// noteLinked notes where the file behind a link of DISTDIR is opened. It is false where the
// directory is gone since.
func noteLinked(dirs []*linkedDir, f distdir.File) bool {
	for _, dir := range dirs {
		if dir.path == f.Dir {
			dir.names[f.Name] = f.Path
			return true
		}
	}
	return f.Dir == ""
}

// openLinkedFile opens a regular file of a directory, or the one to which its link was found to
// lead.
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
