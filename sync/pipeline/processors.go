package pipeline

import "runtime"

// processors is read before anybody changes it.
var processors = runtime.GOMAXPROCS(0)

// Processors is how many processors the program may use: those of the machine, or fewer if its
// cgroup allows fewer, or else as many as the variable GOMAXPROCS has. As many goroutines keep them
// busy, where none of them waits.
func Processors() int { return processors }

// mostWaiting is how many threads may wait in a system call while every processor has work.
const mostWaiting = 4

// ExpectWaits makes the runtime run more threads at a time than there are processors. One that
// waits for a disk counts as running until the runtime's monitor notices it, which takes up to some
// milliseconds, and a processor would stand idle for as long. It is for a program's beginning.
func ExpectWaits() { runtime.GOMAXPROCS(processors + min(processors, mostWaiting)) }
