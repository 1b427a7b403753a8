package vm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// archive writes a cpio archive in the format "newc", which the kernel takes
// for its first root file system (Documentation/driver-api/early-userspace/
// buffer-format.rst). A member is
//
//	"070701" then 13 numbers of 8 hex digits: inode, mode, uid, gid, links,
//	mtime, size, major, minor, major and minor of the device, length of the
//	name with its NUL, 0; the name, NUL; the data; each padded to 4 bytes
type archive struct {
	w    io.Writer
	ino  int
	err  error
	dirs map[string]bool
}

// Modes of members.
const (
	modeDir  = 0o040755
	modeFile = 0o100755
	modeLink = 0o120777
	modeChar = 0o020600
)

func (a *archive) member(name string, mode, major, minor int, data []byte) {
	if a.err != nil {
		return
	}
	a.ino++
	var b bytes.Buffer
	fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00", a.ino, mode,
		0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name)
	pad(&b)
	b.Write(data)
	pad(&b)
	_, a.err = a.w.Write(b.Bytes())
}

func pad(b *bytes.Buffer) { b.Write(make([]byte, -b.Len()&3)) }

func (a *archive) dir(name string) {
	if name == "." || name == "" || a.dirs[name] {
		return
	}
	a.dir(filepath.Dir(name))
	a.dirs[name] = true
	a.member(name, modeDir, 0, 0, nil)
}

func (a *archive) file(name string, data []byte) {
	a.dir(filepath.Dir(name))
	a.member(name, modeFile, 0, 0, data)
}

// copy puts a file of this machine into the archive.
func (a *archive) copy(name, from string) {
	data, err := os.ReadFile(from)
	if err != nil && a.err == nil {
		a.err = err
	}
	a.file(name, data)
}

// modules adds the kernel's modules, and the order to load them in. Without
// those that are named.
func (a *archive) modules(k *Kernel, without ...string) {
	var order strings.Builder
	for _, m := range k.Modules {
		if slices.Contains(without, strings.TrimSuffix(filepath.Base(m), ".ko")) {
			continue
		}
		a.copy("modules/"+filepath.Base(m), m)
		fmt.Fprintln(&order, filepath.Base(m))
	}
	a.file("modules/order", []byte(order.String()))
}

// applets are the commands of busybox that have a name in the guest.
var applets = []string{"sh", "cat", "cp", "dd", "df", "ls", "mkdir", "mount", "mv", "rm", "sleep",
	"sync", "umount", "head", "blockdev", "seq", "truncate", "touch", "true", "stat", "du", "find",
	"sha256sum", "losetup", "fdisk"}

// writeInitramfs writes the guest's root file system: the agent, busybox, the
// modules, and programs of this machine with the libraries that they need.
func writeInitramfs(w io.Writer, k *Kernel, agent string, programs []string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return &UnavailableError{"busybox", err}
	}
	if libs, err := libraries(busybox); err != nil || len(libs) > 0 {
		return &UnavailableError{"a static busybox (Debian: busybox-static)",
			fmt.Errorf("%s needs %q (%v)", busybox, libs, err)}
	}
	a := &archive{w: w, dirs: make(map[string]bool)}
	a.dir("dev")
	a.member("dev/console", modeChar, 5, 1, nil)
	a.copy("init", agent)
	a.copy("bin/busybox", busybox)
	for _, name := range applets {
		a.member("bin/"+name, modeLink, 0, 0, []byte("busybox"))
	}
	a.modules(k)
	have := make(map[string]bool)
	for _, p := range programs {
		if err := addProgram(a, p, have); err != nil {
			return err
		}
	}
	a.member("TRAILER!!!", 0, 0, 0, nil)
	if a.err != nil {
		return fmt.Errorf("writing the guest's files: %w", a.err)
	}
	return nil
}

// addProgram adds a program and its libraries. Its interpreter lies where it
// asks for it, the libraries in /lib.
func addProgram(a *archive, path string, have map[string]bool) error {
	a.copy("bin/"+filepath.Base(path), path)
	libs, err := libraries(path)
	if err != nil {
		return err
	}
	for name, from := range libs {
		if !have[name] {
			have[name] = true
			a.copy(strings.TrimPrefix(name, "/"), from)
		}
	}
	return nil
}

// libraryDirs are where this machine has its libraries.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64",
	"/usr/lib64", "/lib", "/usr/lib"}

// libraries returns the files that a dynamic program needs: name in the guest
// -> file of this machine.
func libraries(path string) (map[string]string, error) {
	found := make(map[string]string)
	queue := []string{path}
	for len(queue) > 0 {
		f, err := elf.Open(queue[0])
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", queue[0], err)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP {
				name, err := io.ReadAll(p.Open())
				if err != nil {
					f.Close()
					return nil, err
				}
				interpreter := string(bytes.TrimRight(name, "\x00"))
				found[interpreter] = interpreter
			}
		}
		names, err := f.ImportedLibraries()
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", queue[0], err)
		}
		queue = queue[1:]
		for _, name := range names {
			if found["/lib/"+name] != "" {
				continue
			}
			from := ""
			for _, dir := range libraryDirs {
				if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
					from = filepath.Join(dir, name)
					break
				}
			}
			if from == "" {
				return nil, fmt.Errorf("%q needs %q, which is not here", path, name)
			}
			found["/lib/"+name] = from
			queue = append(queue, from)
		}
	}
	return found, nil
}
