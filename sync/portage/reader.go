package portage

import (
	"fmt"

	"pkgsneak/sync/fault"
)

// reader reads the configuration files of one Load: each once, within MaxFiles and MaxTotal.
type reader struct {
	tree     tree
	files    []string  // read so far, in order
	problems []Problem // met so far

	texts  map[string]string // of files; a second look costs nothing and reports nothing
	failed map[string]bool
	bytes  int
}

func newReader(t tree) *reader {
	return &reader{tree: t, texts: map[string]string{}, failed: map[string]bool{}}
}

func (r *reader) fail(p Problem) {
	const most = 1000
	if len(r.problems) < most {
		r.problems = append(r.problems, p)
	}
}

// list is tree.list with what fails reported once.
func (r *reader) list(p string) []string {
	return r.tree.list(p, func(p string, err error) {
		if !r.failed[p] {
			r.failed[p] = true
			r.fail(Problem{Path: p, Reason: fault.Bare(err).Error(), Fatal: true})
		}
	})
}

// bytesOf reads a file once, within the bounds of a Load.
func (r *reader) bytesOf(p string) (string, error) {
	if text, ok := r.texts[p]; ok {
		return text, nil
	}
	if len(r.texts) >= MaxFiles || r.bytes >= MaxTotal {
		return "", fmt.Errorf("more configuration than %d files or %d bytes", MaxFiles, MaxTotal)
	}
	data, err := r.tree.readFile(p)
	if err != nil {
		return "", err
	}
	text := string(data)
	r.texts[p] = text
	r.bytes += len(text)
	r.files = append(r.files, p)
	return text, nil
}

// text returns a file's text; a failure other than absence is reported.
func (r *reader) text(p string) (string, bool) {
	text, err := r.bytesOf(p)
	if err != nil && !isAbsent(err) && !r.failed[p] {
		r.failed[p] = true
		r.fail(Problem{Path: p, Reason: fault.Bare(err).Error(), Fatal: true})
	}
	return plainText([]byte(text), false), err == nil
}

// quietText is text for files that describe a repository: absence and trouble are the same.
func (r *reader) quietText(p string) (string, bool) {
	data, err := r.tree.readFile(p)
	return plainText(data, false), err == nil
}

// confMode is how one configuration file is read.
type confMode struct {
	source   bool // source statements count
	dir      bool // the file may be a directory of files
	noExpand bool
	quiet    bool // problems are reported by a later pass over the same file
}

// parse reads a file, or each file of a directory, with the variables of vars, and gives each
// assignment to set.
func (r *reader) parse(p string, vars map[string]string, m confMode, set func(Assignment)) bool {
	files := []string{p}
	if m.dir {
		files = r.list(p)
	}
	found := false
	for _, f := range files {
		text, ok := r.text(f)
		if !ok {
			continue
		}
		found = true
		o := ConfOptions{Vars: vars, NoExpand: m.noExpand}
		if m.source {
			o.Open = func(name string) ([]byte, error) {
				text, err := r.bytesOf(name)
				return []byte(text), err
			}
		}
		done, problems := ParseConf([]byte(text), f, o)
		for _, a := range done {
			set(a)
		}
		if !m.quiet {
			for _, p := range problems {
				r.fail(p)
			}
		}
	}
	return found
}
