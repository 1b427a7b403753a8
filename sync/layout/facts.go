package layout

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"pkgsneak/sync/payload"
)

// FactsVersion is the version of the facts that this package writes, and the
// highest that it reads. It is raised when an older reader would misunderstand
// a newer file; a line or a field that an older reader may pass over does not
// raise it.
const FactsVersion = 1

// Limits of the facts of a generation.
const (
	MaxFacts     = 256 << 20 // bytes of text
	MaxFactsFile = 64 << 20  // bytes compressed
	maxFactsLine = 64 << 10
	maxFactNames = 4_000_000 // packages, distfiles, kinds of flags
	maxFlags     = 8 << 10   // bytes of one of the flags; what is longer is cut at a blank
)

// Facts is generation/N.facts.zst: what the origin has, whether this drive
// carries it or not, and what is known of each package beyond its entry in the
// catalogue. Unpacked it is text, lines of fields with tabs between them:
//
//	pkgsneak facts  1
//	flags           CFLAGS  CXXFLAGS  RUSTFLAGS  CPU_FLAGS  [NATIVE]
//	package         PATH  INSTALLED  RULES  FLAGS
//	distfile        NAME  SIZE
//
// The first line has the version. A line of flags has those that some packages
// were built with; NATIVE, which may be absent, are the features of the CPU it
// was built on (as Linux names them), noted for -march=native by an export within
// a day of the build. FLAGS of a package is the number of such a line, counted
// from 1, or 0. INSTALLED is the size of the installed package in bytes, 0 if
// it is not known; RULES the number of the rules by which the package was
// looked through (binpkg.Rules), 0 if nobody did. Packages are sorted by path,
// distfiles by name, no name comes twice. Control characters, the backslash
// and what is not UTF-8 are written as \xNN. A reader passes over fields
// behind these, and lines that begin with another word.
//
//	pkgsneak facts	1
//	flags	-O2 -pipe -march=znver3	-O2 -pipe -march=znver3		cpu_flags_x86_avx2 cpu_flags_x86_sse4_2
//	package	app-misc/foo-1.tbz2	184320	1	1
//	distfile	foo-1.tar.gz	20480
//
// The record has whether the lists are complete (Record.Has).
type Facts struct {
	Packages  []PackageFacts  // sorted by Path
	Distfiles []DistfileFacts // sorted by Name
}

// PackageFacts is what is known of a package of the origin. If the drive
// carries a file of that path, Installed, Rules and Flags are about that file.
type PackageFacts struct {
	Path      string // below the origin's PKGDIR
	Installed int64  // bytes of the installed package; 0: not known
	Rules     int    // by which it was looked through; 0: by none
	Flags     *Flags // nil: not known
}

// Flags is what a package was built with that decides on which processors it
// runs.
type Flags struct {
	CFLAGS, CXXFLAGS, RUSTFLAGS string
	CPU                         string // the words of USE that begin with cpu_flags_
	// Native are the features of the CPU it was built on, "" if nobody noted them.
	Native string
}

// DistfileFacts is a distfile of the origin.
type DistfileFacts struct {
	Name string
	Size int64 // bytes
}

// FactsVersionError reports that the facts of a generation are newer than this
// program.
type FactsVersionError struct{ Version string }

func (e *FactsVersionError) Error() string {
	return fmt.Sprintf("the facts of the generation have version %.20q, this program knows up to %d: use a newer pkgsneak",
		e.Version, FactsVersion)
}

// Equal reports whether both are the same.
func (f *Facts) Equal(o *Facts) bool {
	if f == nil || o == nil {
		return f == o
	}
	same := func(a, b PackageFacts) bool {
		return a.Path == b.Path && a.Installed == b.Installed && a.Rules == b.Rules &&
			(a.Flags == b.Flags || a.Flags != nil && b.Flags != nil && *a.Flags == *b.Flags)
	}
	return slices.EqualFunc(f.Packages, o.Packages, same) && slices.Equal(f.Distfiles, o.Distfiles)
}

// Package returns what is known of the package of a path.
func (f *Facts) Package(path string) (PackageFacts, bool) {
	if f == nil {
		return PackageFacts{}, false
	}
	i, ok := slices.BinarySearchFunc(f.Packages, path, func(p PackageFacts, path string) int {
		return strings.Compare(p.Path, path)
	})
	if !ok {
		return PackageFacts{}, false
	}
	return f.Packages[i], true
}

// HasDistfile reports whether the origin has a distfile of that name.
func (f *Facts) HasDistfile(name string) bool {
	_, ok := slices.BinarySearchFunc(f.Distfiles, name, func(d DistfileFacts, name string) int {
		return strings.Compare(d.Name, name)
	})
	return ok
}

// MakeFlags makes Flags of those of a package, in one line each; nil if it
// has none.
func MakeFlags(cflags, cxxflags, rustflags, use string) *Flags {
	var cpu []string
	for _, flag := range strings.Fields(use) {
		if strings.HasPrefix(flag, "cpu_flags_") {
			cpu = append(cpu, flag)
		}
	}
	f := Flags{CFLAGS: cutWords(cflags), CXXFLAGS: cutWords(cxxflags),
		RUSTFLAGS: cutWords(rustflags), CPU: cutWords(strings.Join(cpu, " "))}
	if f == (Flags{}) {
		return nil
	}
	return &f
}

