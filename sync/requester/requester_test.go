package requester

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pkgsneak/sync/request"
)

func TestFailures(t *testing.T) {
	log := strings.Join([]string{
		"1000: Started emerge on: Mar 01, 2026 12:00:00",
		"1001:  >>> emerge (1 of 4) app-misc/old-1 to /",
		"2001:  >>> emerge (1 of 4) app-misc/good-1 to /",
		"2002:  === (1 of 4) Merging Binary (app-misc/good-1::/var/cache/binpkgs/app-misc/good-1.tbz2)",
		"2003:  ::: completed emerge (1 of 4) app-misc/good-1 to /",
		"2004:  >>> emerge (2 of 4) app-misc/bad-2 to /",
		"2005:  === (2 of 4) Compiling/Merging (app-misc/bad-2::/var/db/repos/gentoo/app-misc/bad/bad-2.ebuild)",
		"2006:  *** exiting unsuccessfully with status '1'.",
		"2007:  >>> emerge (1 of 1) app-misc/again-3 to /",
		"2008:  *** terminating.",
		"2009:  >>> emerge (1 of 1) app-misc/again-3 to /",
		"2010:  ::: completed emerge (1 of 1) app-misc/again-3 to /",
		"2011:  >>> emerge (1 of 1) ../../etc/passwd to /",
		"2012:  >>> emerge (1 of 1) app-misc/esc-4 to /",
		"2013:  === (1 of 1) \x1b[2JEvil (app-misc/esc-4::x)",
		"not a line of emerge", strings.Repeat("x",
			200_000), "2014:  >>> emerge (1 of 1) app-misc/last-5 to /"}, "\n")
	got := readFailures(strings.NewReader(log), 2000)
	want := []request.Failure{{CPV: "app-misc/bad-2", Phase: "compiling/merging", When: 2004},
		{CPV: "app-misc/esc-4", Phase: "jevil", When: 2012}, {CPV: "app-misc/last-5", When: 2014}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

// Only lines that speak of known packages are told, patterns as what they mean.
func TestMatching(t *testing.T) {
	k := make(known)
	k.addCPV("dev-libs/lib-1", "gentoo")
	k.addCPV("dev-libs/other-1", "guru")
	k.addCPV("app-misc/foo-2", "gentoo")
	for line, want := range map[string]string{
		"dev-libs/lib": "[dev-libs/lib]", ">=dev-libs/lib-3": "[>=dev-libs/lib-3]",
		"dev-libs/secret": "[]", "dev-libs/*": "[dev-libs/lib dev-libs/other]",
		"*/*::guru": "[dev-libs/other::guru]", "*/foo:2": "[app-misc/foo:2]", "$(reboot)": "[]",
		"*": "[]", "": "[]", "!dev-libs/lib": "[]",
	} {
		if got := fmt.Sprint(k.matching(line)); got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
}
