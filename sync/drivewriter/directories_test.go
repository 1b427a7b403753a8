package drivewriter

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"testing"

	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
)

// Every file that an origin has gets names that are safe, alone in their directory, and the same on
// every drive.
func FuzzNames(f *testing.F) {
	f.Add("app-misc/foo-1.tbz2\napp-misc/Foo-1.tbz2\napp-misc/foo/foo-1-1.xpak\nAPP-MISC/foo-1.tbz2", uint8(1), int64(30))
	f.Add("a\nA\na.\nA:\n\xff\ncon\n.a\na~1\nx.1.pkgsneak", uint8(2), int64(5))
	f.Add("linux-amd64/pkgsneak\nlinux-AMD64/pkgsneak", uint8(3), int64(1))
	f.Add("packages/x-1.tbz2\nPackages.gz/x-1.tbz2\npackages", uint8(1), int64(0))
	f.Fuzz(func(t *testing.T, list string, kind uint8, size int64) {
		names := strings.Split(list, "\n")
		var first []string
		for range 2 {
			w := newWriter(nil, BeginOptions{PartSize: 10})
			w.remember()
			var all []string
			seen := make(map[string]string)
			for _, name := range names {
				file := NewFile{Kind: []payload.Kind{payload.Package, payload.Distfile,
					payload.Program}[kind%3], Path: name,
					Size: min(max(size, 0), 100)}
				if err := w.places.reserve(file); err != nil {
					continue
				}
				for _, stored := range w.places.reserved[payload.Key{Kind: file.Kind, Path: name}] {
					if reason := layout.StoredPathFault(file.Kind, stored); reason != "" {
						t.Fatalf("%q is stored as %q: %s", name, stored, reason)
					}
					if owner, ok := seen[layout.FoldName(stored)]; ok && owner != name {
						t.Fatalf("%q and %q share %q", owner, name, stored)
					}
					seen[layout.FoldName(stored)] = name
					for dir := path.Dir(stored); dir != "."; dir = path.Dir(dir) {
						if _, ok := seen[layout.FoldName(dir)]; ok {
							t.Fatalf("%q is a file and a directory", dir)
						}
					}
					all = append(all, stored)
				}
			}
			if first == nil {
				first = all
			} else if fmt.Sprint(first) != fmt.Sprint(all) {
				t.Fatalf("%q, then %q", first, all)
			}
		}
	})
}

// fat is how vfat keeps directories: entries in a row, a name in the first
// gap that is long enough, clusters added when there is none.
type fat struct {
	t       *testing.T
	w       *Writer
	cluster int64 // entries
	dirs    map[string][]string
	held    map[string]bool // directories with committed files
	grown   int
}

func (f *fat) hook(op, name string) error {
	switch op {
	case "create", "mkdir":
		f.add(name)
	case "extend":
		if f.find(name) < 0 {
			f.add(name)
		}
	case "unlink", "rmdir":
		dir := f.dirs[path.Dir(name)]
		for i := range dir {
			if dir[i] == name {
				dir[i] = ""
			}
		}
		delete(f.dirs, name)
	}
	return nil
}

func (f *fat) find(name string) int {
	for i, entry := range f.dirs[path.Dir(name)] {
		if entry == name {
			return i
		}
	}
	return -1
}

func (f *fat) add(name string) {
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if f.find(name) >= 0 {
		return // beside the origin, or there already
	}
	slots := f.dirs[dir]
	need := int(1 + (len(base)+12)/13)
	run := 0
	for i := range slots {
		if slots[i] != "" {
			run = 0
			continue
		}
		if run++; run == need {
			for j := range need {
				slots[i-j] = name
			}
			return
		}
	}
	if f.held[dir] {
		f.t.Errorf("%q grows for %q, with committed files in it", dir, base)
	}
	f.grown++
	f.dirs[dir] = append(slots, make([]string, f.cluster)...)
	f.add(name)
}

func (f *fat) size(root *os.Root, dir string) (int64, error) {
	if root != f.w.root {
		return 1 << 20, nil
	}
	return max(int64(len(f.dirs[dir]))+2, f.cluster) * entrySize, nil
}

func (f *fat) tweak(w *Writer) {
	f.w, w.dirs.vfat, w.hook, w.dirs.size = w, true, f.hook, f.size
	f.held = make(map[string]bool)
}

// commit notes which directories must not grow from now on.
func (f *fat) commit(w *Writer) {
	for name := range w.listed {
		for dir := path.Dir(name); ; dir = path.Dir(dir) {
			f.held[dir] = true
			if dir == "." {
				break
			}
		}
	}
}

// On vfat no directory that holds committed files grows, whatever comes and
// goes; what does not fit goes to a further directory.
func TestDirectoriesOnVfatDoNotGrow(t *testing.T) {
	t.Parallel()
	for _, cluster := range []int64{16, 128, 1024} {
		t.Run(fmt.Sprintf("clusters of %d bytes", cluster*entrySize), func(t *testing.T) {
			t.Parallel()
			mount, h := tempDir(t), newHost(keys()[0], "buildhost")
			random := rand.New(rand.NewPCG(1, uint64(cluster)))
			f := &fat{t: t, cluster: cluster, dirs: make(map[string][]string)}
			h.tweak = f.tweak
			h.opened = f.commit
			h.batch = 40
			overflow := false
			for generation := range 6 {
				for i := range 60 {
					name := fmt.Sprintf("names%0*d", 1+random.IntN(90), generation*1000+i)
					switch random.IntN(3) {
					case 0:
						h.pkg("app-misc/"+name+"-1.tbz2", name)
					case 1:
						h.pkg("dev-libs/lib/lib-"+fmt.Sprint(generation*1000+i)+"-1.xpak", name)
					case 2:
						h.pkg("x11-"+name[:6]+"/"+name+"/"+name+"-1-1.gpkg.tar", name)
					}
				}
				for i := range generation / 5 * 100 {
					h.pkg(fmt.Sprintf("app-misc/a-package-with-quite-a-long-name-g%d-%d.tbz2",
						generation, i), "many at once")
				}
				for key := range h.files {
					if random.IntN(4) == 0 {
						delete(h.files, key)
					}
				}
				mustExport(t, h, mount)
				for _, it := range checkHolds(t, h, mount).All() {
					overflow = overflow || strings.Contains(it.Stored[0].Path, "app-misc.2/")
				}
			}
			if cluster == 16 && !overflow {
				t.Error("nothing went to a further directory: the test has too little in it")
			}
			if f.grown == 0 {
				t.Error("no directory was grown")
			}
		})
	}
}
