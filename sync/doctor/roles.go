package doctor

import (
	"fmt"
	"slices"
	"strings"

	"pkgsneak/manifest"
	"pkgsneak/sync/state"
)

// findRoles finds out what this machine does, and by which signs.
func (e *facts) findRoles() (roles []Role, because []string) {
	if len(e.o.Roles) > 0 {
		return e.o.Roles, []string{"as asked for"}
	}
	signs := map[Role][]string{}
	sign := func(r Role, format string, args ...any) {
		signs[r] = append(signs[r], fmt.Sprintf(format, args...))
	}
	if e.hasKey {
		sign(Host, "it has a signing key")
	}
	if e.st != nil {
		for _, name := range e.st.Origins() {
			sign(Host, "it has exported as %q", name)
		}
		if slices.ContainsFunc(e.st.Runs(), func(r state.Run) bool { return r.Verb == "import" }) {
			sign(Client, "it has imported")
		}
	}
	if slices.ContainsFunc(e.ring, func(k *manifest.PublicKey) bool {
		return !e.isOwn(k.Fingerprint())
	}) {
		sign(Client, "it trusts a key")
	}
	switch auto := strings.ToLower(e.o.Auto); auto {
	case "export", "both":
		sign(Host, "PKGSNEAK_AUTO=%s", auto)
		if auto == "both" {
			sign(Client, "PKGSNEAK_AUTO=%s", auto)
		}
	case "import":
		sign(Client, "PKGSNEAK_AUTO=%s", auto)
	}
	if len(signs) == 0 && e.o.Drive != "" {
		sign(Client, "a drive was named")
	}
	if len(signs) == 0 { // nothing was done yet: what Portage is told is the best guess
		if fetches, _ := e.s.HasFeature("getbinpkg"); fetches {
			sign(Client, "FEATURES has getbinpkg")
		} else if keeps, _ := e.s.HasFeature("buildpkg"); keeps {
			sign(Host, "FEATURES has buildpkg")
		}
	}
	for _, r := range []Role{Host, Client} {
		if len(signs[r]) > 0 {
			roles, because = append(roles, r), append(because, signs[r]...)
		}
	}
	return roles, because
}
