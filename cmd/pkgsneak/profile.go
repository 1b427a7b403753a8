package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"

	"github.com/urfave/cli/v2"
)

// profileFlags are for who wants to know where a run spends its time or its memory. They are in no help.
func profileFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "cpuprofile", Usage: "write a profile of the run's CPU time for go tool pprof", Hidden: true},
		&cli.StringFlag{Name: "memprofile", Usage: "write a profile of what the run allocated for go tool pprof", Hidden: true},
	}
}

// profiled does something and writes the profiles that the flags ask for. The files are made before: a run may give up the right to make files on its way.
func profiled(c *cli.Context, do func() error) (err error) {
	for _, kind := range []struct {
		flag string
		with func(*os.File, func() error) error
	}{{"cpuprofile", withCPUProfile}, {"memprofile", withMemProfile}} {
		name := c.String(kind.flag)
		if name == "" {
			continue
		}
		f, err := os.Create(name)
		if err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		inner := do
		do = func() error {
			err := kind.with(f, inner)
			return errors.Join(err, f.Close())
		}
	}
	return do()
}

func withCPUProfile(f *os.File, do func() error) error {
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return do()
}

func withMemProfile(f *os.File, do func() error) error {
	err := do()
	runtime.GC() // what is live is known after a collection
	return errors.Join(err, pprof.Lookup("allocs").WriteTo(f, 0))
}
