package portage

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"pkgsneak/sync/fault"
)

// Limits of one configuration file and of what it sources.
const (
	MaxSources  = 500      // source statements
	MaxDepth    = 32       // files that source one another
	MaxValue    = 1 << 20  // bytes of one value
	MaxProblems = 100      // problems reported of one file; the last one tells that there are more
	maxExpanded = 16 << 20 // bytes of all values
)

// ConfOptions states how ParseConf reads. The zero value reads a make.defaults: variables are
// expanded, source is a plain word.
type ConfOptions struct {
	// Vars are the variables known before, for ${VAR}; each assignment adds to it. nil begins with
	// none.
	Vars map[string]string
	// NoExpand leaves values as they are written (profile.env).
	NoExpand bool
	// Open reads a file named by a source statement. nil: source is a plain word, as everywhere but
	// in make.conf.
	Open func(name string) ([]byte, error)
}

// Assignment is one NAME=VALUE of a configuration file.
type Assignment struct {
	Name, Value string
	Path        string // the file in which it stands: a sourced one has its own name
	Line        int    // from 1
}

// ParseConf reads the text of a make.conf, make.defaults or make.globals as Portage's getconfig
// does, in the order of the text. name is the file's path: it stands in problems, and relative
// names of source statements begin at its directory. Text that Portage refuses is a fatal Problem;
// assignments before it are returned.
func ParseConf(text []byte, name string, o ConfOptions) ([]Assignment, []Problem) {
	p := &confParser{vars: o.Vars, noExpand: o.NoExpand, open: o.Open}
	if p.vars == nil {
		p.vars = make(map[string]string)
	}
	p.lex = lexer{src: plainText(text, true), line: 1, file: name, state: stSpace}
	for p.assignment() {
	}
	return p.done, p.problems
}

// plainText decodes a file as Python opens one: UTF-8 with replacement characters, and \r\n and \r
// are \n.
func plainText(text []byte, finalNewline bool) string {
	if bytes.IndexByte(text, '\r') >= 0 {
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	}
	s := string(text)
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	if finalNewline && s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return s
}

// confParser is the grammar above the lexer: [export] NAME = VALUE, and source FILE.
type confParser struct {
	// configuration
	vars     map[string]string
	noExpand bool
	open     func(string) ([]byte, error)

	// state
	lex      lexer
	outer    []lexer // files that wait for the end of a sourced one
	sources  int
	expanded int
	done     []Assignment
	problems []Problem
	stopped  bool
}

func (p *confParser) problem(file string, line int, fatal bool, format string, args ...any) {
	switch n := len(p.problems); {
	case n < MaxProblems:
		p.problems = append(p.problems, Problem{file, line, fmt.Sprintf(format, args...), fatal})
	case n == MaxProblems:
		p.problems = append(p.problems,
			Problem{file, line, "more problems from here on are not reported", false})
	}
}

// stop reports what ends the reading of this file.
func (p *confParser) stop(t token, format string, args ...any) bool {
	p.stopped = true
	p.problem(t.file, t.line, true, format, args...)
	return false
}

// assignment reads one assignment; false at the end.
func (p *confParser) assignment() bool {
	key := p.next()
	if key.is("export") {
		key = p.next()
	}
	if p.stopped || key.end {
		return false
	}
	equ := p.next()
	switch {
	case p.stopped:
		return false
	case equ.end || equ.text == "":
		return p.stop(key, "%q is not followed by \"=\"", key.text)
	case equ.text != "=":
		return p.stop(equ, "%q stands where \"=\" is expected", equ.text)
	}
	val := p.next()
	switch {
	case p.stopped:
		return false
	case val.end:
		return p.stop(key, "%s= has no value before the end of the file", key.text)
	case !validName(key.text):
		p.problem(key.file, key.line, true, "%q is not a name of a variable%s", key.text,
			nameHint(key.text))
		return true
	}
	return p.assign(key, val)
}

func nameHint(name string) string {
	if strings.HasSuffix(name, "+") {
		return ` (Portage has no "+=")`
	}
	return ""
}

func (p *confParser) assign(key, val token) bool {
	v := val.text
	if !p.noExpand {
		v = p.expand(val, v)
		p.vars[key.text] = v
	}
	if strings.Count(v, "`") >= 2 {
		p.problem(val.file, val.line, false,
			"%s: text in backticks stays as it is, nothing is executed", key.text)
	}
	if p.expanded += len(v); p.expanded > maxExpanded {
		return p.stop(val, "the values are larger than %d bytes", maxExpanded)
	}
	p.done = append(p.done, Assignment{key.text, v, key.file, key.line})
	return true
}

func (p *confParser) expand(t token, s string) string {
	v, err := expand(s, p.vars)
	if err != nil {
		p.problem(t.file, t.line, false, "%v: the value is taken as empty", err)
	}
	return v
}

