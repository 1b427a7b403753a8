package scripts_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// Comments name their subject and are in the field's plain English: a thing states, reports, has or
// lists something, people talk; and no sentence begins with a question word in the place of a noun.
// The first word of a comment may be the name of anything.
var (
	talking  = regexp.MustCompile(`\b(says?|saying|knows|hears?|heeds?|likes)\b`)
	question = regexp.MustCompile(`(^|[.:!?] )(What|Who)\b`)
)

func TestCommentsUsePlainWords(t *testing.T) {
	checked := 0
	eachGoFile(t, func(path string, src []byte) {
		files := token.NewFileSet()
		const mode = parser.ParseComments | parser.SkipObjectResolution
		f, err := parser.ParseFile(files, path, src, mode)
		if err != nil {
			t.Fatal(err)
		}
		for _, group := range f.Comments {
			checked++
			for _, odd := range oddWords(group) {
				t.Errorf("%s: %q", files.Position(group.Pos()), odd)
			}
		}
	})
	t.Logf("%d comments", checked)
}

// oddWords returns the words of a comment that a comment does not use, each with some of the text
// behind it.
func oddWords(group *ast.CommentGroup) (odd []string) {
	for paragraph := range strings.SplitSeq(group.Text(), "\n\n") {
		text := strings.Join(strings.Fields(paragraph), " ")
		_, rest, _ := strings.Cut(text, " ")
		for _, at := range talking.FindAllStringIndex(rest, -1) {
			odd = append(odd, rest[at[0]:min(at[0]+40, len(rest))])
		}
		for _, at := range question.FindAllStringIndex(text, -1) {
			odd = append(odd, text[at[0]:min(at[0]+40, len(text))])
		}
	}
	return odd
}

// A comment over a function or a type that begins with a small letter begins with its name: one
// that names another has outlived a renaming. Tests have no callers, and their comments may begin
// with a program's name.
func TestCommentsNameTheirSubject(t *testing.T) {
	checked := 0
	eachGoFile(t, func(path string, src []byte) {
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, path, src, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commented(f) {
			checked++
			if !c.namesSubject() {
				t.Errorf("%s: the comment of %s begins with another name: %q",
					files.Position(c.doc.Pos()), c.name, c.doc.Text())
			}
		}
	})
	t.Logf("%d comments", checked)
}

// subject is a function or a type with a comment over it.
type subject struct {
	name string
	doc  *ast.CommentGroup
}

func commented(f *ast.File) (all []subject) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if strings.HasPrefix(d.Name.Name, "Test") {
				continue
			}
			all = append(all, subject{d.Name.Name, d.Doc})
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if t, ok := spec.(*ast.TypeSpec); ok {
					all = append(all, subject{t.Name.Name, d.Doc})
				}
			}
		}
	}
	return slices.DeleteFunc(all, func(s subject) bool { return s.doc.Text() == "" })
}

// namesSubject reports whether the comment begins with the name, or with a sentence. A command of
// the stories goes by the end of its function's name.
func (s subject) namesSubject() bool {
	first := strings.TrimRight(strings.Fields(s.doc.Text())[0], ",:")
	command, ok := strings.CutPrefix(s.name, "story")
	return !unicode.IsLower(rune(first[0])) || first == s.name ||
		ok && strings.HasPrefix(strings.ToLower(command), first)
}

func TestOtherSubjectsAreSeen(t *testing.T) {
	for source, want := range map[string]bool{
		"// f ends.\nfunc f() {}":                   true,
		"// F of a file\n// ends.\ntype F int":      true,
		"// A file of the others.\nfunc f() {}":     true,
		"// g ends.\nfunc f() {}":                   false,
		"// g is a number.\ntype f int":             false,
		"// f, with g, ends.\nfunc f() {}":          true,
		"// f: it ends.\nfunc f() {}":               true,
		"// wait TEXT: waits.\nfunc storyWait() {}": true,
		"// wait TEXT: waits.\nfunc storyCall() {}": false,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "a.go", "package a\n\n"+source+"\n",
			parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if all := commented(f); len(all) != 1 || all[0].namesSubject() != want {
			t.Errorf("%q: %v", source, all)
		}
	}
}

func TestOddWordsAreSeen(t *testing.T) {
	for comment, want := range map[string]int{
		"// f returns what the list says of it.":                   1,
		"// A server that hears nothing\n// knows nothing.":        2,
		"// f ends.\n//\n// What lies there stays.":                1,
		"// f ends. What\n// lies there stays; who says so?":       2,
		"// say prints a line, whatever is known of what it said.": 0,
		"// f is like g; a person that likes\n// it may use it.":   1,
		"// Whatever lies there stays: what is left is told.":      0,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "a.go",
			"package a\n\n"+comment+"\nvar f int\n",
			parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if odd := oddWords(f.Comments[0]); len(odd) != want {
			t.Errorf("%q: %q", comment, odd)
		}
	}
}
