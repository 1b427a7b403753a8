package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"pkgsneak/scripts/vm/wire"
)

// Config states what machine to boot.
type Config struct {
	Dir    string // for sockets and logs; a short path, it must exist
	Cache  string // where kernels are kept
	Share  string // directory that the guest sees as /lab
	Agent  string // the agent's program, static
	Memory int    // MiB; 0: 768
	CPUs   int    // 0: 1
	// Programs of this machine that the guest has too, with their libraries.
	Programs []string
	// System is booted, with its init and udev; nil: the agent alone.
	System *System
	// KVM uses the processor's virtualisation. Check it first: see CheckKVM.
	KVM bool
}

// Machine is a booted guest.
type Machine struct {
	Guest
	Kernel  *Kernel
	config  Config
	qemu    *exec.Cmd
	monitor *monitor
	ended   chan struct{}
	names   atomic.Int64
}

// bootTime is how long a guest may take, emulated on a busy machine.
const bootTime = 6 * time.Minute

// Boot boots a machine and waits for its agent.
func Boot(ctx context.Context, c Config) (*Machine, error) {
	if _, err := exec.LookPath(qemu); err != nil {
		return nil, &UnavailableError{"QEMU (Debian: qemu-system-x86)", err}
	}
	kernel, err := FindKernel(ctx, c.Cache)
	if err != nil {
		return nil, err
	}
	initramfs, err := os.Create(filepath.Join(c.Dir, "initramfs"))
	if err != nil {
		return nil, err
	}
	if c.System != nil {
		err = writeSystem(ctx, initramfs, kernel, c.Agent, c.Cache, *c.System)
	} else {
		err = writeInitramfs(initramfs, kernel, c.Agent, c.Programs)
	}
	if err := errors.Join(err, initramfs.Close()); err != nil {
		return nil, err
	}
	m := &Machine{Kernel: kernel, config: c, ended: make(chan struct{})}
	if err := m.boot(ctx); err != nil {
		m.Close()
		log, _ := os.ReadFile(filepath.Join(c.Dir, "console.log"))
		return nil, fmt.Errorf("booting: %w; the console says %.2000q", err, tail(log, 2000))
	}
	return m, nil
}

// CheckKVM reports whether a machine with KVM boots in seconds.
func CheckKVM(ctx context.Context, c Config) bool {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	if _, err := FindKernel(ctx, c.Cache); err != nil {
		return false
	}
	c.KVM = true
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	m, err := Boot(ctx, c)
	if err != nil {
		return false
	}
	m.Close()
	return true
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

const qemu = "qemu-system-x86_64"

func (m *Machine) boot(ctx context.Context) error {
	c := m.config
	more := ""
	if c.System != nil {
		more = " " + c.System.Boot
	}
	words := []string{"-name", "pkgsneak-lab", "-nodefaults", "-no-user-config", "-display", "none",
		"-no-reboot", "-M", "q35",
		"-m", strconv.Itoa(either(c.Memory, 768)), "-smp", strconv.Itoa(either(c.CPUs, 1)),
		"-kernel", m.Kernel.Image, "-initrd", filepath.Join(c.Dir, "initramfs"),
		"-append",
		"console=ttyS0 quiet panic=-1 no_timer_check usb_storage.delay_use=0 mitigations=off nokaslr random.trust_cpu=on audit=0" + more,
		"-device", "qemu-xhci,id=xhci,p2=8,p3=8", "-device", "virtio-serial-pci", "-device",
		"virtio-rng-pci",
		"-chardev", "socket,id=agent,path=agent.sock,server=on,wait=off", "-device",
		"virtserialport,chardev=agent,name=" + wire.Port,
		"-chardev", "socket,id=qmp,path=qmp.sock,server=on,wait=off", "-mon",
		"chardev=qmp,mode=control",
		"-chardev", "file,id=console,path=console.log", "-serial", "chardev:console",
		"-virtfs", "local,path=" + c.Share + ",mount_tag=" + wire.Share +
			",security_model=none,readonly=on,multidevs=remap",
	}
	if c.KVM {
		words = append(words, "-accel", "kvm", "-cpu", "host")
	} else {
		words = append(words, "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max")
	}
	m.qemu = exec.Command(qemu, words...)
	m.qemu.Dir = c.Dir
	// The guest goes when the test goes, whatever that dies of.
	m.qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := os.Create(filepath.Join(c.Dir, "qemu.log"))
	if err != nil {
		return err
	}
	defer out.Close()
	m.qemu.Stdout, m.qemu.Stderr = out, out
	if err := startLocked(m.qemu); err != nil {
		return err
	}
	go func() {
		_ = m.qemu.Wait() // it is killed, mostly
		close(m.ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	qmp, err := m.dial(ctx, "qmp.sock")
	if err != nil {
		return err
	}
	if m.monitor, err = newMonitor(ctx, qmp); err != nil {
		return err
	}
	agent, err := m.dial(ctx, "agent.sock")
	if err != nil {
		return err
	}
	m.Guest.client = rpc.NewClient(agent)
	return m.Ping(ctx)
}

func either(n, fallback int) int {
	if n != 0 {
		return n
	}
	return fallback
}

// dial connects to a socket of QEMU, which makes them while it starts.
func (m *Machine) dial(ctx context.Context, name string) (net.Conn, error) {
	// A path that is relative to a descriptor has no limit of length.
	path := filepath.Join(m.config.Dir, name)
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn, nil
		}
		select {
		case <-m.ended:
			log, _ := os.ReadFile(filepath.Join(m.config.Dir, "qemu.log"))
			return nil, fmt.Errorf("QEMU has ended: %.1000s", log)
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Close switches the machine off, without a word to the guest.
func (m *Machine) Close() {
	if m.qemu == nil || m.qemu.Process == nil {
		return
	}
	_ = m.qemu.Process.Kill() // it may have ended
	<-m.ended
}

// name makes an identifier that QEMU has not seen.
func (m *Machine) name(kind string) string {
	return fmt.Sprintf("%s%d", kind, m.names.Add(1))
}
