package portage

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const vectorFile = "../../testdata/portage/getconfig.jsonl"

// vector is a line of getconfig.jsonl; getconfig.py beside it says what each field means.
type vector struct {
	Name   string
	Files  map[string]string
	Mode   string
	Vars   map[string]string
	Values map[string]string
	Strict bool
}

func (v vector) put(t testing.TB, dir string) {
	for name, text := range v.Files {
		data := []byte(strings.ReplaceAll(text, "@DIR@", dir))
		if b, ok := strings.CutPrefix(text, "base64:"); ok {
			var err error
			if data, err = base64.StdEncoding.DecodeString(b); err != nil {
				t.Fatal(err)
			}
		}
		write(t, filepath.Join(dir, name), string(data))
	}
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func vectors(t testing.TB, name string) []vector {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []vector
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var v vector
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// readVector reads a vector's files as Load reads make.conf.
func readVector(v vector, dir string) (map[string]string, []Problem) {
	l := newLoader(Options{})
	got := map[string]string{}
	mode := confMode{source: v.Mode == "conf", dir: v.Mode == "conf", noExpand: v.Mode == "plain"}
	l.parse(path.Join(dir, "make.conf"), maps.Clone(v.Vars), mode, func(a Assignment) {
		got[a.Name] = strings.ReplaceAll(a.Value, dir, "@DIR@")
	})
	return got, l.s.Problems
}

func fatal(problems []Problem) bool {
	for _, p := range problems {
		if p.Fatal {
			return true
		}
	}
	return false
}

func TestGetconfigVectors(t *testing.T) {
	t.Parallel()
	name := vectorFile
	if big := os.Getenv("PKGSNEAK_TEST_GETCONFIG"); big != "" {
		name = big // a larger file made by getconfig.py
	}
	all := vectors(t, name)
	if len(all) < 400 {
		t.Fatalf("%d vectors", len(all))
	}
	dir := t.TempDir()
	for i, v := range all {
		d := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		v.put(t, d)
		got, problems := readVector(v, d)
		if v.Values != nil && !maps.Equal(got, v.Values) {
			t.Errorf("%s: %q\n got %q\nwant %q", v.Name, v.Files, got, v.Values)
		}
		if fatal(problems) == v.Strict {
			t.Errorf("%s: %q\nPortage accepts it: %v, but problems: %v", v.Name, v.Files, v.Strict, problems)
		}
	}
}

var _ = bytes.Equal