// next returns the next token, going into sourced files and out of them.
func (p *confParser) next() token {
	if t, ok := p.lex.unread(); ok {
		return t
	}
	t := p.read()
	for !p.stopped && p.open != nil && t.is("source") {
		p.source(t)
		if p.stopped {
			break
		}
		t = p.next()
	}
	for !p.stopped && t.end && len(p.outer) > 0 {
		p.leave()
		t = p.next()
	}
	return t
}

func (p *confParser) read() token {
	t, err := p.lex.read()
	if err != nil {
		p.stop(t, "%v", err)
	}
	return t
}

// source handles the statement whose word was just read.
func (p *confParser) source(word token) {
	t := p.read()
	if p.stopped {
		return
	}
	name := ""
	if !t.end {
		name = p.expand(t, t.text)
	}
	if len(name) > 1 && name[0] == '"' {
		name = name[1 : len(name)-1]
	}
	if name == "" {
		p.stop(word, "source names no file")
		return
	}
	if !path.IsAbs(name) {
		// Not cleaned: the directory may be a symlink, and then ".." is not what the text suggests.
		name = p.lex.file[:strings.LastIndexByte(p.lex.file, '/')+1] + name
	}
	p.sources++
	switch {
	case len(p.outer) == MaxDepth:
		p.stop(word, "%q: %d files source one another", name, MaxDepth)
		return
	case p.sources > MaxSources:
		p.stop(word, "more than %d source statements", MaxSources)
		return
	}
	text, err := p.open(name)
	switch {
	case err == nil:
		p.enter(name, text)
	case isAbsent(err):
		// emerge stops, portageq goes on.
		p.problem(word.file, word.line, true, "sourced file %q does not exist", name)
	default:
		p.stop(word, "sourced file %q: %v", name, fault.Bare(err))
	}
}

func (p *confParser) enter(name string, text []byte) {
	inner := lexer{src: plainText(text, false), line: 1, file: name, state: p.lex.state,
		pushed: p.lex.pushed}
	if inner.state == stEnd && inner.src != "" {
		// Python's lexer has seen the end already; so real Portage reads nothing of this file.
		p.problem(p.lex.file, p.lex.line, false,
			"sourced file %q is not read by Portage: no newline after the last source statement",
			name)
	}
	p.outer = append(p.outer, p.lex)
	p.lex = inner
}

func (p *confParser) leave() {
	pushed := p.lex.pushed
	p.lex = p.outer[len(p.outer)-1]
	p.outer = p.outer[:len(p.outer)-1]
	p.lex.state, p.lex.pushed = stSpace, pushed
}

// validName tells whether s is a word in the sense of Python's \w without a digit in front.
func validName(s string) bool {
	for i, r := range s {
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsNumber(r) ||
			i == 0 && unicode.IsDigit(r) {
			return false
		}
	}
	return true
}

type token struct {
	text string
	end  bool // end of the file: there is no token
	line int
	file string
}

func (t token) is(word string) bool { return !t.end && t.text == word }

type lexState byte

const (
	stSpace   lexState = ' '
	stWord    lexState = 'a'
	stSingle  lexState = '\''
	stDouble  lexState = '"'
	stEscape  lexState = '\\'
	stEnd     lexState = 0
	wordChars          = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" +
		`~!@$%*_:;?,./-+{}`
)

// isWordChar is the alphabet of unquoted words; any other character outside quotes is a token of
// its own.
var isWordChar = func() (set [128]bool) {
	for _, c := range wordChars {
		set[c] = true
	}
	return
}()

var (
	errNoQuote  = errors.New("no closing quotation mark")
	errNoEscape = errors.New("nothing after the last backslash")
)

// lexer cuts a text as Python's shlex does in POSIX mode with Portage's alphabet of word
// characters.
type lexer struct {
	src    string
	pos    int
	line   int
	file   string
	state  lexState
	pushed []token // last in, first out

	spaceOnly bool // only blanks end a word, and "#" is text
}

func (l *lexer) unread() (token, bool) {
	n := len(l.pushed)
	if n == 0 {
		return token{}, false
	}
	t := l.pushed[n-1]
	l.pushed = l.pushed[:n-1]
	return t, true
}

// char consumes one character; "" at the end.
func (l *lexer) char() string {
	if l.pos >= len(l.src) {
		return ""
	}
	n := 1
	if l.src[l.pos] >= utf8.RuneSelf {
		_, n = utf8.DecodeRuneInString(l.src[l.pos:])
	}
	c := l.src[l.pos : l.pos+n]
	l.pos += n
	if c == "\n" {
		l.line++
	}
	return c
}

func (l *lexer) skipLine() {
	if i := strings.IndexByte(l.src[l.pos:], '\n'); i >= 0 {
		l.pos += i + 1
	} else {
		l.pos = len(l.src)
	}
	l.line++
}

