package vm

import (
	"context"
	"fmt"
	"net/rpc"
	"slices"
	"strings"
	"time"

	"pkgsneak/scripts/vm/disk"
	"pkgsneak/scripts/vm/wire"
)

// Guest is the inside of a machine: what its agent does.
type Guest struct{ client *rpc.Client }

type nothing = struct{}

// call calls the agent.
func (g *Guest) call(ctx context.Context, method string, in, out any) error {
	c := g.client.Go("Agent."+method, in, out, make(chan *rpc.Call, 1))
	select {
	case <-c.Done:
		if c.Error != nil {
			return fmt.Errorf("in the guest: %s: %w", method, c.Error)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("in the guest: %s: %w", method, ctx.Err())
	}
}

// Ping returns when the agent answers.
func (g *Guest) Ping(ctx context.Context) error {
	return g.call(ctx, "Ping", nothing{}, &nothing{})
}

// SetClock sets the guest's clock to so many seconds since 1970.
func (g *Guest) SetClock(ctx context.Context, seconds int64) error {
	return g.call(ctx, "SetClock", seconds, &nothing{})
}

// Speed is that of the guest's processor, as wire.Speed measures it.
func (g *Guest) Speed(ctx context.Context) (bytes float64, err error) {
	err = g.call(ctx, "Speed", nothing{}, &bytes)
	return bytes, err
}

// Run runs a program to its end.
func (g *Guest) Run(ctx context.Context, c wire.Command) (wire.Result, error) {
	var r wire.Result
	err := g.call(ctx, "Run", c, &r)
	return r, err
}

// Sh runs a shell script, which must succeed, and returns what it printed.
func (g *Guest) Sh(ctx context.Context, script string) (string, error) {
	r, err := g.Run(ctx, wire.Command{Argv: []string{"/bin/sh", "-ec", script}})
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("in the guest: %q ended with %d: %s", script, r.Code, r.Stderr)
	}
	return string(r.Stdout), err
}

// Start starts a program.
func (g *Guest) Start(ctx context.Context, c wire.Command) (*Process, error) {
	p := &Process{g: g}
	return p, g.call(ctx, "Start", c, &p.id)
}

// Process is a program that runs in the guest.
type Process struct {
	g    *Guest
	id   int
	seen int
}

// More waits for more output; ended reports that there will be none, and how it
// ended.
func (p *Process) More(ctx context.Context) (out []byte, ended bool, r wire.Result, err error) {
	var polled wire.Polled
	err = p.g.call(ctx, "Poll", wire.Poll{ID: p.id, From: p.seen}, &polled)
	p.seen += len(polled.Stdout)
	return polled.Stdout, polled.Ended, polled.Result, err
}

// Wait waits for the end.
func (p *Process) Wait(ctx context.Context) (wire.Result, error) {
	for {
		_, ended, r, err := p.More(ctx)
		if ended || err != nil {
			return r, err
		}
	}
}

// Signal sends a signal.
func (p *Process) Signal(ctx context.Context, signal int) error {
	return p.g.call(ctx, "Signal", wire.Signal{ID: p.id, Signal: signal}, &nothing{})
}

// Disks lists the USB drives that are plugged in.
func (g *Guest) Disks(ctx context.Context) ([]string, error) {
	var names []string
	err := g.call(ctx, "Disks", nothing{}, &names)
	return names, err
}

// newDisk waits for a USB drive that was not there before.
func (g *Guest) newDisk(ctx context.Context, before []string) (string, error) {
	for {
		now, err := g.Disks(ctx)
		if err != nil {
			return "", err
		}
		for _, name := range now {
			if !slices.Contains(before, name) {
				return "/dev/" + name, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for the drive to come up: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// awaitGone waits until the guest has noticed that a USB drive was pulled: the
// next one may get its name.
func (g *Guest) awaitGone(ctx context.Context, device string) error {
	for {
		now, err := g.Disks(ctx)
		if err != nil || !slices.Contains(now, strings.TrimPrefix(device, "/dev/")) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the drive to go: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Mount mounts a device.
func (g *Guest) Mount(ctx context.Context, m wire.Mount) error {
	return g.call(ctx, "Mount", m, &nothing{})
}

// Unmount unmounts a directory.
func (g *Guest) Unmount(ctx context.Context, dir string) error {
	return g.call(ctx, "Unmount", dir, &nothing{})
}

// Put writes a file.
func (g *Guest) Put(ctx context.Context, p wire.Put) error {
	return g.call(ctx, "Put", p, &nothing{})
}

// Get reads a file.
func (g *Guest) Get(ctx context.Context, name string) ([]byte, error) {
	var data []byte
	err := g.call(ctx, "Get", name, &data)
	return data, err
}

// Remove removes a tree.
func (g *Guest) Remove(ctx context.Context, name string) error {
	return g.call(ctx, "Remove", name, &nothing{})
}

// Copy makes to a copy of the tree from; no from makes it an empty directory.
func (g *Guest) Copy(ctx context.Context, from, to string) error {
	return g.call(ctx, "Copy", wire.Copy{From: from, To: to}, &nothing{})
}

// Tree lists the files below a directory.
func (g *Guest) Tree(ctx context.Context, dir string) ([]wire.File, error) {
	var files []wire.File
	err := g.call(ctx, "Tree", dir, &files)
	return files, err
}

// Load reads a write log from a file of the guest.
func (g *Guest) Load(ctx context.Context, name, path string) (entries int, err error) {
	err = g.call(ctx, "Load", wire.Load{Name: name, Path: path}, &entries)
	return entries, err
}

// Log fetches a log that was recorded.
func (g *Guest) Log(ctx context.Context, name string) (disk.Log, error) {
	var l disk.Log
	err := g.call(ctx, "Log", name, &l)
	return l, err
}

// Attach makes a block device of a state and returns its path.
func (g *Guest) Attach(ctx context.Context, a wire.Attach) (string, error) {
	var path string
	err := g.call(ctx, "Attach", a, &path)
	return path, err
}

// Detach takes it away.
func (g *Guest) Detach(ctx context.Context, path string) error {
	return g.call(ctx, "Detach", path, &nothing{})
}

// Try tries a state.
func (g *Guest) Try(ctx context.Context, t wire.Try) (wire.Tried, error) {
	var tried wire.Tried
	err := g.call(ctx, "Try", t, &tried)
	return tried, err
}
