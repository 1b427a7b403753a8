package portage

import (
	"context"
	"fmt"
	"strings"
)

// portageqVars are the variables that Load asks portageq for.
var portageqVars = []string{
	"PKGDIR", "DISTDIR", "CHOST", "CBUILD", "ARCH", "FEATURES", "USE",
	"ACCEPT_KEYWORDS", "ACCEPT_LICENSE", "ACCEPT_PROPERTIES", "ACCEPT_RESTRICT",
	"CFLAGS", "CXXFLAGS",
	"CONFIG_PROTECT", "CONFIG_PROTECT_MASK", "GENTOO_MIRRORS", "INSTALL_MASK", "IUSE_IMPLICIT",
	"USE_EXPAND", "USE_EXPAND_HIDDEN", "USE_EXPAND_IMPLICIT", "USE_EXPAND_UNPREFIXED",
	"BINPKG_FORMAT", "BINPKG_COMPRESS", "PORTAGE_BINHOST", "EMERGE_DEFAULT_OPTS",
	"PORTAGE_RO_DISTDIRS",
}

// portageq lets Portage itself have the last word. A failure is a Problem: the files have been read
// already.
func (l *loader) portageq(ctx context.Context, run PortageqFunc) error {
	values, err := run(ctx, portageqVars...)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("read portage settings: %w", ctx.Err())
		}
		l.fail(Problem{Reason: fmt.Sprintf("portageq: %v", err)})
		return nil
	}
	for _, k := range portageqVars {
		v, ok := values[k]
		if _, known := l.s.Values[k]; !ok || v == "" && !known {
			continue // portageq prints an unset variable as an empty one
		}
		l.s.Values[k], l.s.Sources[k] = v, SourcePortageq
	}
	if _, ok := values["FEATURES"]; ok {
		l.s.defaults = true
	}
	return nil
}

// ParsePortageq reads the output of `portageq envvar -v VARS...`: NAME=VALUE, quoted for a shell.
func ParsePortageq(out []byte) (map[string]string, error) {
	values, problems, err := ParseAssignments(strings.NewReader(string(out)), "portageq envvar")
	if err == nil && len(problems) > 0 {
		err = fmt.Errorf("read output of portageq: %s", problems[0])
	}
	if err != nil {
		return nil, err
	}
	return values, nil
}
