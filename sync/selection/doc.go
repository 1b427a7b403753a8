// Package selection decides what goes on a drive that cannot hold all that an origin has: data in,
// data out. It reads no files; sizes are what a file takes on the drive.
//
//	plan, err := selection.Make(selection.Input{Packages: packages, Distfiles: distfiles, Clients: clients, Room: room})
//	for _, g := range plan.Groups { ... }  // write g.Files; a commit belongs between two groups
//	for _, l := range plan.Leave { ... }   // off the drive, to make room, and why
//
// # Bundles
//
// A bundle is taken whole or not at all. For a client whose installed packages are known it is a
// package that the client's next emerge would install, what that needs and is not installed there,
// and what has to be rebuilt with it (resolve.Result.Bundle): the client can install it alone,
// whatever else arrives. A file that the client has already costs nothing. For everybody else it is
// a package with its closure in the catalogue. A bundle is worked out against the client, never
// against another drive: what is in transit on another drive is no reason for a bundle, but it is a
// part of one that needs it.
//
// # Order
//
//	1 enabling   pkgsneak itself, Portage where packages wait for its EAPI, the C library where others
//	             were built against it
//	2 wished     what a client wishes
//	3 security   what closes an advisory for a client
//	4 updates    the bundles that waited most trips first, then those with the fewest bytes a package
//	5 sources    the distfiles that clients want by name, those of one package together
//	6 unasked    packages that no client asked for, newest first
//	7 distfiles  the rest, smallest first
//
// A client names the distfiles of what its emerge lacks, nobody has built, and its own ebuilds
// could compile: nothing is planned from ebuilds here. Within 1 to 5 the clients take turns: the
// one that got the fewest bytes so far takes its next bundle. Bundles beyond a client's share of
// the room, to which a file that several need counts in part, come behind 5, in the same order: no
// wish, no claim to be full of holes, and none that all has to come together, takes another
// client's share. A bundle that does not fit is passed over, and smaller ones go on. A file that is
// on the drive already goes before what is not, within each of the seven.
//
// # Leaving
//
// Room is what the drive has for payload, with what it carries now. A file that was not chosen
// stays as long as it fits: what every client has leaves first, what somebody lacks leaves last.
// Each file that leaves is in Leave with the reason.
//
// # Limits
//
// MaxClients clients, the packages' bounds are those of package resolve. One client after the other
// is worked out, and of each only places in lists are kept. A client for whom nothing can be worked
// out, because it would take too long or because no exclude list helps, counts like one of whom
// nothing is known; its Share has the trouble.
package selection
