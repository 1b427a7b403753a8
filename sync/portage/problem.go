package portage

import "fmt"

// Problem is a thing in a configuration file that is wrong, odd, or not understood.
type Problem struct {
	// the file, as the machine names it (without Options.Root); "" if it is the environment
	Path   string
	Line   int    // from 1; 0 if the whole file is meant
	Reason string // lower case
	// Fatal means that real Portage stops here. Everything that was read before is kept, what
	// follows in that file is not read.
	Fatal bool
}

// String is "PATH:LINE: REASON", for printing.
func (p Problem) String() string {
	switch {
	case p.Path == "":
		return p.Reason
	case p.Line == 0:
		return fmt.Sprintf("%s: %s", p.Path, p.Reason)
	}
	return fmt.Sprintf("%s:%d: %s", p.Path, p.Line, p.Reason)
}
