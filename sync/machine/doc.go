// Package machine is this computer as an operation sees it: its directories, settings, clock and
// name. Everything is handed in; nothing below the command line reads the environment or the clock
// itself.
package machine