// read returns the next token without looking at what was pushed back.
func (l *lexer) read() (token, error) {
	var (
		word   []byte
		quoted bool
		escape lexState // where an escaped character was met
		start  = l.line // line of the token's first character
	)
	emit := func(end bool) token {
		return token{text: string(word), end: end && !quoted && len(word) == 0,
			line: start, file: l.file}
	}
	for {
		at := l.line
		c := l.char()
		switch l.state {
		case stEnd:
			return token{end: true, line: start, file: l.file}, nil
		case stSpace:
			switch {
			case c == "":
				l.state = stEnd
				return emit(true), nil
			case isSpace(c):
			case c == "#" && !l.spaceOnly:
				l.skipLine()
			case c == `\`:
				start, escape, l.state = at, stWord, stEscape
			case c == `'` || c == `"`:
				start, l.state = at, lexState(c[0])
			default:
				start = at
				word = append(word, c...)
				if !l.inWord(c) {
					return emit(false), nil
				}
				l.state = stWord
			}
		case stSingle, stDouble:
			quoted = true
			switch {
			case c == "":
				return token{line: start, file: l.file}, errNoQuote
			case c[0] == byte(l.state):
				l.state = stWord
			case c == `\` && l.state == stDouble:
				escape, l.state = stDouble, stEscape
			default:
				word = append(word, c...)
			}
		case stEscape:
			if c == "" {
				return token{line: start, file: l.file}, errNoEscape
			}
			if escape == stDouble && c != `\` && c != `"` {
				word = append(word, '\\')
			}
			word = append(word, c...)
			l.state = escape
		case stWord:
			switch {
			case c == "":
				l.state = stEnd
				return emit(true), nil
			case isSpace(c):
				l.state = stSpace
				return emit(false), nil
			case c == "#" && !l.spaceOnly:
				l.skipLine()
				l.state = stSpace
				return emit(false), nil
			case c == `'` || c == `"`:
				l.state = lexState(c[0])
			case c == `\`:
				escape, l.state = stWord, stEscape
			case l.inWord(c):
				word = append(word, c...)
			default:
				l.pushed = append(l.pushed, token{text: c, line: at, file: l.file})
				l.state = stSpace
				return emit(false), nil
			}
		}
	}
}

func (l *lexer) inWord(c string) bool {
	return l.spaceOnly || c[0] < utf8.RuneSelf && isWordChar[c[0]]
}

func isSpace(c string) bool { return c == " " || c == "\t" || c == "\n" || c == "\r" }

var (
	errNoBrace    = errors.New(`"${" without a name and "}" behind it`)
	errNoVariable = errors.New(`"$" without a name behind it ("$(...)" is not executed)`)
	errLongValue  = fmt.Errorf("a value larger than %d bytes", MaxValue)
)

// expand substitutes variables as Portage's varexpand does: $NAME and ${NAME}, nothing else; \\ and
// \$ lose a backslash, an escaped newline vanishes, any other newline is a space. Quotation marks
// that are left in the value (the lexer has taken the outer ones) protect what is between single
// ones. An error comes with an empty value, as in Portage.
func expand(s string, vars map[string]string) (string, error) {
	if len(s) <= MaxValue && !strings.ContainsAny(s, "$\\\n") {
		return s, nil
	}
	var b strings.Builder
	var single, double bool
	for i := 0; i < len(s); {
		if b.Len() > MaxValue {
			return "", errLongValue
		}
		c := s[i]
		switch {
		case c == '\'':
			single = single != !double // a mark inside the other kind is text
		case c == '"':
			double = double != !single
		case single:
		case c == '\n':
			c = ' '
		case c == '\\' && i+1 < len(s):
			i += unescape(&b, s[i:])
			continue
		case c == '$' && i+1 < len(s):
			name, n, err := variable(s[i:])
			if err != nil {
				return "", err
			}
			b.WriteString(vars[name])
			i += n
			continue
		}
		b.WriteByte(c)
		i++
	}
	if b.Len() > MaxValue {
		return "", errLongValue
	}
	return b.String(), nil
}

// unescape writes what the backslash at the start of s stands for and returns how many bytes it
// read.
func unescape(b *strings.Builder, s string) int {
	switch s[1] {
	case '$':
		b.WriteByte('$')
	case '\n':
	case '\\':
		b.WriteByte('\\')
		// Real Portage takes the next character as it is, so \\$X is \$X.
		if len(s) > 2 && strings.IndexByte(`'"$`, s[2]) >= 0 {
			b.WriteByte(s[2])
			return 3
		}
	default:
		b.WriteString(s[:2])
	}
	return 2
}

// variable reads the $NAME or ${NAME} at the start of s, which is longer than the "$".
func variable(s string) (name string, n int, err error) {
	i := 1
	braced := s[1] == '{'
	if braced {
		i = 2
	}
	from := i
	for i < len(s) && isNameByte(s[i]) {
		i++
	}
	name = s[from:i]
	if braced {
		if i == len(s) || s[i] != '}' {
			return "", 0, errNoBrace
		}
		i++
	}
	if name == "" {
		return "", 0, errNoVariable
	}
	return name, i, nil
}

func isNameByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
