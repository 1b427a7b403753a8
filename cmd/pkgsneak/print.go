package main

// This file prints; no other one does. The rules:
//
//   - Results go to stdout: summaries, lists, help that was asked for, keys. Everything that
//     accompanies a run goes to stderr: progress, notices, warnings, errors, questions. So
//     `pkgsneak status | less` and `pkgsneak key --armor > key.asc` do what they look like.
//   - With --json stdout carries one JSON object a line: events while the run lasts, then the
//     result as the last line, and nothing else, whatever happens.
//   - --quiet leaves errors, warnings and questions. --verbose lists what a summary only counts;
//     twice, it also tells what confines the process.
//   - Text from a drive, a package, an index or a file name never reaches a terminal as it is:
//     every argument of every line is made printable here. Only the format strings, which are ours,
//     may hold control characters.
//   - Colours only on a terminal, never with NO_COLOR or NOCOLOR. A line means the same without
//     them.
//   - Sizes and counts are rounded for people here and exact in JSON.
//   - Messages are lower case and one line; a hint is a line of its own with the command that
//     helps.

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
)

// printer is the only way to the outputs.
type printer struct {
	// configuration
	in             io.Reader
	asks           bool // somebody is there to answer
	quiet, verbose bool
	debug          bool // --verbose twice
	json           bool

	// state
	out, err screen
	bar      atomic.Pointer[bar] // the line that moves, if there is one
	answers  *bufio.Reader       // what is left of the input, from the first question on
	broken   error               // the first error of writing a result
	given    repeats             // flags of this run that a hint repeats
}

// screen is one output and whether it takes colours.
type screen struct {
	w     io.Writer
	paint bool
}

func newPrinter(e *env) *printer {
	colours := e.colours()
	return &printer{
		in:   e.stdin,
		asks: e.stdinTTY && e.stderrTTY,
		out:  screen{e.stdout, e.stdoutTTY && colours},
		err:  screen{e.stderr, e.stderrTTY && colours},
	}
}

// say prints a line of the result.
func (p *printer) say(format string, args ...any) {
	if !p.quiet && !p.json {
		p.put(format, args...)
	}
}

// put prints a line that was asked for and that --quiet does not silence: a key, a script, a help
// text.
func (p *printer) put(format string, args ...any) {
	p.hideBar()
	p.keep(p.out.line(format, args...))
}

// detail prints a line of the result that only --verbose shows.
func (p *printer) detail(format string, args ...any) {
	if p.verbose {
		p.say(format, args...)
	}
}

// notice tells what a person should read while a run lasts.
func (p *printer) notice(format string, args ...any) {
	if p.quiet {
		return
	}
	p.hideBar()
	p.err.line(format, args...)
	p.showBar()
}

// warn tells what a person must read.
func (p *printer) warn(format string, args ...any) {
	p.hideBar()
	p.err.line("%s "+format, append([]any{yellow("warning:")}, args...)...)
	p.showBar()
}

// failure prints why a run ended.
func (p *printer) failure(f failure) {
	p.hideBar()
	p.err.line("%s %s", red("pkgsneak:"), f.message)
	p.hint(f.hints...)
}

// hint prints commands that help, below an error or a warning.
func (p *printer) hint(lines ...string) {
	for _, line := range p.repeated(lines) {
		p.alert("%s %s", bold("hint:"), line)
	}
}

// repeated adds the flags that this run was given to the commands that hints name.
func (p *printer) repeated(hints []string) []string { return p.given.all(hints) }

// event prints one line of JSON.
func (p *printer) event(v any) {
	line, err := encodeLine(v)
	if err != nil {
		p.keep(fmt.Errorf("encode the result: %w", err))
		return
	}
	_, err = p.out.w.Write(line)
	p.keep(err)
}

// alert prints a line of a warning that has more than one.
func (p *printer) alert(format string, args ...any) {
	p.hideBar()
	p.err.line(format, args...)
	p.showBar()
}

// keep remembers the first error of writing a result: a full disk behind `> list` is a failed run.
func (p *printer) keep(err error) {
	if err != nil && p.broken == nil {
		// not wrapped: a full disk there is no lack of space for payload
		p.broken = fmt.Errorf("write the result: %v", err)
	}
}

