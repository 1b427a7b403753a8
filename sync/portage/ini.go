package portage

import (
	"fmt"
	"slices"
	"strings"
)

// ini is what Python's ConfigParser keeps of repos.conf: sections in order, option names in lower
// case, DEFAULT apart.
type ini struct {
	defaults map[string]string
	sections []string
	options  map[string]map[string]string
}

func newINI(defaults map[string]string) *ini {
	return &ini{defaults: defaults, options: make(map[string]map[string]string)}
}

func (x *ini) section(name string) map[string]string {
	if name == "DEFAULT" {
		return x.defaults
	}
	if x.options[name] == nil {
		x.options[name] = make(map[string]string)
		x.sections = append(x.sections, name)
	}
	return x.options[name]
}

// parse reads one file into x as ConfigParser.read_file does: [section], name = value or name:
// value, lines that begin with # or ; are comments, a line that is indented more than its option's
// goes on with its value. A line that ConfigParser refuses is fatal, for Portage then ignores the
// whole of repos.conf; here only the line is left out.
func (x *ini) parse(text, file string, fail func(Problem)) {
	var (
		current map[string]string
		option  string
		indent  int
		lines   []string // of the option's value
		section = map[string]bool{}
		seen    = map[string]bool{} // options of this file's current section
	)
	flush := func() {
		if option != "" && current != nil {
			current[option] = strings.TrimRight(strings.Join(lines, "\n"), " \t\n")
		}
		option, lines = "", nil
	}
	bad := func(line int, format string, args ...any) {
		fail(Problem{file, line, fmt.Sprintf(format, args...), true})
	}
	for i, raw := range strings.Split(text, "\n") {
		value := strings.TrimSpace(raw)
		if value == "" {
			if option != "" {
				lines = append(lines, "")
			}
			continue
		}
		if value[0] == '#' || value[0] == ';' {
			continue
		}
		depth := len(raw) - len(strings.TrimLeft(raw, " \t\f\v"))
		if option != "" && depth > indent {
			lines = append(lines, value)
			continue
		}
		flush()
		indent = depth
		if end := strings.LastIndexByte(value, ']'); value[0] == '[' && end > 1 {
			name := value[1:end]
			if section[name] {
				bad(i+1, "section %q stands twice in one file", name)
			}
			section[name] = true
			current, seen = x.section(name), map[string]bool{}
			continue
		}
		sep := strings.IndexAny(value, "=:")
		switch {
		case current == nil:
			bad(i+1, "%q stands before the first [section]", value)
			continue
		case sep <= 0:
			bad(i+1, "%q is not NAME = VALUE", value)
			continue
		}
		option = strings.ToLower(strings.TrimSpace(value[:sep]))
		if seen[option] {
			bad(i+1, "option %q stands twice in one section", option)
		}
		seen[option] = true
		lines = []string{strings.TrimSpace(value[sep+1:])}
	}
	flush()
}

const (
	maxInterpolation = 10     // %(name)s inside one another, as ConfigParser
	maxReplaced      = 10_000 // %(name)s in one value, with those that they lead to
)

// get returns an option of a section, or of DEFAULT, with %(name)s replaced; "" if neither has it.
func (x *ini) get(section, option string) (string, error) {
	raw, _ := x.raw(section, option)
	left := maxReplaced
	return x.interpolate(section, raw, 0, &left)
}

func (x *ini) raw(section, option string) (string, bool) {
	if v, ok := x.options[section][option]; ok {
		return v, true
	}
	v, ok := x.defaults[option]
	return v, ok
}

func (x *ini) interpolate(section, s string, depth int, left *int) (string, error) {
	if *left--; *left < 0 {
		return "", fmt.Errorf("more than %d times %%(...)s", maxReplaced)
	}
	if depth > maxInterpolation {
		return "", fmt.Errorf("%%(...)s goes deeper than %d", maxInterpolation)
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			b.WriteString(s)
			return b.String(), nil
		}
		b.WriteString(s[:i])
		s = s[i+1:]
		if strings.HasPrefix(s, "%") {
			b.WriteByte('%')
			s = s[1:]
			continue
		}
		name, rest, ok := strings.Cut(strings.TrimPrefix(s, "("), ")s")
		if !strings.HasPrefix(s, "(") || !ok {
			return "", fmt.Errorf("%q is not %%%% or %%(NAME)s", "%"+s)
		}
		raw, ok := x.raw(section, strings.ToLower(name))
		if !ok {
			return "", fmt.Errorf("%%(%s)s is not set", name)
		}
		v, err := x.interpolate(section, raw, depth+1, left)
		if err != nil {
			return "", err
		}
		if b.Len()+len(v) > MaxValue {
			return "", errLongValue
		}
		b.WriteString(v)
		s = rest
	}
}

// keyValues reads a file of "key = value" lines (metadata/layout.conf); other lines are ignored.
func keyValues(text string) map[string]string {
	m := make(map[string]string)
	for line := range strings.SplitSeq(text, "\n") {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if k = strings.TrimSpace(k); ok && k != "" && k[0] != '#' {
			m[k] = strings.TrimSpace(v)
		}
	}
	return m
}

// wordLines returns the lines of a list file (parent, use.mask) with blanks collapsed and comments
// removed.
func wordLines(text string) []string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		f := lineWords(line)
		if len(f) > 0 {
			lines = append(lines, strings.Join(f, " "))
		}
	}
	return lines
}

// lineWords splits a line and cuts it at the first word that begins with "#".
func lineWords(line string) []string {
	f := strings.Fields(line)
	if i := slices.IndexFunc(f, func(w string) bool { return w[0] == '#' }); i >= 0 {
		f = f[:i]
	}
	return f
}

func prefixed(words []string) (flags []string) {
	prefix := ""
	for _, w := range words {
		switch {
		case strings.HasSuffix(w, ":"):
			prefix = strings.ToLower(w[:len(w)-1]) + "_"
		case w[0] == '-':
			flags = append(flags, "-"+prefix+w[1:])
		default:
			flags = append(flags, prefix+w)
		}
	}
	return flags
}
