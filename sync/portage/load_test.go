package portage

import (
	"bufio"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// machine is a line of settings.jsonl; settings.py beside it defines what each field means.
type machine struct {
	Name     string
	Files    map[string]string
	Env      map[string]string
	Values   map[string]string
	Profiles []string
	Repos    [][2]string
	Strict   bool
}

func putMachine(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(root, name)
		if text == "dir" {
			if err := os.MkdirAll(name, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, name); err != nil {
				t.Fatal(err)
			}
			continue
		}
		write(t, name, text)
	}
}

func mapEnv(m map[string]string) Env {
	return func(k string) (string, bool) { v, ok := m[k]; return v, ok }
}

func machines(t testing.TB) []machine {
	t.Helper()
	f, err := os.Open("../../testdata/portage/settings.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []machine
	for d := json.NewDecoder(bufio.NewReader(f)); d.More(); {
		var m machine
		if err := d.Decode(&m); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

func TestMachinesAsPortageSeesThem(t *testing.T) {
	t.Parallel()
	all := machines(t)
	if len(all) < 60 {
		t.Fatalf("%d machines", len(all))
	}
	for _, m := range all {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			putMachine(t, root, m.Files)
			s, err := Load(t.Context(), Options{Root: root, Env: mapEnv(m.Env)})
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range slices.Sorted(maps.Keys(m.Values)) {
				if got, ok := s.Lookup(k); got != m.Values[k] || !ok {
					t.Errorf("%s:\n got %q\nwant %q", k, got, m.Values[k])
				}
			}
			for k, v := range s.Values {
				if _, ok := m.Values[k]; !ok && k != "PORTAGE_BZIP2_COMMAND" {
					t.Errorf("%s is %q, and not set in portage", k, v)
				}
			}
			if !slices.Equal(s.Profiles, m.Profiles) {
				t.Errorf("profiles:\n got %q\nwant %q", s.Profiles, m.Profiles)
			}
			repos, err := s.Repos()
			if err != nil {
				t.Fatal(err)
			}
			var names [][2]string
			for _, r := range repos {
				names = append(names, [2]string{r.Name, r.Location})
			}
			if !slices.Equal(names, m.Repos) {
				t.Errorf("repositories:\n got %q\nwant %q", names, m.Repos)
			}
			if !m.Strict && !fatal(s.Problems) {
				t.Errorf("emerge refuses this machine, and no problem says so: %v", s.Problems)
			}
		})
	}
}

// With both of them, EPREFIX of the environment is the target's, be it empty, and
// PORTAGE_OVERRIDE_EPREFIX that of the Portage which runs (LocationsManager of Portage 3.0.82,
// load_emerge_config).
func TestPrefixOfTargetAndOfPortage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		env                  map[string]string
		eprefix, broot, conf string
	}{
		{map[string]string{}, "", "", "/"},
		{map[string]string{"EPREFIX": "/p/"}, "/p", "/p", "/p/"},
		{map[string]string{"PORTAGE_OVERRIDE_EPREFIX": "/o"}, "/o", "/o", "/o/"},
		{map[string]string{"PORTAGE_OVERRIDE_EPREFIX": "/o", "EPREFIX": ""}, "", "/o", "/o/"},
		{map[string]string{"PORTAGE_OVERRIDE_EPREFIX": "/o", "EPREFIX": "/p",
			"PORTAGE_CONFIGROOT": "/c"}, "/p", "/o", "/c/"},
	} {
		at := findPlaces(tree{root: t.TempDir()}, func(key string) (string, bool) {
			v, ok := tt.env[key]
			return v, ok
		})
		if at.eprefix != tt.eprefix || at.broot != tt.broot || at.configRoot != tt.conf {
			t.Errorf("%v: %+v", tt.env, at)
		}
	}
}