// cutWords cuts a text of words that is too long.
func cutWords(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= maxFlags {
		return text
	}
	text = text[:maxFlags]
	if i := strings.LastIndexByte(text, ' '); i >= 0 {
		return text[:i]
	}
	return ""
}

// fault reports why the facts are not to be written, "" if they are.
func (f *Facts) fault() string {
	if len(f.Packages) > maxFactNames || len(f.Distfiles) > maxFactNames {
		return fmt.Sprintf("more than %d names", maxFactNames)
	}
	for i, p := range f.Packages {
		if reason := packageFault(p); reason != "" {
			return fmt.Sprintf("package %q: %s", p.Path, reason)
		}
		if i > 0 && f.Packages[i-1].Path >= p.Path {
			return fmt.Sprintf("package %q: not in order", p.Path)
		}
	}
	for i, d := range f.Distfiles {
		if reason := distfileFault(d); reason != "" {
			return fmt.Sprintf("distfile %q: %s", d.Name, reason)
		}
		if i > 0 && f.Distfiles[i-1].Name >= d.Name {
			return fmt.Sprintf("distfile %q: not in order", d.Name)
		}
	}
	return ""
}

func packageFault(p PackageFacts) string {
	if reason := OriginPathFault(payload.Package, p.Path); reason != "" {
		return reason
	}
	if p.Installed < 0 || p.Rules < 0 {
		return "a negative number"
	}
	if p.Flags != nil {
		for _, text := range p.Flags.fields() {
			if len(text) > maxFlags || !utf8.ValidString(text) {
				return "its flags are too long, or not UTF-8"
			}
		}
	}
	return ""
}

func distfileFault(d DistfileFacts) string {
	if d.Size < 0 {
		return "a negative number"
	}
	return OriginPathFault(payload.Distfile, d.Name)
}

func (f *Flags) fields() []string {
	list := []string{f.CFLAGS, f.CXXFLAGS, f.RUSTFLAGS, f.CPU}
	if f.Native != "" {
		list = append(list, f.Native)
	}
	return list
}

// appendField writes a tab and a text as it stands in a field.
func appendField(b []byte, text string) []byte {
	escaped, _ := PathText(text).MarshalText() // never fails
	return append(append(b, '\t'), escaped...)
}

// Write writes the text of the facts. It refuses what readFacts would.
func (f *Facts) Write(w io.Writer) error {
	if reason := f.fault(); reason != "" {
		return fmt.Errorf("writing the facts of a generation: %s", reason)
	}
	out := bufio.NewWriter(w)
	line := fmt.Appendf(nil, "pkgsneak facts\t%d\n", FactsVersion)
	out.Write(line)
	numbers := make(map[Flags]int)
	for _, p := range f.Packages {
		if p.Flags == nil || numbers[*p.Flags] != 0 {
			continue
		}
		numbers[*p.Flags] = len(numbers) + 1
		line = append(line[:0], "flags"...)
		for _, text := range p.Flags.fields() {
			line = appendField(line, text)
		}
		out.Write(append(line, '\n'))
	}
	for _, p := range f.Packages {
		line = appendField(append(line[:0], "package"...), p.Path)
		number := 0
		if p.Flags != nil {
			number = numbers[*p.Flags]
		}
		for _, n := range []int64{p.Installed, int64(p.Rules), int64(number)} {
			line = strconv.AppendInt(append(line, '\t'), n, 10)
		}
		out.Write(append(line, '\n'))
	}
	for _, d := range f.Distfiles {
		line = appendField(append(line[:0], "distfile"...), d.Name)
		line = strconv.AppendInt(append(line, '\t'), d.Size, 10)
		out.Write(append(line, '\n'))
	}
	return out.Flush()
}

// readFacts reads the text of the facts, at most MaxFacts bytes of it. The
// error is a *FactsVersionError if it is of a newer version.
func readFacts(r io.Reader) (*Facts, error) {
	in := bufio.NewReaderSize(&capped{r: r, left: MaxFacts, why: errFactsLong}, maxFactsLine)
	p := factsReader{facts: &Facts{}}
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0 && p.line > 0:
			return p.facts, nil
		case errors.Is(err, io.EOF):
			return nil, p.failed("it ends in the middle of a line")
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, p.failed(fmt.Sprintf("longer than %d bytes", maxFactsLine))
		case err != nil:
			return nil, err
		}
		p.line++
		if err := p.read(string(line[:len(line)-1])); err != nil {
			return nil, err
		}
	}
}

var errFactsLong = fmt.Errorf("longer than %d bytes", MaxFacts)

// factsReader is readFacts on its way.
type factsReader struct {
	facts *Facts
	flags []*Flags
	line  int

	packages, distfiles factNames
}

