package exporter

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"pkgsneak/sync/distdir"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgdir"
)

// takenNames finds the names that the origin had, or may have had, and that are no files of the
// host now, but not free either: an empty file, as a crash leaves one, a link, a directory, half a
// download. That is no deletion: such a name is left out, the drive keeps its copy, and the origin
// still has it. So is a package that PKGDIR's index lists, and that was lost: who removes one with
// eclean-pkg has the index without it.
type takenNames struct {
	host    *source
	distdir string                  // below PKGDIR, "" if it does not lie there
	folded  map[string]payload.Item // by its base name: what lies in the folders of a mirror's tree
	lost    map[string]payload.Item // packages that only the index has
	shrink  bool                    // and that are meant to be gone
	found   map[payload.Key]payload.Item
}

// findTaken looks at the names that the host's scan left out, at those that are remembered of its
// directories, and at those that the drive's generation tells of. Each is named with its reason.
func (x *exporter) findTaken() map[payload.Key]payload.Item {
	t := takenNames{host: x.host, shrink: x.o.AllowShrink, folded: make(map[string]payload.Item),
		lost: make(map[string]payload.Item), found: make(map[payload.Key]payload.Item)}
	if below, ok := machine.DistdirIn(x.m.PKGDIR, x.m.DISTDIR); ok {
		t.distdir = below
	}
	for _, it := range x.host.leftOut {
		t.leftOut(it)
	}
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		if d := x.host.dir(kind); d != nil {
			for name := range d.cache.Names() {
				t.lookUp(kind, name, 0)
			}
		}
	}
	for key, it := range x.next.current {
		t.lookUp(key.Kind, key.Path, it.Size)
	}
	if x.told != nil {
		for _, p := range x.told.Packages {
			size, _ := x.next.entries[p.Path].Size()
			t.lookUp(payload.Package, p.Path, size)
		}
		for _, d := range x.told.Distfiles {
			t.lookUp(payload.Distfile, d.Name, d.Size)
		}
	}
	for key, it := range t.found {
		if size, ok := x.host.dir(key.Kind).cache.Keep(key.Path); ok && it.Size == 0 {
			it.Size = size
			t.found[key] = it
		}
	}
	return t.found
}

// leftOut notes what the scan named, under the name that it stands for. A path that only the index
// has counts if the origin had it.
func (t *takenNames) leftOut(it payload.Item) {
	name := meantBy(it)
	if it.Kind == payload.Distfile && strings.Contains(name, "/") {
		t.folded[path.Base(name)] = it
		return
	}
	if !t.mayBe(it.Kind, name) {
		return
	}
	if it.Reason == pkgdir.NoFile {
		if !t.shrink {
			t.lost[name] = it
		}
		return
	}
	if name != it.Path {
		it = standIn(it, name)
	}
	t.found[payload.Key{Kind: it.Kind, Path: name}] = it
}

// meantBy is the name for which something stands that is no payload.
func meantBy(it payload.Item) string {
	if it.Kind == payload.Distfile {
		return distdir.MeantBy(it.Path)
	}
	return pkgdir.MeantBy(it.Path)
}

// standIn names a file of which only something else is here.
func standIn(it payload.Item, name string) payload.Item {
	return payload.Item{Kind: it.Kind, Path: name, Reason: fmt.Sprintf("only %q is here: %s",
		it.Path, it.Reason), Hint: it.Hint}
}

// mayBe reports whether a name could be one of the origin's and is none of the host's files.
func (t *takenNames) mayBe(kind payload.Kind, name string) bool {
	key := payload.Key{Kind: kind, Path: name}
	switch {
	case kind == payload.Distfile && distdir.CheckName(name) != nil,
		layout.OriginPathFault(kind, name) != "",
		t.host.files[key] != nil,
		kind == payload.Package && t.distdir != "" && (t.distdir == "." &&
			!strings.Contains(name, "/") || strings.HasPrefix(name, t.distdir+"/")):
		return false
	}
	return !slices.ContainsFunc(t.host.duplicates, func(d payload.Item) bool {
		return d.Kind == kind && d.Path == name
	})
}

// lookUp looks at one name that the origin had, with a file of size bytes.
func (t *takenNames) lookUp(kind payload.Kind, name string, size int64) {
	key := payload.Key{Kind: kind, Path: name}
	if it, ok := t.found[key]; ok {
		it.Size = max(it.Size, size)
		t.found[key] = it
		return
	}
	if kind == payload.Program || t.host.dir(kind) == nil || !t.mayBe(kind, name) {
		return
	}
	if reason := t.host.dir(kind).inPlaceOf(name); reason != "" {
		t.found[key] = payload.Item{Kind: kind, Path: name, Size: size, Reason: reason}
	} else if it, ok := t.folded[name]; ok && kind == payload.Distfile {
		it = standIn(it, name)
		it.Size = size
		t.found[key] = it
	} else if it, ok := t.lost[name]; ok && kind == payload.Package {
		it.Size = size
		t.found[key] = it
	}
}

// inPlaceOf names what has the name of a file that the scan did not find, "" if nothing has it.
func (d *payloadDir) inPlaceOf(name string) string {
	for i, c := range name {
		if c != '/' {
			continue
		}
		switch fi, err := d.root.Lstat(name[:i]); {
		case err != nil:
			return notFree(err)
		case fi.Mode()&fs.ModeSymlink != 0:
			return fmt.Sprintf("%q is a symbolic link, which is not followed", name[:i])
		case !fi.IsDir():
			return fmt.Sprintf("%q is no directory any more", name[:i])
		}
	}
	switch fi, err := d.root.Lstat(name); {
	case err != nil:
		return notFree(err)
	case fi.IsDir():
		return "a directory has its name"
	case fi.Mode()&fs.ModeSymlink != 0:
		return distdir.Link
	case !fi.Mode().IsRegular():
		return "not a regular file"
	case fi.Size() == 0:
		return "an empty file"
	}
	return "it appeared while the directory was read"
}

// notFree is why a name that cannot be looked at is not taken for free; "" if it is.
func notFree(err error) string {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENAMETOOLONG) {
		return ""
	}
	return "it cannot be looked at: " + fault.Text(fault.Bare(err))
}

// leaveTaken names what is taken among what is left out, with what becomes of the drive's copies.
func (x *exporter) leaveTaken(taken map[payload.Key]payload.Item) {
	p := &x.report.Plan
	named, another := make(map[payload.Key]int, len(p.LeftOut)), make(map[payload.Key]bool)
	for i, it := range p.LeftOut {
		named[it.Key()] = i
		if name := meantBy(it); name != it.Path {
			another[payload.Key{Kind: it.Kind, Path: name}] = true
		}
	}
	for key, it := range taken {
		i, ok := named[key]
		if !ok && another[key] && x.next.current[key] == nil {
			continue
		}
		if !ok {
			i, p.LeftOut = len(p.LeftOut), append(p.LeftOut, it)
		}
		if x.next.current[key] == nil {
			continue
		}
		if p.LeftOut[i].Reason == pkgdir.NoFile && p.LeftOut[i].Hint != "" {
			p.LeftOut[i].Hint = "the drive keeps its copies; if such a file is meant to be gone: " +
				p.LeftOut[i].Hint
		}
		if p.LeftOut[i].Hint != "" {
			continue
		}
		dir := x.m.PKGDIR
		if key.Kind == payload.Distfile {
			dir = x.m.DISTDIR
		}
		p.LeftOut[i].Hint = "the drive keeps its copies; if such a file is meant to be gone, move away what has its name in " + fault.Quote(dir)
	}
	payload.Sort(p.LeftOut)
}
