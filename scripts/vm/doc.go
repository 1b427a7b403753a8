// Package vm is the machine lab: a Linux kernel in QEMU with real USB drives
// that are plugged in and pulled out, so that what pkgsneak does to a drive is
// tested with the kernels, file systems and faults that people have.
//
// # Who takes part
//
//	host    this package: boots the machine, owns the drives (raw image files)
//	QEMU    the machine; told over QMP to plug and pull, to throttle, to fail
//	guest   a Debian kernel and an initramfs with busybox and the agent
//	agent   scripts/vm/agent, the guest's only process, told over a serial port
//	        what to run (package wire)
//	disk    write logs, and the images of the states that a pull can leave
//	nbd     drives that are served by the host (fake capacity) or the agent
//
// A guest may also have a system (Config.System): the init, udev and tools of
// Debian's packages in its initramfs. The agent loads the modules, leaves a
// child behind that does what it is told, and becomes that init. There pkgsneak
// is installed as on a real machine, and is started by udev (TestBootedSystemd).
//
// Two ways to look at a pull: a live one (Stick.Pull), and the replay of a
// write log (Guest.Try), which tries hundreds of states in the time that ten
// live pulls take. The log is made by QEMU below the USB drive (Stick.Log), or
// by the agent below a network block device. Each state is mounted. If the
// manifest copies and all files that they list read as in a state before, import and
// verify are not run again, but for one in twenty, to see that this is no loss.
//
// # How much of it runs
//
// The variable PKGSNEAK_VM is "short" for what fits seven minutes on two
// processors: each test has a share of the time and reports how far it came. It is
// "long" for all states of each file system, and all pulls. Without it no
// machine is booted.
//
// # What it needs
//
// QEMU, busybox as a static program, mkfs of the file systems, dpkg and apt-get
// for the kernel, or a kernel that was fetched before (Config.Cache). If one of
// them is missing, the error is an *UnavailableError. Nothing is installed and
// nothing needs root. The kernel's package is unpacked into the cache, never
// installed; those of a system are downloaded there, as for a machine that has
// none, and only read.
package vm