func (p *factsReader) failed(reason string) error {
	return fmt.Errorf("reading the facts of a generation: line %d: %s", p.line, reason)
}

func (p *factsReader) read(line string) error {
	fields := strings.Split(line, "\t")
	if p.line == 1 {
		if fields[0] != "pkgsneak facts" || len(fields) < 2 {
			return p.failed("these are no facts of a generation")
		}
		switch n, err := strconv.ParseUint(fields[1], 10, 31); {
		case err != nil || n == 0:
			return p.failed(fmt.Sprintf("%.40q is no version", fields[1]))
		case n > FactsVersion:
			return &FactsVersionError{fields[1]}
		}
		return nil
	}
	reason := ""
	switch fields[0] {
	case "flags":
		reason = p.readFlags(fields[1:])
	case "package":
		reason = p.readPackage(fields[1:])
	case "distfile":
		reason = p.readDistfile(fields[1:])
	}
	if reason != "" {
		return p.failed(reason)
	}
	return nil
}

func (p *factsReader) readFlags(fields []string) string {
	if len(fields) < 4 || len(p.flags) == maxFactNames {
		return "a line of flags has four fields"
	}
	var texts [5]PathText
	for i := range min(len(fields), len(texts)) {
		if err := texts[i].UnmarshalText([]byte(fields[i])); err != nil {
			return err.Error()
		}
	}
	p.flags = append(p.flags, &Flags{string(texts[0]), string(texts[1]), string(texts[2]),
		string(texts[3]), string(texts[4])})
	return ""
}

func (p *factsReader) readPackage(fields []string) string {
	var numbers [3]int64
	name, reason := readFields(fields, numbers[:])
	if reason != "" {
		return reason
	}
	it := PackageFacts{Path: name, Installed: numbers[0], Rules: int(min(numbers[1], 1<<30))}
	switch n := numbers[2]; {
	case n > int64(len(p.flags)):
		return fmt.Sprintf("there is no line of flags %d yet", n)
	case n > 0:
		it.Flags = p.flags[n-1]
	}
	if reason := p.packages.add("package", name); reason != "" {
		return reason
	}
	p.facts.Packages = append(p.facts.Packages, it)
	return packageFault(it)
}

func (p *factsReader) readDistfile(fields []string) string {
	var numbers [1]int64
	name, reason := readFields(fields, numbers[:])
	if reason != "" {
		return reason
	}
	it := DistfileFacts{Name: name, Size: numbers[0]}
	if reason := p.distfiles.add("distfile", name); reason != "" {
		return reason
	}
	p.facts.Distfiles = append(p.facts.Distfiles, it)
	return distfileFault(it)
}

// factNames is what was read of a list of names: not more than a bound, in order, each once.
type factNames struct {
	count int
	last  string
}

// add takes the next name. The reason is "" if it may come there.
func (l *factNames) add(kind, name string) (reason string) {
	switch {
	case l.count == maxFactNames:
		return fmt.Sprintf("more than %d %ss", maxFactNames, kind)
	case l.count > 0 && l.last >= name:
		return fmt.Sprintf("%s %q: not in order", kind, name)
	}
	l.count, l.last = l.count+1, name
	return ""
}

// readFields reads a name and numbers.
func readFields(fields []string, numbers []int64) (name, reason string) {
	if len(fields) < 1+len(numbers) {
		return "", "a field is missing"
	}
	var text PathText
	if err := text.UnmarshalText([]byte(fields[0])); err != nil {
		return "", err.Error()
	}
	for i := range numbers {
		n, err := strconv.ParseUint(fields[1+i], 10, 63)
		if err != nil {
			return "", fmt.Sprintf("%.40q is no number", fields[1+i])
		}
		numbers[i] = int64(n)
	}
	return string(text), ""
}

// CheckFacts decides before the first byte whether the facts of a generation can be written: their
// text has at most limit bytes, which is MaxFacts but in tests.
func CheckFacts(f *Facts, limit int64) error {
	counted := &Counter{W: io.Discard}
	if err := f.Write(counted); err != nil {
		return err
	}
	if counted.N > limit {
		return fmt.Errorf("writing the facts of a generation: longer than %d bytes", limit)
	}
	if counted.N > MaxFactsFile { // seldom: only then they may be too long compressed
		_, err := f.Pack()
		return err
	}
	return nil
}

// Pack compresses the text of the facts.
func (f *Facts) Pack() ([]byte, error) {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, fmt.Errorf("compressing the facts: %w", err)
	}
	counted := &Counter{W: z}
	if err := errors.Join(f.Write(counted), z.Close()); err != nil {
		return nil, err
	}
	if counted.N > MaxFacts || b.Len() > MaxFactsFile {
		return nil, fmt.Errorf("writing the facts of a generation: longer than %d bytes", MaxFacts)
	}
	return b.Bytes(), nil
}

// UnpackFacts reads what pack wrote. The error is a *FactsVersionError if it is of a newer version.
func UnpackFacts(packed []byte) (*Facts, error) {
	z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(MaxFacts))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return readFacts(z)
}
