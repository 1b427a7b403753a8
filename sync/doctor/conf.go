package doctor

import (
	"strings"

	"pkgsneak/sync/portage"
)

// assign writes a line of make.conf that gives a variable exactly this value, whatever is in it:
// protected first from the expansion, which leaves single quotes alone, then from the double
// quotes.
func assign(key, value string) string {
	var expanded strings.Builder
	// taken: what stands behind a backslash is taken as it is
	single, double, taken := false, false, false
	for _, r := range strings.Join(strings.Fields(value), " ") {
		quote := strings.ContainsRune(`'"$`, r)
		switch {
		case taken && quote:
		case r == '\'':
			single = single != !double
		case r == '"':
			double = double != !single
		case !single && (r == '\\' || r == '$'):
			expanded.WriteByte('\\')
		}
		taken = r == '\\' && !single
		expanded.WriteRune(r)
	}
	var b strings.Builder
	text := expanded.String()
	for i := range len(text) {
		last := i+1 == len(text)
		if c := text[i]; c == '"' || c == '\\' && (last || text[i+1] == '\\' || text[i+1] == '"' ||
			i > 0 && text[i-1] == '\\') {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
	}
	return key + `="` + b.String() + `"`
}

// add writes a line of make.conf that adds words to an incremental variable, or to any.
func add(key string, words ...string) string {
	return key + `="${` + key + `} ` + strings.Join(words, " ") + `"`
}

// inConf is the fix that sets a variable in make.conf, in the file that has its last word now.
func inConf(s *portage.Settings, key, line string) Fix {
	file, from := s.MakeConf(), s.Sources[key]
	switch {
	case from == portage.SourceEnvironment:
		return Fix{Do: "the environment sets " + key + ": take it out there, or let it be",
			Lines: []string{line}}
	case s.InMakeConf(from):
		file = from
	}
	do := "at the end of the file"
	if s.InMakeConf(from) && !strings.Contains(line, "${"+key+"}") {
		do = "instead of the line that sets " + key
	}
	return Fix{Do: do, File: file, Lines: []string{line}}
}

// run is the fix that is a command.
func run(commands ...string) Fix { return Fix{Do: "run", Lines: commands} }

// optsFix sets EMERGE_DEFAULT_OPTS.
func optsFix(s *portage.Settings, o emergeOpts) Fix {
	return inConf(s, "EMERGE_DEFAULT_OPTS", assign("EMERGE_DEFAULT_OPTS", o.String()))
}
