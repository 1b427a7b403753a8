package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
)

// profiled does something and writes the profiles that the flags ask for. The files are made
// before: a run may give up the right to make files on its way.
func profiled(o *options, do func() error) (err error) {
	for _, kind := range []struct {
		file string
		with func(*os.File, func() error) error
	}{{o.cpuProfile, withCPUProfile}, {o.memProfile, withMemProfile}} {
		if kind.file == "" {
			continue
		}
		f, err := os.Create(kind.file)
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
