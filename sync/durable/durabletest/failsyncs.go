package durabletest

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FailSyncs calls f on a thread of its own, on which the kernel answers each fsync(2), fdatasync(2)
// and syncfs(2) with EIO: a function that reports no error there does not call them, whatever it
// tells a hook. The work that f leaves to other goroutines goes on as ever. An error means that the
// kernel cannot do that, and f was not called.
func FailSyncs(f func()) error {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := failSyncs()
		defer func() { ended <- err }()
		if err == nil {
			f()
		}
	}()
	return <-ended
}

// dataNumber is where a filter finds the number of a system call (struct seccomp_data of
// linux/seccomp.h).
const dataNumber = 0

func failSyncs() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	jump := func(number uint32, over uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: number, Jt: over}
	}
	answer := func(a uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: a}
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: dataNumber},
		jump(unix.SYS_FSYNC, 3), jump(unix.SYS_FDATASYNC, 2), jump(unix.SYS_SYNCFS, 1),
		answer(unix.SECCOMP_RET_ALLOW), answer(unix.SECCOMP_RET_ERRNO | uint32(unix.EIO)),
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0,
		uintptr(unsafe.Pointer(&program))); errno != 0 {
		return fmt.Errorf("a filter of system calls: %w", errno)
	}
	return nil
}
