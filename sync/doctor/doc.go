// Package doctor looks at this machine's settings and reports what is wrong with them for the work
// that the machine does, why, and how to fix it. It reads; nothing is executed, written or asked
// for over a network.
//
// # Roles
//
// A host builds and exports, a client imports, a machine can be both. Options.Role tells which;
// else it follows from what it has done and is set up for:
//
//	host    a signing key, an export that is remembered, PKGSNEAK_AUTO=export or both
//	client  a trusted key, an import that is remembered, PKGSNEAK_AUTO=import or both
//
// If nothing of that decides and a drive is given, the machine is looked at as a client. A machine
// that is neither is not blamed for what it lacks; it is told how to become one.
//
// # Findings
//
// Each finding has a topic, a weight, what is wrong, why that matters, and how to fix it:
//
//	broken  something does not work, or will do harm, until it is fixed
//	wrong   works, but not as hoped: packages are ignored, or cannot run elsewhere
//	note    of interest; a healthy machine may have notes
//
// Findings come in order of weight, then in the order in which they should be fixed. Only broken
// and wrong ones count (Report.Found). A doctor that cries wolf is not read twice: what cannot be
// known is no finding but a line in Report.Unknown, and Options.Ignore silences topics that are
// meant to be as they are.
//
// A Fix is lines for a file, or commands. Lines for make.conf are such that Portage's own parser
// makes of them what is meant, wherever the variable was set before, if they stand where the fix
// puts them.
//
// # A drive
//
// With a drive, each origin's last generation is compared with this machine. Only differences that
// matter are told: those for which packages that the drive carries are masked, ignored by --usepkg,
// or not made for this CPU. USE flags are compared where the two machines' global settings differ,
// and where this machine has a line in package.use; what the origin set for single packages is seen
// in the packages' own USE only.
//
// Which CPU a package needs is in its CFLAGS, which no index carries: they are read out of the
// packages themselves, from Sampled of them spread over the list, from all with Options.Deep. Those
// bytes are not verified (that would be reading the whole drive): they are hints for a person,
// nothing is decided by them.
package doctor
