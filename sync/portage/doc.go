// Package portage reads a machine's Portage settings: from its files and the environment that is
// handed in. Nothing is executed (but a portageq that is handed in), nothing is written, and it
// takes a few milliseconds.
//
// # Which files
//
// In this order, a later one winning over an earlier one; all of them may be absent:
//
//	EPREFIX/etc/profile.env, ROOT EPREFIX/etc/profile.env
//	EPREFIX/usr/share/portage/config/make.globals (older: /usr/lib/portage/cnf, /etc/make.globals)
//	make.defaults of each directory of the profile's chain, then /etc/portage/profile/make.defaults
//	/etc/make.conf, then /etc/portage/make.conf, each a file or a directory of files
//	the lines for */* in /etc/portage/package.{use,license,properties,accept_restrict,env}
//	the environment
//
// /etc lies below PORTAGE_CONFIGROOT, else below EPREFIX (PORTAGE_OVERRIDE_EPREFIX or EPREFIX of
// the environment; with both, the latter is that of ROOT alone). The profile is
// /etc/portage/make.profile, else /etc/make.profile: a directory or a symlink to one. A file parent
// names further directories, one a line: relative or absolute paths, REPO:PATH, :PATH. A directory
// of files is read recursively, sorted by name, without hidden files, backups (name~) and version
// control (CVS, .git, ...).
//
// # The grammar of make.conf
//
// It is not a shell's but that of Portage's getconfig, corner by corner:
//
//	file       = { assignment | "source" word }
//	assignment = [ "export" ] name "=" word          blanks and newlines may stand between the three
//	word       = { plain | 'single' | "double" | \c }
//	plain      = letters of ASCII, digits, and ~!@$%*_:;?,./-+{} ; any other character is a word of its own
//
// "#" outside quotes begins a comment, even in the middle of a word. In double quotes a backslash
// protects only a backslash or a double quote. Then variables are expanded, after single quotes as
// well: $NAME and ${NAME}, where an unset one is empty; \$ is a dollar sign, a backslash before a
// newline takes both away, another newline is a blank. For example (getconfig.jsonl in
// testdata/portage has some hundred more, each with the answer of real Portage):
//
//	A=x
//	B='$A "y"' # comment         B is: x "y"
//	C="${A}\
//	  z"                         C is: x  z
//	D=$(uname)                   an error: $ is all of D's value, and "(" is no assignment
//	E="$(uname)"                 E is empty, with a complaint
//	F+=" more"                   an error: F+ is no name
//
// If real Portage stops (emerge does, portageq goes on where it can), there is a fatal Problem, and
// what was read before counts.
//
// # How values are stacked
//
// The incremental variables (USE, FEATURES, ACCEPT_KEYWORDS, CONFIG_PROTECT, USE_EXPAND, ...)
// collect the words of all files: -word takes one away, -* all of them; they are sorted sets in the
// end. ACCEPT_LICENSE, ACCEPT_PROPERTIES and ACCEPT_RESTRICT keep order and "-" words. USE follows
// USE_ORDER, gets the flags of the USE_EXPAND variables (in lower case before an underscore:
// video_cards_intel), of use.force, and ARCH, and loses those of use.mask; the USE_EXPAND variables
// then hold the flags of USE. All other variables are the last value set.
//
// Left out, because nothing here asks for it: settings of single packages (package.use of other
// atoms, package.env, profiles' package.use), use.stable.mask and use.stable.force,
// FEATURES=unknown-features-filter, features that Portage adds for unprivileged users, and that
// FEATURES=test makes Portage forget the "-flag" of a USE in the environment. EAPI files are not
// checked: a profile of an EAPI that is unknown here is read.
//
// # Limits
//
// A file has at most MaxFile bytes, all of them MaxTotal, a value MaxValue; at most MaxDepth files
// source one another.
package portage
