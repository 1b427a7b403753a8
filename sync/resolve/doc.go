// Package resolve works out what emerge can install of a set of binary packages, what it cannot and
// why, and the --exclude list under which it does all of the former: data in, data out. It reads no
// files and runs nothing.
//
//	r, err := resolve.Resolve(resolve.Input{
//		Installed:  installed,  // FromKeys of each record in /var/db/pkg
//		Candidates: candidates, // FromKeys of each entry of the index
//		Accept:     accept,     // keywords, masks, licences, CHOST, EAPI: the machine's configuration
//		World:      world, Sets: sets, System: system, Profile: profile, Provided: provided,
//		Implicit:   iuseEffective,
//	})
//	for _, m := range r.Merges { ... }    // what is installed, and what for
//	for _, f := range r.Refusals { ... }  // what is not: f.Cause, f.Atom, f.Other
//	line := "emerge -auDK --rebuilt-binaries-timestamp=0 --exclude " +
//		strconv.Quote(strings.Join(r.Exclude, " ")) + " @world"
//	r.Bundle(0)                           // what has to come along with the first merge
//
// Resolve predicts what emerge does by itself, and makes the list longer until the prediction ends
// well.
//
// # What is predicted
//
// `emerge -uDK --rebuilt-binaries-timestamp=0 @world` of Portage 3.0. DEPEND and BDEPEND do not
// count for binaries.
//
//   - The walk begins at the sets: @system, @selected, the user's, @profile. Packages that it does
//     not reach are not updated. It follows the dependencies of what it chooses, so that what only
//     a replaced version needed is not reached.
//   - Choice is per atom, not per slot: of the matching binaries the highest (version, then
//     BUILD_TIME), of the matching installed packages the highest; the binary if it was built
//     later, whatever its version (this is how emerge downgrades), else the higher version, else
//     the installed one. A package that the graph has for that slot, and the atom matches, goes
//     before both. So an atom without a slot means the highest slot.
//   - An installed package whose keyword is not accepted any more counts as absent beside a binary
//     that is.
//   - Any-of groups and virtuals wait until all plain atoms are done; the last one that came is
//     first. The first alternative counts of which everything is in the graph or every name is
//     installed; then one that can be had; then those that lack only USE. An alternative with
//     higher versions of the same names goes before one that is written earlier. Groups of one
//     package that share a name are multiplied out, and the fewest new slots win. An alternative
//     that would bring a lower version is the last resort. Virtuals cost nothing: their
//     dependencies stand in their place.
//   - A package that needs what nothing satisfies is masked, and all is walked again: a lower
//     version or another build comes, or its users fall as well. If only USE is in the way, emerge
//     ends with 1 instead: the user could change it, were it no binary.
//   - Two packages for a slot: those that somebody outside needs stay, the others go. If that does
//     not settle it, one rival after the other is masked (up to 20 walks, 10 masks deep); if other
//     flags would have settled it, emerge ends with 1 at once.
//   - A package whose slot operator is bound (":0/1=") holds the library back, unless a build
//     bound to the new sub-slot is there.
//   - A blocker against something that is needed ends with 1. A package that nothing needs is
//     removed for "!", and ends with 1 for "!!".
//   - An atom of @selected that nothing satisfies is told; one of @system, @profile or a user's
//     set ends with 1, and no list helps, unless the list names a package that the atom matches:
//     then emerge passes over it.
//   - package.provided satisfies atoms by version alone; it has no slots and no flags.
//
// # The list
//
// It holds what would go backwards, what lacks something, and the way out of each failure that
// leaves most to install. On one point we differ from emerge on purpose: an installed package that
// the walk does not reach is protected. emerge breaks it, or removes it for a blocker, without a
// word; here what would do so is excluded. Libraries, which emerge does not look at by default,
// count as well: a package whose REQUIRES nobody in the end provides is excluded, except for what
// nobody here provides anyway.
//
// # Limits
//
// MaxPackages installed and as many candidates, MaxString bytes a string; deeper, the looks at
// alternatives are bounded, as is the work of a whole resolution, and its memory by the number of
// words: beyond that, and where Input.Stop is true, Result.GaveUp is true. Then nothing is told of
// what can be installed, and the list holds what would go backwards.
package resolve
