// Package requester finds out what a client has, lacks and wishes, and writes that to a drive as a
// signed request (package request), for the host to read at its next export.
//
// # What is told
//
// The installed packages and the settings that decide what can be installed; which of the packages
// of each trusted origin are here, those that other origins or this machine made left out; what the
// forecast finds missing (package forecast), what was asked for by name, the distfiles of what
// nobody has built and the ebuilds here could compile, what this machine can never use, and what
// failed to install since the last import, as emerge.log has it. A minimal request has the receipts
// and the wants only. The full one is a map of the machine's patch level for whoever finds the
// drive.
//
// # What is written
//
// The client's directory on the drive, in the order of package drivewriter, and the state
// directory: the client's own key, made by the first request, its name and its last serial. The
// serial is the time, more than the last one and than the one on the drive. Nothing is run, and
// nothing else on the machine changes.
package requester
