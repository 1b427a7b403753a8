package forecast

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pkgsneak/sync/resolve"
)

// TextOptions states how a forecast is put into words.
type TextOptions struct {
	Size func(bytes int64) string // how sizes are written; nil: bytes
	Most int                      // packages named of each list; 0: all
	// File holds the names to exclude; "": they stand in the line.
	File  string
	Drive string // where a request would be written; "": no word of that
}

// sizeMark stands for a size in a text until it is known how sizes are written.
func sizeMark(n int64) string { return "\x00" + strconv.FormatInt(n, 10) + "\x00" }

func (o *TextOptions) sizes(text string) string {
	parts := strings.Split(text, "\x00")
	for i := 1; i < len(parts); i += 2 {
		if n, err := strconv.ParseInt(parts[i], 10, 64); err == nil {
			parts[i] = o.size(n)
		}
	}
	return strings.Join(parts, "")
}

func (o *TextOptions) size(n int64) string {
	if o.Size == nil {
		return strconv.FormatInt(n, 10) + " bytes"
	}
	return o.Size(n)
}

// Lines is the forecast for people, a line each. Names are those of packages, which were checked;
// texts out of them are quoted by whoever prints.
func (f *Forecast) Lines(o TextOptions) []string {
	var t []string
	say := func(format string, args ...any) { t = append(t, fmt.Sprintf(format, args...)) }
	for _, s := range f.Before {
		say("First: %s", o.sizes(s.Why))
		if s.Line != "" {
			say("  %s", s.Line)
		}
	}
	if f.Installed == 0 {
		say("/var/db/pkg has no installed package: what emerge can do is not worked out")
		if text := UnusableText(f.Unusable); text != "" {
			say("%s", text)
		}
		if line := f.Line(o.File); line != "" {
			say("Next: %s", line)
		}
		return t
	}
	f.sayMerges(o, say)
	f.sayCannot(o, say)
	if n := len(f.Older); n > 0 {
		say("%s older than what is installed and %s (%s)", are(n), stay(n),
			few(f.Older, 2, func(x Older) string {
				return x.Name + " for " + versionOf(x.Installed)
			}))
	}
	if n := len(f.OtherUse); n > 0 {
		say("%s with other USE than this machine sets (%s): --respect-use leaves that out", come(n),
			few(f.OtherUse, 2, func(d Difference) string {
				return d.Name + " " + strings.Join(d.Flags, " ")
			}))
	}
	if text := UnusableText(f.Unusable); text != "" {
		say("%s", text)
	}
	if n := len(f.Missing); n > 0 {
		say("%d of @world cannot be had here: %s", n,
			few(f.Missing, 5, func(s string) string { return s }))
	}
	f.sayCompile(say)
	if f.News > 0 {
		say("%s: eselect news read", plural(f.News, "unread news item"))
	}
	if line := f.Line(o.File); line != "" {
		say("Next: %s", line)
		for _, s := range f.After {
			say("then: %s   (%s)", s.Line, s.Why)
		}
	}
	if o.Drive != "" && len(f.Cannot)+len(f.Missing) > 0 {
		say("or:   pkgsneak request %s      so that the host brings what is missing",
			quotePath(o.Drive))
	}
	return t
}

// summary is the forecast in one line.
func (f *Forecast) summary(o TextOptions) string {
	if len(f.Merges) == 0 {
		return "nothing of @world can be installed or updated now; for any other package: emerge -aK ATOM"
	}
	c := f.counts()
	return fmt.Sprintf("%s can be installed now: %s, %s, %d new",
		plural(len(f.Merges)-c.Removed, "package"), plural(c.Updates, "update"),
		plural(c.Rebuilds, "rebuild"), c.New) + f.onDisk(o)
}

// counts are the merges by kind.
type counts struct{ Updates, Rebuilds, New, Removed int }

