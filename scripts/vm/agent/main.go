// Command agent is the first and only process of the lab's guest: it loads the
// kernel's modules, mounts the shared directory, and does what it is told over
// a virtio serial port until the machine is switched off. In a guest with an
// init of its own a child does that, and the first process becomes that init.
//
// It has no arguments and no settings. Its initramfs has:
//
//	/modules/order   names of module files below /modules, in the order to load
//	/bin/busybox     the shell and its tools
//	/lab-init        a link to the init; there is none in an ordinary guest
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/scripts/vm/wire"
)

func main() {
	if os.Getpid() != 1 {
		report(serve())
		return
	}
	report(start())
	select {} // the end of this process would be a kernel panic
}

func report(err error) {
	if err != nil {
		fmt.Println("agent:", err)
	}
}

// nextInit is a link to the init of a system that this process shall become.
const nextInit = "/lab-init"

// start makes the machine ready, and serves it; or a child serves it, and this
// process becomes another init.
func start() error {
	if err := prepare(); err != nil {
		return err
	}
	program, err := os.Readlink(nextInit)
	if errors.Is(err, fs.ErrNotExist) {
		return serve()
	}
	if err != nil {
		return err
	}
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "TERM=linux"}
	child := exec.Command("/proc/self/exe")
	child.Env, child.Stdout, child.Stderr = env, os.Stdout, os.Stderr
	if err := child.Start(); err != nil {
		return err
	}
	return unix.Exec(program, []string{program}, env)
}

// prepare mounts and loads what the agent needs.
func prepare() error {
	for _, m := range []wire.Mount{
		{Device: "proc", Dir: "/proc", Type: "proc"},
		{Device: "sys", Dir: "/sys", Type: "sysfs"},
		{Device: "dev", Dir: "/dev", Type: "devtmpfs"},
		{Device: "t", Dir: "/t", Type: "tmpfs", Options: "size=90%"},
		{Device: "tmp", Dir: "/tmp", Type: "tmpfs"},
	} {
		if err := mount(m); err != nil {
			return err
		}
	}
	if err := loadModules(); err != nil {
		return err
	}
	share := wire.Mount{Device: wire.Share, Dir: wire.ShareDir, Type: "9p",
		Options: "trans=virtio,version=9p2000.L,msize=524288,cache=none", ReadOnly: true}
	return mount(share)
}

// serve does what it is told over the port.
func serve() error {
	port, err := openPort()
	if err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Agent", newAgent()); err != nil {
		return err
	}
	server.ServeConn(port)
	return nil
}

// mount mounts after making the directory.
func mount(m wire.Mount) error {
	if err := os.MkdirAll(m.Dir, 0o755); err != nil {
		return err
	}
	var flags uintptr
	if m.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	err := unix.Mount(m.Device, m.Dir, m.Type, flags, m.Options)
	for range 100 { // a drive that was just plugged in is listed before it can be opened
		if err != unix.ENXIO {
			break
		}
		time.Sleep(20 * time.Millisecond)
		err = unix.Mount(m.Device, m.Dir, m.Type, flags, m.Options)
	}
	if err != nil {
		return fmt.Errorf("mounting %q on %q: %w", m.Device, m.Dir, err)
	}
	return nil
}

// loadModules loads what is built into no kernel. A module that this machine
// has no use for is passed over.
func loadModules() error {
	order, err := os.ReadFile("/modules/order")
	if err != nil {
		return err
	}
	for name := range strings.Lines(string(order)) {
		name = strings.TrimSpace(name)
		image, err := os.ReadFile(filepath.Join("/modules", name))
		if err != nil {
			return err
		}
		params := ""
		if name == "nbd.ko" {
			params = "max_part=0 nbds_max=16"
		}
		if err := unix.InitModule(image, params); err != nil {
			fmt.Printf("agent: module %s: %v\n", name, err)
		}
	}
	return nil
}

// openPort finds the serial port by its name. The device comes up by itself
// after its module was loaded.
func openPort() (*os.File, error) {
	for range 500 {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			label, err := os.ReadFile(name)
			if err == nil && string(bytes.TrimSpace(label)) == wire.Port {
				return os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(name))),
					os.O_RDWR, 0)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, fmt.Errorf("there is no port %q: %w", wire.Port, fs.ErrNotExist)
}
