package scripts_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"testing"
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
