package scripts_test

import (
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Code and comments have 100 columns, a tab counts 4. Longer are only lines that cannot be broken
// without harm: texts in quotes, which one greps for, and preformatted comments (after "//" and a
// tab).
const (
	columns  = 100
	tabWidth = 4
)

func TestColumns(t *testing.T) {
	checked := eachGoFile(t, func(path string, src []byte) {
		for _, line := range longLines(src) {
			t.Errorf("%s:%d: more than %d columns", path, line, columns)
		}
	})
	t.Logf("%d files", checked)
}

// longLines returns the numbers of lines that are too long and could be broken.
func longLines(src []byte) []int {
	excused := unbreakable(src)
	return slices.DeleteFunc(wideLines(src), func(line int) bool { return excused[line] })
}

// wideLines returns the numbers of lines of more than 100 columns.
func wideLines(src []byte) (wide []int) {
	for i, line := range strings.Split(string(src), "\n") {
		width := utf8.RuneCountInString(line) + (tabWidth-1)*strings.Count(line, "\t")
		if width > columns {
			wide = append(wide, i+1)
		}
	}
	return wide
}

// The other files of this directory and of .ci have 100 columns too: scripts of a shell, units,
// settings. All of these can be broken, but for a value in a rule of udev.
func TestColumnsOfScripts(t *testing.T) {
	checked := 0
	for _, dir := range []string{".", "../.ci"} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(path, ".go") {
				return err
			}
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			checked++
			lines := strings.Split(string(src), "\n")
			for _, n := range wideLines(src) {
				if !strings.HasSuffix(path, ".rules") || !strings.Contains(lines[n-1], ` RUN+="`) {
					t.Errorf("%s:%d: more than %d columns", path, n, columns)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d files", checked)
}

// unbreakable names the lines that texts in quotes of more than a few words and preformatted
// comments lie on.
func unbreakable(src []byte) map[int]bool {
	var s scanner.Scanner
	set := token.NewFileSet()
	file := set.AddFile("", -1, len(src))
	s.Init(file, src, nil, scanner.ScanComments)
	excused := make(map[int]bool)
	for {
		pos, tok, text := s.Scan()
		switch {
		case tok == token.EOF:
			return excused
		case tok == token.STRING && len(text) > 30,
			tok == token.COMMENT && strings.HasPrefix(text, "//\t"):
			first := file.Line(pos)
			for i := range strings.Count(text, "\n") + 1 {
				excused[first+i] = true
			}
		}
	}
}

func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", columns)
	src := "package p\n\n// " + long + "\n//\t" + long + "\nvar a = \"" + long + "\"\n" +
		"var b = `" + long + "\n" + long + long + "`\nvar c" + long + " = 1\n"
	if got := longLines([]byte(src)); len(got) != 2 || got[0] != 3 || got[1] != 8 {
		t.Errorf("lines %v", got)
	}
}
