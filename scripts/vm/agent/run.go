package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/scripts/vm/wire"
)

// program is one that runs.
type program struct {
	cmd    *exec.Cmd
	ended  chan struct{}
	result wire.Result

	mu   sync.Mutex
	more chan struct{} // closed when there is more output
	out  bytes.Buffer
}

// Write takes what the program prints.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.more)
	p.more = make(chan struct{})
	return p.out.Write(b)
}

// Run runs a program to its end.
func (a *Agent) Run(c wire.Command, r *wire.Result) error {
	p, err := a.start(c)
	if err != nil {
		return err
	}
	<-p.ended
	*r = p.result
	return nil
}

// Start starts a program.
func (a *Agent) Start(c wire.Command, id *int) error {
	p, err := a.start(c)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	*id = p.cmd.Process.Pid
	a.programs[*id] = p
	return nil
}

func (a *Agent) start(c wire.Command) (*program, error) {
	if len(c.Argv) == 0 {
		return nil, errors.New("running a program: it has no name")
	}
	seconds := c.Seconds
	if seconds == 0 {
		seconds = 600
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds)*time.Second)
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	if c.Unnamed {
		path, err := a.copyWithoutName(c.Argv[0])
		if err != nil {
			cancel()
			return nil, err
		}
		cmd.Path, cmd.Err = path, nil
	}
	cmd.Env = append([]string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/tmp",
		"LD_LIBRARY_PATH=/lib"}, c.Env...)
	cmd.Dir = c.Dir
	p := &program{cmd: cmd, ended: make(chan struct{}), more: make(chan struct{})}
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = p, &stderr
	cmd.WaitDelay = 5 * time.Second
	began := time.Now()
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("running %q: %w", c.Argv[0], err)
	}
	go func() {
		defer cancel()
		defer close(p.ended)
		_ = cmd.Wait() // the state has it
		p.result = wire.Result{Code: code(cmd.ProcessState), Stdout: p.out.Bytes(),
			Stderr: stderr.Bytes(), Millis: time.Since(began).Milliseconds()}
	}()
	return p, nil
}

func code(s *os.ProcessState) int {
	if s == nil {
		return -1
	}
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}

// copyWithoutName makes a copy in memory that no directory has.
func (a *Agent) copyWithoutName(name string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.unnamed[name] == nil {
		src, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer src.Close()
		fd, err := unix.MemfdCreate("unnamed", unix.MFD_CLOEXEC)
		if err != nil {
			return "", fmt.Errorf("making a file without a name: %w", err)
		}
		f := os.NewFile(uintptr(fd), name)
		if _, err := io.Copy(f, src); err != nil {
			f.Close()
			return "", err
		}
		a.unnamed[name] = f
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), a.unnamed[name].Fd()), nil
}

// Poll waits for output or the end.
func (a *Agent) Poll(q wire.Poll, r *wire.Polled) error {
	p, err := a.program(q.ID)
	if err != nil {
		return err
	}
	for {
		p.mu.Lock()
		more, have := p.more, bytes.Clone(p.out.Bytes()[min(q.From, p.out.Len()):])
		p.mu.Unlock()
		if len(have) > 0 {
			r.Stdout = have
			return nil
		}
		select {
		case <-p.ended:
			r.Ended, r.Result = true, p.result
			return nil
		case <-more:
		}
	}
}

func (a *Agent) program(id int) (*program, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.programs[id]
	if p == nil {
		return nil, fmt.Errorf("there is no program %d", id)
	}
	return p, nil
}

// Signal sends a signal.
func (a *Agent) Signal(s wire.Signal, _ *Nothing) error {
	p, err := a.program(s.ID)
	if err != nil {
		return err
	}
	return p.cmd.Process.Signal(syscall.Signal(s.Signal))
}