// buffered keeps results until there are many or flush is called. From restore on they are written
// at once again.
func (p *printer) buffered() (flush, restore func()) {
	w := p.out.w
	b := bufio.NewWriterSize(w, 64<<10)
	p.out.w = b
	flush = func() { p.keep(b.Flush()) }
	return flush, func() {
		flush()
		p.out.w = w
	}
}

func (p *printer) hideBar() {
	if b := p.bar.Load(); b != nil {
		b.hide()
	}
}

func (p *printer) showBar() {
	if b := p.bar.Load(); b != nil {
		b.show()
	}
}

func (s screen) line(format string, args ...any) error {
	_, err := io.WriteString(s.w, s.format(format, args...)+"\n")
	return err
}

func (s screen) format(format string, args ...any) string {
	safe := make([]any, len(args))
	for i, a := range args {
		safe[i] = s.printable(a)
	}
	return fmt.Sprintf(format, safe...)
}

// printable turns an argument that carries text into one that cannot hold a control character.
func (s screen) printable(arg any) any {
	switch a := arg.(type) {
	case nil, bool, int, int64, uint64, float64, raw:
		return a
	case string:
		return cell{text: a}
	case styled:
		if !s.paint {
			a.sgr = ""
		}
		return cell(a)
	case error:
		return cell{text: fault.Text(a)}
	}
	return cell{text: fmt.Sprint(arg)}
}

// raw is text of ours that is printed as it is: help and scripts.
type raw string

// styled is text in a colour.
type styled struct{ text, sgr string }

func bold(s string) styled   { return styled{s, "1"} }
func red(s string) styled    { return styled{s, "1;31"} }
func green(s string) styled  { return styled{s, "32"} }
func yellow(s string) styled { return styled{s, "33"} }
func blue(s string) styled   { return styled{s, "34"} }

// cell is printable text with room around it: fmt pads the text, not the escape sequences.
type cell styled

// Format implements fmt.Formatter for %s, %v and %q with flags and width.
func (c cell) Format(f fmt.State, verb rune) {
	text := c.text
	if verb != 'q' {
		text = printable(text)
	}
	text = fmt.Sprintf(fmt.FormatString(f, verb), text)
	if c.sgr != "" {
		text = "\x1b[" + c.sgr + "m" + text + "\x1b[0m"
	}
	io.WriteString(f, text)
}

// printable writes what is not printable as Go would inside quotes, so that no escape sequence,
// line break or change of direction survives.
func printable(s string) string {
	clean := true
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	return b.String()
}

// asciiJSON escapes what is not printable in encoded JSON: the encoder leaves DEL, the C1 control
// characters and changes of direction as they are. All of them stand inside strings.
func asciiJSON(line []byte) []byte {
	out := make([]byte, 0, len(line))
	for len(line) > 0 {
		r, n := utf8.DecodeRune(line)
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out = append(out, line[:n]...)
		case r > 0xFFFF:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xD800+(r>>10), 0xDC00+(r&0x3FF))
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		line = line[n:]
	}
	return out
}

// size is a number of bytes for people.
func size(n int64) string {
	return fault.Size(n)
}

// count is a number with its noun: "1 file", "1,234 files".
func count(n int, noun string) string {
	s := humanize.Comma(int64(n)) + " " + noun
	if n != 1 {
		s += "s"
	}
	return s
}

// tally is a number of files of a kind and their size: "12 packages, 3.4 MiB".
func tally(t payload.Tally, noun string) string {
	if t.Files == 0 {
		return count(0, noun)
	}
	return count(t.Files, noun) + ", " + size(t.Bytes)
}

// when is a moment for people: all times are UTC and marked as such, and how long ago it was.
func when(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC") + " (" + ago(t, now) + ")"
}

// day is a date for people, in UTC like all times.
func day(t time.Time) string { return t.UTC().Format("2006-01-02 UTC") }

// ago is the distance of a moment from now.
func ago(t, now time.Time) string { return humanize.RelTime(t, now, "ago", "from now") }
