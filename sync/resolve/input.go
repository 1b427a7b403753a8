package resolve

import "pkgsneak/sync/depend"

// Input is the machine and what could be installed on it.
type Input struct {
	Installed  []Package
	Candidates []Package
	// Accept reports whether the machine's configuration accepts a package. nil accepts all.
	Accept func(p Package, installed bool) Reason
	// World are the atoms of /var/lib/portage/world, Sets those of the sets in world_sets, by name
	// without "@".
	World []depend.Atom
	Sets  map[string][]depend.Atom
	// System and Profile are the atoms of the profile's packages files, with and without "*".
	System, Profile []depend.Atom
	// Provided are the CPVs of package.provided.
	Provided []string
	// Implicit reports whether a flag is valid without being in IUSE: the profile's IUSE_EFFECTIVE.
	Implicit func(flag string) bool
	// UseOf returns, for a candidate, which flags the machine's configuration sets. nil: what is
	// replaced has.
	UseOf func(p Package) func(flag string) bool
	// Exclude is what emerge gets as --exclude beside the list that is made.
	Exclude []depend.Atom
	// Stop is asked now and then; true ends the search, as far as it has come. nil: never.
	Stop func() bool
}
