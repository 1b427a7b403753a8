package scripts_test

import (
	"go/scanner"
	"go/token"
	"regexp"
	"strings"
	"testing"
)

// A size and a moment have one form in all messages, which package fault writes: a number of MiB
// is "0 MiB" of a small drive, and a second form of a moment looks like another kind of thing.
var (
	fixedUnit  = regexp.MustCompile(`%[a-z] ?[KMGT]i?B\b`)
	ownMoments = regexp.MustCompile(`2006-01-02.15:04:05|2006-01-02T15:04`)
)

func TestSizesAndMomentsHaveOneForm(t *testing.T) {
	eachGoFile(t, func(path string, src []byte) {
		path = strings.TrimPrefix(path, "../")
		if strings.HasSuffix(path, "_test.go") || !strings.HasPrefix(path, "sync/") &&
			!strings.HasPrefix(path, "cmd/") {
			return
		}
		for _, text := range oddForms(src) {
			if path != "sync/fault/text.go" {
				t.Errorf("%s: %s: fault.Size and fault.Time write such", path, text)
			}
		}
	})
}

// oddForms returns the texts of a file that write a size or a moment in a form of their own.
func oddForms(src []byte) (odd []string) {
	var s scanner.Scanner
	set := token.NewFileSet()
	s.Init(set.AddFile("", -1, len(src)), src, nil, 0)
	formats := false // behind .Format(
	for {
		_, tok, text := s.Scan()
		switch {
		case tok == token.EOF:
			return odd
		case tok == token.STRING && (fixedUnit.MatchString(text) || ownMoments.MatchString(text)),
			tok == token.IDENT && strings.HasPrefix(text, "RFC3339") && formats:
			odd = append(odd, text)
		case tok == token.IDENT && text == "Format":
			formats = true
		case tok == token.RPAREN || tok == token.COMMA:
			formats = false
		}
	}
}

func TestOddFormsAreSeen(t *testing.T) {
	src := "package p\n\nvar a = f(\"%d MiB free\", t.Format(time.RFC3339), \"%s free\")\n" +
		"var b, err = time.Parse(time.RFC3339, s)\nvar c = t.Format(\"2006-01-02 15:04:05\")\n"
	if odd := oddForms([]byte(src)); len(odd) != 3 {
		t.Errorf("%q", odd)
	}
}