// counts counts the merges.
func (f *Forecast) counts() counts {
	var c counts
	for _, x := range f.Merges {
		switch x.Kind {
		case resolve.Update.String():
			c.Updates++
		case resolve.Rebuild.String():
			c.Rebuilds++
		case resolve.Uninstall.String():
			c.Removed++
		default:
			c.New++
		}
	}
	return c
}

func (f *Forecast) onDisk(o TextOptions) string {
	sign, n := "+", f.Growth
	if n < 0 {
		sign, n = "-", -n
	}
	switch {
	case f.Unknown == len(f.Merges):
		return ""
	case f.Unknown > 0:
		return fmt.Sprintf(" (download 0, on disk %s%s and %d of unknown size)", sign,
			o.size(n), f.Unknown)
	}
	return fmt.Sprintf(" (download 0, on disk %s%s)", sign, o.size(n))
}

func (f *Forecast) sayMerges(o TextOptions, say func(string, ...any)) {
	if f.GaveUp {
		say("not worked out what emerge can do: %s", f.Trouble)
		say("the line below only shows what emerge would do; it leaves out what would go backwards (%s)", plural(len(f.Exclude), "name"))
		return
	}
	if !f.OK {
		say("emerge finds no way to update @world, whatever is excluded: %s", f.Trouble)
		return
	}
	text := f.summary(o)
	if n := len(f.Security); n > 0 {
		text += fmt.Sprintf(". %s: GLSA %s", plural(n, "security fix"),
			few(f.Security, 3, func(a Advisory) string { return a.ID }))
	}
	say("%s", text)
	if n := f.counts().Removed; n > 0 {
		say("%d installed packages are removed for them", n)
	}
}

func (f *Forecast) sayCannot(o TextOptions, say func(string, ...any)) {
	if len(f.Cannot) == 0 {
		return
	}
	say("%d cannot:", len(f.Cannot))
	list := f.Cannot
	if o.Most > 0 && len(list) > o.Most {
		list = list[:o.Most]
	}
	width := 0
	for _, l := range list {
		width = max(width, min(len(l.Name), 40))
	}
	for _, l := range list {
		text := fmt.Sprintf("  %-*s   %s", width, l.Name, l.Why)
		if l.Line != "" {
			text += ":   " + l.Line
		}
		say("%s", text)
	}
	if n := len(f.Cannot) - len(list); n > 0 {
		say("  and %d more", n)
	}
}

// UnusableText tells in one sentence how many packages a machine can never use, and what stands
// against them.
func UnusableText(counts map[resolve.ReasonKind]int) string {
	what := map[resolve.ReasonKind]string{resolve.CPU: "for another CPU (--any-cpu takes them)",
		resolve.Machine:    "for another machine (--any-arch takes them)",
		resolve.Unreadable: "that the Portage installed here cannot read",
		resolve.OtherUse:   "with other USE (--respect-use)"}
	sum := 0
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[k]; n > 0 && what[k] != "" {
			sum += n
			parts = append(parts, fmt.Sprintf("%d %s", n, what[k]))
		}
	}
	if sum == 0 {
		return ""
	}
	return plural(sum, "package") + " cannot be used by this machine: " + strings.Join(parts, ", ")
}

func versionOf(name string) string {
	for i := 1; i < len(name)-1; i++ {
		if name[i] == '-' && '0' <= name[i+1] && name[i+1] <= '9' {
			return name[i+1:]
		}
	}
	return name
}

func few[T any](list []T, most int, text func(T) string) string {
	var parts []string
	for i, x := range list {
		if i == most {
			parts = append(parts, "...")
			break
		}
		parts = append(parts, text(x))
	}
	return strings.Join(parts, ", ")
}

func plural(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "x"):
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func are(n int) string {
	if n == 1 {
		return "1 is"
	}
	return fmt.Sprintf("%d are", n)
}

func stay(n int) string {
	if n == 1 {
		return "stays out"
	}
	return "stay out"
}

func come(n int) string {
	if n == 1 {
		return "1 comes"
	}
	return fmt.Sprintf("%d come", n)
}
