package ebuilds

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/watch"
)

// mount mounts something until the test ends; without the right to, nobody looks.
func mount(t *testing.T, from, at, kind string, flags uintptr, data string) {
	t.Helper()
	must(t, os.MkdirAll(at, 0o755))
	if err := unix.Mount(from, at, kind, flags, data); err != nil {
		t.Skipf("SKIPPED: nothing can be mounted here (%s %s): %v", kind, data, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
}

// adopt lets the build host's repository take the place of the user's.
func (c client) adopt(t *testing.T, n int, dirs map[string]string) (*Step, error) {
	t.Helper()
	s := c.site(t, nil)
	s.Mounts, s.Dirs = nil, dirs // nil: the kernel's
	o := Options{Adopt: []string{"gentoo"}}
	must(t, s.Recover())
	steps, err := s.Plan(t.Context(), []Offer{offerOf(t, "gentoo", int64(10*n), little(n))}, o)
	must(t, err)
	if steps[0].Action == Take {
		_, err = s.Take(t.Context(), steps[0], []string{"gentoo"}, o, nil)
	}
	return steps[0], err
}

// typeLine lets a shell do what a person is told to.
func typeLine(t *testing.T, root, line string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// Where PKGDIR or DISTDIR lies in the tree, as on older machines, nothing is unpacked, nothing is
// lost, and the line that is told makes way: with it the next import goes through.
func TestPKGDIRInTheTree(t *testing.T) {
	c := newClient(t, little(1))
	makeTree(t, c.root, map[string]string{"var/db/repos/gentoo/packages/Packages": "PACKAGES: 0\n",
		"var/db/repos/gentoo/distfiles/foo.tar": "x", "var/cache/": ""})
	must(t, os.Symlink("var/db/repos/gentoo/distfiles", filepath.Join(c.root, "distfiles")))
	before := readTree(t, filepath.Join(c.root, "var"))
	dirs := map[string]string{"DISTDIR": filepath.Join(c.root, "distfiles"),
		"PKGDIR": c.repo() + "/packages"}
	for _, what := range []string{"DISTDIR", "PKGDIR"} { // the one is told after the other
		step, err := c.adopt(t, 2, dirs)
		if err != nil || step.Action != Refused || !strings.HasPrefix(step.Reason, what) {
			t.Fatalf("%s: %+v, %v", what, step, err)
		}
		if what == "DISTDIR" {
			if got := readTree(t, filepath.Join(c.root, "var")); !sameText(got, before) {
				t.Fatalf("something has changed: %v", got)
			}
		}
		_, line, _ := strings.Cut(step.Hints[0], ": ")
		typeLine(t, c.root, strings.ReplaceAll(line, " /var/cache/", " "+c.root+"/var/cache/"))
		delete(dirs, what) // it is set in make.conf
	}
	if step, err := c.adopt(t, 2, dirs); err != nil || step.Action != Take {
		t.Fatalf("%+v, %v", step, err)
	}
	for name, want := range map[string]string{"var/cache/packages/Packages": "PACKAGES: 0\n",
		"var/cache/distfiles/foo.tar": "x", "var/db/repos/gentoo/foo-2": "EAPI=8\n",
		"var/db/repos/gentoo.before-pkgsneak/foo-1": "EAPI=8\n"} {
		if data, err := os.ReadFile(filepath.Join(c.root, name)); err != nil ||
			string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
}

func sameText(a, b map[string]string) bool {
	for name, text := range a {
		if b[name] != text {
			return false
		}
	}
	return len(a) == len(b)
}

// A location that is a mount point cannot change places: the tree comes to LOCATION/tree, with the
// line that tells Portage so, and from then on the exchange is in there.
func TestTreeOnItsOwnMount(t *testing.T) {
	for name, at := range map[string]func(t *testing.T, c client){
		"bind mount": func(t *testing.T, c client) {
			mount(t, c.repo(), c.repo(), "", unix.MS_BIND, "")
		},
		"file system of its own": func(t *testing.T, c client) {
			mount(t, "pkgsneak-test", c.repo(), "tmpfs", 0, "size=4m,mode=755")
			makeTree(t, c.repo(), little(1))
		},
		"empty": func(t *testing.T, c client) {
			must(t, os.RemoveAll(c.repo()))
			mount(t, "pkgsneak-test", c.repo(), "tmpfs", 0, "size=4m,mode=755")
		},
		"subvolume": func(t *testing.T, c client) {
			mountBtrfs(t, filepath.Dir(c.repo()))
			typeLine(t, c.root, "btrfs subvolume create var/db/repos/gentoo")
			makeTree(t, c.repo(), little(1))
		},
		"empty subvolume": func(t *testing.T, c client) {
			mountBtrfs(t, filepath.Dir(c.repo()))
			typeLine(t, c.root, "btrfs subvolume create var/db/repos/gentoo")
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, little(1))
			at(t, c)
			old, err := os.ReadDir(c.repo())
			must(t, err)
			step, err := c.adopt(t, 2, nil)
			if err != nil || step.Action != Take || step.Location != c.repo()+"/tree" {
				t.Fatalf("%+v, %v", step, err)
			}
			sameTree(t, c.repo()+"/tree", withoutDirs(little(2)))
			for _, e := range old {
				if _, err := os.Lstat(filepath.Join(c.repo(), e.Name())); err != nil {
					t.Errorf("the tree that was there: %v", err)
				}
			}
			// nobody types it at once, and the next import tells it again
			told := step.Conf
			if step, err = c.adopt(t, 3, nil); err != nil || step.Action != Take ||
				step.Location != c.repo()+"/tree" || step.Conf != told {
				t.Fatalf("%+v, %v", step, err)
			}
			sameTree(t, c.repo()+"/tree", withoutDirs(little(3)))
			line, _, _ := strings.Cut(step.Conf, "; eselect")
			line = strings.ReplaceAll(line, "/etc/portage", c.root+"/etc/portage")
			typeLine(t, c.root, strings.ReplaceAll(line, c.root+c.root, c.root))
			conf, err := filepath.Glob(filepath.Join(c.root, "etc/portage/repos.conf/*"))
			if err != nil || len(conf) != 1 {
				t.Fatalf("%q: %v %v", step.Conf, conf, err)
			}
			data, err := os.ReadFile(conf[0])
			must(t, err)
			// what runs below another root directory has the paths of that
			must(t, os.WriteFile(conf[0], []byte(strings.ReplaceAll(string(data), c.root, "")),
				0o644))
			step, err = c.adopt(t, 4, nil)
			if err != nil || step.Action != Take || step.Location != c.repo()+"/tree" ||
				step.Conf != "" || step.Adopted {
				t.Fatalf("%+v, %v", step, err)
			}
			sameTree(t, c.repo()+"/tree", withoutDirs(little(4)))
		})
	}
}

// mountBtrfs mounts a new file system of that kind.
func mountBtrfs(t *testing.T, at string) {
	t.Helper()
	for _, name := range []string{"mkfs.btrfs", "btrfs", "mount", "umount"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("SKIPPED: subvolumes were not looked at: %v", err)
		}
	}
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, nil, 0o644))
	must(t, os.Truncate(image, 160<<20))
	script := `mkfs.btrfs -q -f "$0" && mkdir -p "$1" && mount -o loop "$0" "$1"`
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script, image, at)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: subvolumes were not looked at: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
}

