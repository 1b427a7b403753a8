package portage

import (
	"slices"
	"strings"
)

// incrementals are the variables whose values of all files are stacked.
var incrementals = []string{
	"ACCEPT_KEYWORDS", "CONFIG_PROTECT", "CONFIG_PROTECT_MASK", "ENV_UNSET", "FEATURES",
	"IUSE_IMPLICIT",
	"PROFILE_ONLY_VARIABLES", "USE", "USE_EXPAND", "USE_EXPAND_HIDDEN", "USE_EXPAND_IMPLICIT",
	"USE_EXPAND_UNPREFIXED",
}

// lateIncrementals are stacked too, but keep their order and their "-" words: licenses are expanded
// later.
var lateIncrementals = []string{"ACCEPT_LICENSE", "ACCEPT_PROPERTIES", "ACCEPT_RESTRICT"}

func isIncremental(key string) bool { return slices.Contains(incrementals, key) }

// blacklist are names that neither a file nor the environment can set.
var blacklist = strings.Fields(`
	A AA BASH_FUNC____in_portage_iuse%% BDEPEND BROOT CATEGORY DEPEND DESCRIPTION DOCS EAPI EBUILD_FORCE_TEST
	EBUILD_PHASE EBUILD_PHASE_FUNC EBUILD_SKIP_MANIFEST ED EMERGE_FROM EPREFIX EROOT GREP_OPTIONS HOMEPAGE IDEPEND
	INHERITED IUSE IUSE_EFFECTIVE KEYWORDS LICENSE MERGE_TYPE PDEPEND PF PKGUSE PORTAGE_BACKGROUND
	PORTAGE_BACKGROUND_UNMERGE PORTAGE_BUILDDIR_LOCKED PORTAGE_BUILT_USE PORTAGE_CONFIGROOT PORTAGE_EXPLICIT_INHERIT
	PORTAGE_INTERNAL_CALLER PORTAGE_IUSE PORTAGE_NONFATAL PORTAGE_PIPE_FD PORTAGE_REPO_NAME PORTAGE_USE PROPERTIES
	RDEPEND REPOSITORY REQUIRED_USE RESTRICT ROOT SANDBOX_LOG SLOT SRC_URI _`)

// userOnlyEnv are variables that matter and that often only the environment sets.
var userOnlyEnv = []string{"PKGDIR", "DISTDIR", "CHOST", "USE_ORDER", "PORTAGE_BINHOST",
	"EMERGE_DEFAULT_OPTS"}
