package drivewriter

import (
	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
)

// Reuse takes files as committed that no list which can be read has: the caller has read them from
// the medium, and lists them in the next generation, until when their names are taken. It returns
// those that this session has not found as they should be.
func Reuse(w *Writer, files []manifest.File) (gone map[string]bool) {
	gone = make(map[string]bool)
	others := make(map[string]bool, len(w.others))
	for _, name := range w.others {
		others[name] = true
	}
	absent := make(map[string]bool, len(w.absent))
	for _, name := range w.absent {
		absent[name] = true
	}
	for _, f := range files {
		listed, known := w.listed[f.Path]
		switch {
		case known && listed == f && !absent[f.Path]:
		case !known && w.as == drive.Broken && others[f.Path] && layout.MadeHere(f.Path) &&
			isThere(w, f):
			w.listed[f.Path] = f
		default:
			gone[f.Path] = true
		}
	}
	w.remember()
	return gone
}

func isThere(w *Writer, f manifest.File) bool {
	info, err := w.root.Lstat(f.Path)
	return err == nil && info.Mode().IsRegular() && info.Size() == f.Size
}