// A tree in a subvolume that is no subvolume itself changes places like any other.
func TestTreeInASubvolume(t *testing.T) {
	c := newClient(t, nil)
	disk := filepath.Join(c.root, "disk")
	mountBtrfs(t, disk)
	typeLine(t, c.root, "btrfs subvolume create disk/repos && rm -r var/db/repos && "+
		"ln -s ../../disk/repos var/db/repos")
	makeTree(t, c.repo(), little(1))
	for n := 2; n < 4; n++ {
		if step, err := c.adopt(t, n, nil); err != nil || step.Action != Take ||
			step.Location != disk+"/repos/gentoo" {
			t.Fatalf("%+v, %v", step, err)
		}
	}
	sameTree(t, disk+"/repos/gentoo", withoutDirs(little(3)))
	sameTree(t, disk+"/repos/gentoo.before-pkgsneak", withoutDirs(little(1)))
	sameTree(t, disk+"/repos/.gentoo.pkgsneak-undo", withoutDirs(little(2)))
}

// A mount in the tree is no part of it: the tree stays, and the line that makes way is
// told.
func TestMountInTheTree(t *testing.T) {
	c := newClient(t, little(1))
	at := filepath.Join(c.repo(), "local")
	mount(t, "pkgsneak-test", at, "tmpfs", 0, "size=1m,mode=755")
	makeTree(t, at, map[string]string{"mine": "x"})
	step, err := c.adopt(t, 2, nil)
	if err != nil || step.Action != Refused || !strings.Contains(step.Reason, at) {
		t.Fatalf("%+v, %v", step, err)
	}
	typeLine(t, c.root, strings.Split(step.Hints[0], ",")[0])
	if step, err = c.adopt(t, 2, nil); err != nil || step.Action != Take {
		t.Fatalf("%+v, %v", step, err)
	}
}

