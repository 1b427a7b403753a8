package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/scripts/vm/disk"
	"pkgsneak/scripts/vm/nbd"
	"pkgsneak/scripts/vm/wire"
)

// The calls of the kernel's nbd device (linux/nbd.h).
const (
	nbdSetSock       = 0xab00
	nbdSetBlockSize  = 0xab01
	nbdDoIt          = 0xab03
	nbdClearSock     = 0xab04
	nbdSetSizeBlocks = 0xab07
	nbdDisconnect    = 0xab08
	nbdSetFlags      = 0xab0a
)

// device is a block device that this process serves.
type device struct {
	node     *os.File
	recorder *disk.Recorder
	record   string // name of the log
	served   sync.WaitGroup
}

// player replays one log on top of layers below.
type player struct {
	below    string // those layers, in words
	replayer *disk.Replayer
}

// Attach makes a block device and returns its path.
func (a *Agent) Attach(o wire.Attach, path *string) error {
	image, err := a.image(o)
	if err != nil {
		return err
	}
	d := &device{record: o.Record}
	var backend disk.Device = image
	if o.Record != "" {
		d.recorder = &disk.Recorder{Device: image}
		backend = d.recorder
	}
	if err := d.connect(a.freeNode(), backend); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	*path = d.node.Name()
	a.devices[*path] = d
	return nil
}

// image puts the layers on top of each other. The replayer of each but the
// last layer is for that state only.
func (a *Agent) image(o wire.Attach) (*disk.Image, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	image, below := disk.NewImage(o.Size), fmt.Sprint(o.Size)
	for i, layer := range o.Layers {
		log, ok := a.logs[layer.Log]
		if !ok {
			return nil, fmt.Errorf("there is no log %q", layer.Log)
		}
		if layer.State.Prefix < 0 {
			layer.State.Prefix = len(log)
		}
		key := fmt.Sprint(i, " ", layer.Log)
		p := a.players[key]
		if p == nil || p.below != below {
			p = &player{below: below, replayer: disk.NewReplayer(image, log)}
			a.players[key] = p
		}
		var err error
		if image, err = p.replayer.Image(layer.State); err != nil {
			return nil, fmt.Errorf("log %q: %w", layer.Log, err)
		}
		below += fmt.Sprint(" ", layer.Log, " ", layer.State)
	}
	return image, nil
}

// freeNode is the next nbd device that nobody uses.
func (a *Agent) freeNode() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := 0; ; i++ {
		name := fmt.Sprintf("/dev/nbd%d", i)
		if a.devices[name] == nil {
			return name
		}
	}
}

// connect gives the kernel one end of a pair of sockets and serves the other.
func (d *device) connect(name string, backend disk.Device) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("making a pair of sockets: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]),
		"nbd server"), os.NewFile(uintptr(pair[1]), "nbd client")
	if d.node, err = os.OpenFile(name, os.O_RDWR, 0); err != nil {
		return errors.Join(err, ours.Close(), theirs.Close())
	}
	fd := int(d.node.Fd())
	for _, call := range []struct {
		request uint
		value   int
	}{
		{nbdSetBlockSize, disk.Sector},
		{nbdSetSizeBlocks, int(backend.Size() / disk.Sector)},
		{nbdSetFlags, nbd.TransmissionFlags},
		{nbdSetSock, int(theirs.Fd())},
	} {
		if err := unix.IoctlSetInt(fd, call.request, call.value); err != nil {
			return errors.Join(fmt.Errorf("setting up %s: call %#x: %w", name, call.request, err),
				d.node.Close(), ours.Close(), theirs.Close())
		}
	}
	d.served.Add(2)
	go func() {
		defer d.served.Done()
		defer ours.Close()
		if err := nbd.Serve(ours, backend); err != nil && !strings.Contains(err.Error(), "reset") {
			fmt.Println("agent: serving", name, err)
		}
	}()
	go func() {
		defer d.served.Done()
		defer theirs.Close()
		err := withoutSignals(func() error {
			return unix.IoctlSetInt(fd, nbdDoIt, 0) // returns when the device is disconnected
		})
		if err := errors.Join(err, unix.IoctlSetInt(fd, nbdClearSock, 0)); err != nil {
			fmt.Println("agent: the device", name, "ended:", err)
		}
	}()
	return d.awaitSize()
}

// withoutSignals calls wait on a thread to which no signal comes, and is the last that its
// goroutine does: the thread ends with it. A call that waits for a device to end takes any signal
// for that end: the next read of the device is an EIO. The runtime sends one to a thread whose
// goroutine is to give way, which can come when that is in the call already.
func withoutSignals(wait func() error) error {
	runtime.LockOSThread()
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil); err != nil {
		return fmt.Errorf("holding signals back: %w", err)
	}
	return wait()
}

// awaitSize waits until the kernel has begun: before that the device is empty.
func (d *device) awaitSize() error {
	for range 5000 {
		end, err := d.node.Seek(0, io.SeekEnd)
		if err != nil || end > 0 {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("setting up %s: the kernel does not begin", d.node.Name())
}

// Detach takes a device away; what was recorded gets its name.
func (a *Agent) Detach(path string, _ *Nothing) error {
	a.mu.Lock()
	d := a.devices[path]
	a.mu.Unlock()
	if d == nil {
		return fmt.Errorf("there is no device %q", path)
	}
	if err := unix.IoctlSetInt(int(d.node.Fd()), nbdDisconnect, 0); err != nil {
		return fmt.Errorf("disconnecting %q: %w", path, err)
	}
	d.served.Wait()
	err := d.node.Close()
	if d.recorder != nil {
		a.keep(d.record, d.recorder.Log())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.devices, path)
	return err
}
