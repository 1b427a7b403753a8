// Package inspect looks at drives and at this machine, and changes nothing: Status tells what a
// drive holds and what this machine remembers of it, Verify reads a drive from end to end and
// compares it with what was signed.
package inspect