// A location that is a link stands for its target.
func TestTreeBehindALink(t *testing.T) {
	c := newClient(t, nil)
	makeTree(t, filepath.Join(c.root, "srv/repos/gentoo-main"), little(1))
	must(t, os.Symlink("../../../srv/repos/gentoo-main", c.repo()))
	if step, err := c.adopt(t, 2, nil); err != nil || step.Action != Take {
		t.Fatalf("%+v, %v", step, err)
	}
	sameTree(t, filepath.Join(c.root, "srv/repos/gentoo-main"), withoutDirs(little(2)))
	if target, err := os.Readlink(c.repo()); err != nil ||
		target != "../../../srv/repos/gentoo-main" {
		t.Errorf("the link: %q, %v", target, err)
	}
	sameTree(t, filepath.Join(c.root, "srv/repos/gentoo-main.before-pkgsneak"),
		withoutDirs(little(1)))
}

// On overlayfs a directory of the lower layer cannot change places: the import reports it, and with
// the line that it tells the tree comes all the same.
func TestTreeOnOverlayfs(t *testing.T) {
	lower, upper, work := t.TempDir(), t.TempDir(), t.TempDir()
	c := newClient(t, nil)
	makeTree(t, lower, map[string]string{"gentoo/": ""})
	makeTree(t, filepath.Join(lower, "gentoo"), little(1))
	repos := filepath.Dir(c.repo())
	mount(t, "overlay", repos, "overlay", 0,
		"lowerdir="+lower+",upperdir="+upper+",workdir="+work)
	if step, err := c.adopt(t, 2, nil); err == nil && step.Action == Take {
		sameTree(t, c.repo(), withoutDirs(little(2))) // this kernel can (redirect_dir)
		return
	} else if r := asRefusal(err); r == nil || !strings.Contains(r.Reason, "change places") {
		t.Fatalf("%+v, %v", step, err)
	} else {
		sameTree(t, c.repo(), withoutDirs(little(1)))
		typeLine(t, c.root, strings.Split(r.Hints[0], ";")[0])
	}
	step, err := c.adopt(t, 2, nil)
	if err != nil || step.Action != Take {
		t.Fatalf("%+v, %v", step, err)
	}
	sameTree(t, c.repo(), withoutDirs(little(2)))
	if names := c.names(t); !slices.Equal(names, []string{"gentoo", "gentoo.before-pkgsneak"}) {
		t.Errorf("beside it: %q", names)
	}
	mounts, err := watch.Mounts()
	if err != nil || !slices.ContainsFunc(mounts, func(m watch.Mount) bool {
		return m.Point == repos
	}) {
		t.Errorf("the mount: %v", err)
	}
}

// The same where repos.conf has no section of it, on an empty file system that was made for it: the
// section is told each time until it is there.
func TestNewTreeOnItsOwnMount(t *testing.T) {
	c := newClient(t, little(1))
	at := filepath.Join(c.root, "var/db/repos/local")
	mount(t, "pkgsneak-test", at, "tmpfs", 0, "size=4m,mode=755")
	for n := 1; n < 4; n++ {
		s := c.site(t, nil)
		s.Mounts = nil // the kernel's
		steps, err := s.Plan(t.Context(), []Offer{offerOf(t, "local", int64(10*n), overlay(n))},
			Options{})
		must(t, err)
		if steps[0].Action != Take || steps[0].Location != at+"/tree" ||
			!strings.Contains(steps[0].Conf, at+"/tree") {
			t.Fatalf("%+v", steps[0])
		}
		_, err = s.Take(t.Context(), steps[0], []string{"local"}, Options{}, nil)
		must(t, err)
		sameTree(t, at+"/tree", overlay(n))
	}
}
