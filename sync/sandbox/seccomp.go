package sandbox

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The parts of a system call that a filter reads (struct seccomp_data of linux/seccomp.h): its
// number and what kind of machine it is for.
const (
	dataNumber = 0
	dataArch   = 4
	// bit of a number: the call is one of the x32 kind, which has the same name for its machine
	x32 = 0x40000000
)

// machines are the kinds that pkgsneak is built for, by GOARCH: their names in linux/audit.h, and
// the number of socketcall(2), 0 where there is none.
var machines = map[string]struct{ arch, socketcall uint32 }{
	"386":     {unix.AUDIT_ARCH_I386, 102},
	"amd64":   {unix.AUDIT_ARCH_X86_64, 0},
	"arm":     {unix.AUDIT_ARCH_ARM, 0},
	"arm64":   {unix.AUDIT_ARCH_AARCH64, 0},
	"ppc64":   {unix.AUDIT_ARCH_PPC64, 102},
	"ppc64le": {unix.AUDIT_ARCH_PPC64LE, 102},
	"riscv64": {unix.AUDIT_ARCH_RISCV64, 0},
}

// noSockets takes from all threads of this process, for ever, the means to make a socket of
// whatever family, and to gain privileges. A socket that is open stays open. landlock governs TCP
// only, and some kernels do not have it.
func noSockets() error {
	filter, err := socketFilter()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	switch {
	case errno != 0:
		return fmt.Errorf("giving up sockets: %w", errno)
	case thread != 0:
		return fmt.Errorf("giving up sockets: thread %d has a filter of its own", thread)
	}
	return nil
}

// socketFilter answers EPERM to what makes a socket, io_uring's way to it included, and to each
// call of another kind of machine (a 64-bit kernel takes 32-bit calls too).
func socketFilter() ([]unix.SockFilter, error) {
	m, known := machines[runtime.GOARCH]
	if !known {
		return nil, fmt.Errorf("giving up sockets: not known how on %s", runtime.GOARCH)
	}
	numbers := []uint32{unix.SYS_SOCKET, unix.SYS_IO_URING_SETUP}
	if m.socketcall != 0 {
		numbers = append(numbers, m.socketcall)
	}
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	answer := func(a uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: a}
	}
	compare := func(how uint16, with uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | how | unix.BPF_K, K: with}
	}
	filter := []unix.SockFilter{load(dataArch), compare(unix.BPF_JEQ, m.arch), load(dataNumber),
		compare(unix.BPF_JGE, x32)}
	for _, n := range numbers {
		filter = append(filter, compare(unix.BPF_JEQ, n))
	}
	refusal := len(filter) + 1
	filter = append(filter, answer(unix.SECCOMP_RET_ALLOW),
		answer(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM)))
	filter[1].Jf = uint8(refusal - 2)
	for i := 3; i < refusal-1; i++ {
		filter[i].Jt = uint8(refusal - i - 1)
	}
	return filter, nil
}
