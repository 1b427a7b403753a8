// Package undo takes the last import back: what it replaced, removed or brought into PKGDIR and
// DISTDIR is as it was before, and the index is made anew.
//
//	note (state.Undo)  ->  plan  ->  marks  ->  names and index  ->  rows  ->  lists  ->  forget the note
//
// # What there is to go by
//
// An import notes under each name that it changes what was there and what it puts there, before the
// name changes, and keeps what was there (durable.Keeper). It is kept until the next import that
// changes anything.
//
// # Plan
//
// Each file of the note is judged by what lies there now:
//
//	now            kept       then
//	what came      nothing    removed: there was nothing before the import
//	what came      the old    the old one takes its place again
//	nothing        the old    put back
//	something else the old    a package goes beside it, under the next free number; a distfile stays
//	something else nothing    stays: it was built, fetched or edited since
//	the old one    any        nothing to do: an undo that ended, or a person, put it back
//	what came      lost       stays: what it replaced is not kept any more
//
// A file that came has the bytes and the time that the import gave it. The same bytes with another
// time are something else: somebody has put them there, and they are no origin's any more.
//
// The directory in which a Store keeps files has to be there: if it is not, then another disk is
// mounted, or none, and nothing is done.
//
// # Run
//
// It is under the locks of an import, and noted before a name changes: a run that is ended anywhere
// goes on with the next undo, or an import brings in again what is missing. PKGDIR changes in one
// transaction (pkgdir.Commit): at every instant each entry of the index fits its file. Entries and
// their order are those of the index that was kept, but TIMESTAMP rises: others may have a copy of
// the one in between.
//
// Ebuild repositories that the import replaced or brought change places last (ebuilds.Site.GoBack);
// one that was changed since stays.
//
// # What does not go back
//
// Trust, revocations and the highest serial stay as they are. The generation is remembered as taken
// back: auto passes over it, a person may import it again. Nothing is installed or removed from
// the system: Back is the line for emerge, which names the packages that were installed out of the
// import and are here in the build before. glibc and its kin never go back, and neither do
// configuration files and databases.
package undo
