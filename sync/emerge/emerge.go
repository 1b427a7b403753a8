// Package emerge asks real emerge what it would do, and reads its answer.
//
// It is the only place that runs emerge, and it lets it pretend only (-p):
//
//	a, err := emerge.Ask(ctx, emerge.Question{Program: "/usr/bin/emerge", Exclude: names})
//	for _, m := range a.Merges { ... } // what it lists
//
// emerge reads packages, an index and repositories, which are foreign text; so it runs as
// the user portage where the asking process is root, in a process group of its own that ends with
// ctx, without input, and with an environment of few variables. Of its output MaxOutput bytes are
// kept.
//
// # The answer
//
// emerge has no output for programs. Its list has had the same form from 3.0.30 on, and long
// before:
//
//	[binary  N     ] app-misc/foo-1.2-r1::gentoo  USE="..."
//	[binary     UD ] sys-libs/glibc-2.38-3 [2.40]
//	[uninstall     ] app-misc/old-1
//	[blocks B      ] app-misc/old ("app-misc/old" is soft blocking app-misc/foo-1.2)
//
// The name may have a build ID and a repository behind it. A D among the flags is a downgrade.
// Messages begin with "!!!" or "emerge:"; they are kept as they are, each cut at MaxLine bytes:
// whoever prints them quotes them.
package emerge

import (
	"bytes"
	"regexp"
	"strings"
)

const (
	// MaxOutput is how many bytes of emerge's output are read.
	MaxOutput = 4 << 20
	// MaxLine is how many bytes of a message are kept, and MaxSaid how many messages.
	MaxLine = 500
	MaxSaid = 20
)

// Merge is a line of emerge's list.
type Merge struct {
	Name  string // CPV, with "-" and the build ID behind it where the package has one
	Kind  string // binary, ebuild, uninstall, nomerge
	Flags string // as emerge prints them, without blanks: N, NS, U, UD, R, ...
}

// Backwards reports whether it is a downgrade.
func (m Merge) Backwards() bool { return strings.Contains(m.Flags, "D") }

// Answer is emerge's answer.
type Answer struct {
	Exit   int // exit code
	Merges []Merge
	Said   []string // messages: why it would not, or what it leaves out; foreign text
	// Cut means that there was more output than MaxOutput: the list may be incomplete.
	Cut bool
}

// The flags are letters, and the marks of a package that the user accepted against keyword or mask.
var mergeLine = regexp.MustCompile(`^\[(binary|ebuild|uninstall|nomerge)([ A-Za-z~*#]{0,20})\] ([!-~]{1,300})(?:\s|$)`)

// parse reads emerge's output.
func parse(out []byte) (merges []Merge, said []string) {
	for line := range bytes.Lines(out) {
		text := strings.TrimRight(string(line[:min(len(line), 4*MaxLine)]), "\r\n")
		trimmed := strings.TrimLeft(text, " *")
		switch f := mergeLine.FindStringSubmatch(strings.TrimLeft(text, " ")); {
		case f != nil:
			name, _, _ := strings.Cut(f[3], "::")
			merges = append(merges, Merge{Name: name, Kind: f[1],
				Flags: strings.ReplaceAll(f[2], " ", "")})
		case len(said) < MaxSaid && (strings.HasPrefix(trimmed, "!!!") ||
			strings.HasPrefix(trimmed, "emerge: ") || strings.HasPrefix(trimmed, "[blocks B")):
			said = append(said, strings.ToValidUTF8(trimmed[:min(len(trimmed), MaxLine)], "?"))
		}
	}
	return merges, said
}
