package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/scripts/vm/disk"
	"pkgsneak/scripts/vm/wire"
)

// Agent has the calls that the host makes. Each call runs in a goroutine of
// its own.
type Agent struct {
	mu       sync.Mutex
	logs     map[string]disk.Log
	players  map[string]*player
	devices  map[string]*device
	programs map[int]*program
	unnamed  map[string]*os.File
	kernel   *kernelLog
	tried    map[string]map[uint64]bool // series -> fingerprints
	prints   fingerprinter
}

func newAgent() *Agent {
	return &Agent{
		logs: make(map[string]disk.Log), players: make(map[string]*player),
		devices:  make(map[string]*device),
		programs: make(map[int]*program), unnamed: make(map[string]*os.File),
		kernel: openKernelLog(),
		tried:  make(map[string]map[uint64]bool),
	}
}

// Nothing is what calls without an argument or a result have.
type Nothing struct{}

// Ping answers.
func (a *Agent) Ping(Nothing, *Nothing) error { return nil }

// SetClock sets the guest's clock.
func (a *Agent) SetClock(seconds int64, _ *Nothing) error {
	now := unix.NsecToTimeval(seconds * int64(time.Second))
	return unix.Settimeofday(&now)
}

// Speed measures the guest's processor.
func (a *Agent) Speed(_ Nothing, bytes *float64) error {
	*bytes = wire.Speed(time.Now)
	return nil
}

// Disks lists the USB drives that are plugged in: sda, sdb.
func (a *Agent) Disks(_ Nothing, names *[]string) error {
	found, err := filepath.Glob("/sys/block/sd*")
	for _, f := range found {
		// A drive is listed before its size is known.
		size, err := os.ReadFile(filepath.Join(f, "size"))
		if err == nil && strings.TrimSpace(string(size)) != "0" {
			*names = append(*names, filepath.Base(f))
		}
	}
	return err
}

// Mount mounts a device.
func (a *Agent) Mount(m wire.Mount, _ *Nothing) error { return mount(m) }

// Unmount unmounts a directory.
func (a *Agent) Unmount(dir string, _ *Nothing) error {
	if err := unmount(dir); err != nil {
		return fmt.Errorf("unmounting %q: %w", dir, err)
	}
	return nil
}

// unmount waits a little for those who just closed their files.
func unmount(dir string) error {
	for range 100 {
		err := unix.Unmount(dir, 0)
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return unix.EBUSY
}

// Put writes a file.
func (a *Agent) Put(p wire.Put, _ *Nothing) error {
	if err := os.MkdirAll(filepath.Dir(p.Path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(p.Path, p.Data, fs.FileMode(p.Mode))
}

// Get reads a file.
func (a *Agent) Get(name string, data *[]byte) (err error) {
	*data, err = os.ReadFile(name)
	return err
}

// Remove removes a tree.
func (a *Agent) Remove(name string, _ *Nothing) error { return os.RemoveAll(name) }

// Copy copies a tree.
func (a *Agent) Copy(c wire.Copy, _ *Nothing) error { return copyTree(c) }

// copyTree empties To and fills it from From; no From makes an empty directory.
func copyTree(c wire.Copy) error {
	if err := os.RemoveAll(c.To); err != nil {
		return err
	}
	if err := os.MkdirAll(c.To, 0o755); err != nil || c.From == "" {
		return err
	}
	return filepath.WalkDir(c.From, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(c.To, strings.TrimPrefix(name, c.From))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return copyFile(name, to, info)
	})
}

func copyFile(from, to string, info fs.FileInfo) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if err := errors.Join(err, dst.Close()); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}

// Tree lists the files below a directory, sorted, with what is in them.
func (a *Agent) Tree(dir string, files *[]wire.File) error {
	*files = tree(dir)
	return nil
}

func tree(dir string) []wire.File {
	var files []wire.File
	filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(strings.TrimPrefix(name, dir), "/")
		if err != nil {
			files = append(files, wire.File{Path: rel, Err: err.Error()})
			return nil
		}
		if d.Type().IsRegular() {
			files = append(files, digest(name, rel))
		}
		return nil
	})
	slices.SortFunc(files, func(a, b wire.File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

func digest(name, rel string) wire.File {
	file := wire.File{Path: rel}
	f, err := os.Open(name)
	if err != nil {
		file.Err = err.Error()
		return file
	}
	defer f.Close()
	h := sha256.New()
	if file.Size, err = io.Copy(h, f); err != nil {
		file.Err = err.Error()
	}
	h.Sum(file.Sum[:0])
	return file
}

// Load reads a write log.
func (a *Agent) Load(l wire.Load, entries *int) error {
	f, err := os.Open(l.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	log, err := disk.ReadLog(f)
	if err != nil {
		return err
	}
	a.keep(l.Name, log)
	*entries = len(log)
	return nil
}

// keep gives a log a name; what was made of an older one of that name goes.
func (a *Agent) keep(name string, log disk.Log) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.logs[name] = log
	clear(a.players)
}

// Log hands out a log.
func (a *Agent) Log(name string, log *disk.Log) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	found, ok := a.logs[name]
	if !ok {
		return fmt.Errorf("there is no log %q", name)
	}
	*log = found
	return nil
}

// Try tries a state of a drive. Calls of one series come one after the other.
func (a *Agent) Try(t wire.Try, tried *wire.Tried) error {
	a.kernel.skip()
	var node string
	if err := a.Attach(t.Attach, &node); err != nil {
		return err
	}
	t.Mount.Device = node
	if err := mount(t.Mount); err != nil {
		tried.MountError = err.Error()
	} else {
		err := a.look(t, tried)
		if err := errors.Join(err, unmount(t.Mount.Dir)); err != nil {
			return fmt.Errorf("trying a state: %w", err)
		}
	}
	tried.Kernel = a.kernel.lines()
	return a.Detach(node, nil)
}

// look runs the commands on what is mounted, unless the series had the same
// before.
func (a *Agent) look(t wire.Try, tried *wire.Tried) error {
	if t.Series != "" {
		tried.Fingerprint = a.prints.tree(t.Mount.Dir)
		if a.isKnown(t, tried.Fingerprint) && !t.Afresh {
			return nil
		}
	}
	for _, c := range t.Reset {
		if err := copyTree(c); err != nil {
			return err
		}
	}
	for _, c := range t.Commands {
		var r wire.Result
		if err := a.Run(c, &r); err != nil {
			return err
		}
		tried.Results = append(tried.Results, r)
	}
	for _, dir := range t.Trees {
		tried.Trees = append(tried.Trees, tree(dir))
	}
	return nil
}
