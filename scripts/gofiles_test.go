package scripts_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// eachGoFile passes every Go file of the project to use, but for those below a testdata, and
// returns how many there are.
func eachGoFile(t *testing.T, use func(path string, src []byte)) (files int) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == ".git"):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		use(path, src)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
