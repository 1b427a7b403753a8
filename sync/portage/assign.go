package portage

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// MaxAssignments bounds the bytes that ParseAssignments reads.
const MaxAssignments = 1 << 20

// ParseAssignments reads a file of KEY=value lines that OpenRC's shell (/etc/conf.d/NAME) and
// systemd (EnvironmentFile=) both read, and to which both give the same meaning: blank lines,
// comments that begin a line with "#", and
//
//	KEY=value   KEY='any $text'   KEY="with \"escapes\" and \$"   KEY=a\ b   KEY='joined '"parts"
//
// where a quoted value may have several lines, and the last assignment of a key counts. Text that
// the two read differently is left out and reported: $ and backticks that a shell would expand,
// blanks beside "=" or in an unquoted value, text behind a closed quote, a comment behind a value,
// export, "+=", CRLF. A line that is refused has no effect on the others: they are taken as they
// stand. name is the file's name for the problems. The error is r's, or that the input passes
// MaxAssignments.
func ParseAssignments(r io.Reader, name string) (map[string]string, []Problem, error) {
	data, err := readAll(r, nil, MaxAssignments)
	if err != nil {
		return nil, nil, fmt.Errorf("read assignments of %q: %w", name, err)
	}
	p := assignParser{src: string(data), line: 1, values: make(map[string]string)}
	for p.pos < len(p.src) {
		start, from := p.line, p.pos
		key, value, reason := p.statement()
		text := p.src[from:p.pos]
		if reason == "" {
			reason = refuseBytes(text)
		}
		switch {
		case reason != "":
			p.problems = append(p.problems, Problem{Path: name, Line: start, Reason: reason})
			// an older value of the key is not what either of the two readers would take
			delete(p.values, key)
		case key != "":
			p.values[key] = value
		}
		if len(p.problems) == MaxProblems {
			p.problems = append(p.problems, Problem{Path: name, Line: p.line,
				Reason: "too many problems: the rest is not read"})
			break
		}
	}
	return p.values, p.problems, nil
}

type assignParser struct {
	src      string
	pos      int
	line     int
	values   map[string]string
	problems []Problem
}

func refuseBytes(text string) string {
	switch {
	case strings.ContainsRune(text, '\r'):
		return "carriage return: the line must end with a newline alone"
	case strings.ContainsRune(text, 0):
		return "a NUL byte"
	case !utf8.ValidString(text):
		return "not UTF-8"
	}
	return ""
}

// statement reads one line, or as many as its quoted value takes. It always moves on.
func (p *assignParser) statement() (key, value, reason string) {
	p.skip(" \t")
	rest := p.src[p.pos:]
	if line, _, _ := strings.Cut(rest, "\n"); line == "" || line[0] == '#' || line == "\r" {
		if p.skipLine(); strings.HasSuffix(line, `\`) {
			return p.afterComment(), "",
				"the comment above ends with a backslash: systemd takes this line for a part of it"
		}
		return "", "", ""
	}
	n := 0
	for n < len(rest) && isNameByte(rest[n]) {
		n++
	}
	key = rest[:n]
	if n == 0 || '0' <= key[0] && key[0] <= '9' || n == len(rest) || rest[n] != '=' {
		line, _, _ := strings.Cut(rest, "\n")
		p.skipRefused()
		return blamed(key), "", badKey(key, line, rest[n:])
	}
	p.pos += n + 1
	value, reason = p.value()
	if reason != "" {
		p.skipRefused()
		reason = key + ": " + reason
	}
	return key, value, reason
}

// afterComment skips the line that systemd takes for a part of a comment, and returns the key that
// a shell would set there.
func (p *assignParser) afterComment() string {
	key, _, _ := strings.Cut(strings.TrimLeft(p.src[p.pos:], " \t"), "=")
	p.skipRefused()
	return key
}

// blamed returns the name that a refused line would have set, so far as it is one.
func blamed(key string) string {
	if key == "export" {
		return ""
	}
	return key
}

func badKey(key, line, behind string) string {
	switch {
	case key == "export" && strings.HasPrefix(behind, " "):
		return "systemd does not know export: write KEY=value alone"
	case strings.HasPrefix(behind, "+="):
		return key + `: "+=" is not known to all readers of this file`
	case strings.HasPrefix(strings.TrimLeft(behind, " \t"), "="):
		return key + `: blanks before "="`
	}
	if len(line) > 60 {
		line = line[:60] + "..."
	}
	return fmt.Sprintf("%q is not KEY=value", line)
}

func (p *assignParser) skip(set string) {
	for p.pos < len(p.src) && strings.IndexByte(set, p.src[p.pos]) >= 0 {
		p.pos++
	}
}

func (p *assignParser) skipLine() {
	if i := strings.IndexByte(p.src[p.pos:], '\n'); i >= 0 {
		p.pos += i + 1
		p.line++
	} else {
		p.pos = len(p.src)
	}
}

// skipRefused skips the rest of a line with those that a backslash joins to it.
func (p *assignParser) skipRefused() {
	for joined := true; joined && p.pos < len(p.src); {
		line, _, _ := strings.Cut(p.src[p.pos:], "\n")
		joined = (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
		p.skipLine()
	}
}

// value reads a word up to and with the newline behind it.
func (p *assignParser) value() (string, string) {
	var b strings.Builder
	plain := false // unquoted text stands before: systemd takes quotes behind it as text
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		p.pos++
		switch c {
		case '\n':
			p.line++
			return b.String(), ""
		case '\'', '"':
			if plain {
				p.pos--
				return "", "a quote inside an unquoted value"
			}
			if reason := p.quoted(&b, c); reason != "" {
				return "", reason
			}
		case '\\':
			if plain = true; p.pos == len(p.src) {
				return "", "nothing after the last backslash"
			}
			c = p.src[p.pos]
			if p.pos++; c == '\n' {
				p.line++
			} else {
				b.WriteByte(c)
			}
		case ' ', '\t':
			if p.skip(" \t"); p.pos == len(p.src) || p.src[p.pos] == '\n' {
				continue
			}
			return "", "blanks outside quotes"
		case '$', '`', '&', ';', '|', '<', '>', '(', ')':
			return "", fmt.Sprintf("%q outside single quotes means something to a shell", c)
		case '~':
			if b.Len() == 0 || strings.HasSuffix(b.String(), ":") {
				return "", "a shell expands ~: quote it or write the path"
			}
			fallthrough
		default:
			plain = true
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}

// quoted reads up to the closing quote.
func (p *assignParser) quoted(b *strings.Builder, quote byte) string {
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		p.pos++
		switch {
		case c == quote:
			return ""
		case quote == '\'':
		case c == '$' || c == '`':
			return fmt.Sprintf("a shell expands %q: put the value into single quotes", c)
		case c == '\\' && p.pos < len(p.src):
			e := p.src[p.pos]
			if strings.IndexByte("\"\\`$", e) >= 0 {
				c = e
				p.pos++
			} else if e == '\n' {
				p.pos++
				p.line++
				continue
			}
		}
		if c == '\n' {
			p.line++
		}
		b.WriteByte(c)
	}
	return "no closing quotation mark"
}
