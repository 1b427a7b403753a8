package importer

import (
	"fmt"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/resolve"
)

// outlook is what this machine is: it tells what can never be used here, and at the end what emerge
// can do.
type outlook struct {
	machine *forecast.Machine // nil: packages are not wanted, or the machine cannot be read
	judge   *forecast.Judge
	o       forecast.GateOptions
}

// newOutlook reads the machine.
func newOutlook(m machine.Machine, o forecast.GateOptions) (*outlook, error) {
	v := &outlook{o: o}
	read, err := forecast.ReadMachine(m.Settings, m.CPUInfo)
	if err != nil {
		return v, fmt.Errorf("it is not known what can be installed: %w", err)
	}
	v.machine, v.judge = read, forecast.NewJudge(read, o)
	return v, nil
}

// origin refuses an origin whose packages are for another machine.
func (v *outlook) origin(gen *drive.Generation) error {
	if v.judge == nil {
		return nil
	}
	if why := v.judge.Origin(gen.Record.ARCH, gen.Record.CHOST); why != "" {
		return &MachineError{Origin: gen.Record.Origin, Why: why}
	}
	return nil
}

// refuses tells why a package can never be used here; the zero value is that it can.
func (v *outlook) refuses(c forecast.Candidate) resolve.Reason {
	if v.judge == nil {
		return resolve.Reason{}
	}
	return v.judge.Package(&c)
}

// MachineError reports that an origin's packages are for another machine.
type MachineError struct{ Origin, Why string }

func (e *MachineError) Error() string { return fmt.Sprintf("origin %q: %s", e.Origin, e.Why) }

// Class is fault.Unfit.
func (e *MachineError) Class() fault.Class { return fault.Unfit }

// Hints name the two ways on.
func (e *MachineError) Hints(drive string) []string {
	return []string{"pkgsneak import " + drive +
		" --no-packages   takes its distfiles; --any-arch takes its packages all the same"}
}
