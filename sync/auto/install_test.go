package auto

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pkgsneak/sync/portage"
)

// absent is a machine without any of the programs.
func absent(context.Context, Command) ([]byte, int, error) { return nil, 0, exec.ErrNotFound }

func install(t *testing.T, o InstallOptions) *Changes {
	t.Helper()
	if o.Run == nil {
		o.Run = absent
	}
	c, err := Install(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var installed = []string{"/etc/udev/rules.d/90-pkgsneak.rules",
	"/etc/systemd/system/pkgsneak@.service", "/etc/systemd/system/pkgsneak-watch.service",
	"/etc/init.d/pkgsneak-watch", "/etc/conf.d/pkgsneak"}

func under(root string, paths []string) []string {
	all := []string{}
	for _, p := range paths {
		all = append(all, root+p)
	}
	return all
}

func TestInstall(t *testing.T) {
	root := t.TempDir()
	o := InstallOptions{Root: root, Run: absent}
	if c := install(t, o); !reflect.DeepEqual(c.Written, under(root, installed)) {
		t.Errorf("written %q", c.Written)
	}
	for _, name := range installed {
		fi, err := os.Stat(root + name)
		if err != nil {
			t.Fatal(err)
		}
		if program := fi.Mode()&0o111 != 0; program != strings.Contains(name, "init.d") {
			t.Errorf("%s has mode %v", name, fi.Mode())
		}
	}
	if c := install(t, o); len(c.Written) != 0 || len(c.Same) != len(installed) {
		t.Errorf("again: %+v", c)
	}
	c, err := Uninstall(t.Context(), o)
	if err != nil || !reflect.DeepEqual(c.Removed, under(root, installed)) {
		t.Errorf("uninstall: %+v, %v", c, err)
	}
	if c, err := Uninstall(t.Context(), o); err != nil || len(c.Removed)+len(c.Kept) != 0 {
		t.Errorf("uninstall again: %+v, %v", c, err)
	}
}

// The path of the program stands in every file that starts it.
func TestInstallProgram(t *testing.T) {
	root := t.TempDir()
	install(t, InstallOptions{Root: root, Program: "/usr/local/bin/pkgsneak"})
	for _, name := range installed[:4] {
		data, err := os.ReadFile(root + name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), "/usr/local/bin/pkgsneak") ||
			strings.Contains(string(data), "/usr/bin/pkgsneak") {
			t.Errorf("%s: %s", name, data)
		}
	}
	for _, program := range []string{"pkgsneak", "/mnt/my stick/pkgsneak", `/a"b`,
		"/a%kb", "/a$b"} {
		if _, err := autoPieces(program); err == nil {
			t.Errorf("%q is taken", program)
		}
	}
	// Files that an older pkgsneak wrote are renewed.
	if c := install(t, InstallOptions{Root: root}); len(c.Written) != 4 || len(c.Kept) != 0 {
		t.Errorf("renewed: %+v", c)
	}
}

// A file that the user has changed stays, unless he is asked and agrees, or Force is set.
func TestInstallKeepsChanges(t *testing.T) {
	const mine = "PKGSNEAK_AUTO=import\n"
	asked := func(answer bool) func(string) (bool, error) {
		return func(string) (bool, error) { return answer, nil }
	}
	tests := []struct {
		name string
		o    InstallOptions
		kept bool
	}{
		{"without asking", InstallOptions{}, true},
		{"refused", InstallOptions{Confirm: asked(false)}, true},
		{"confirmed", InstallOptions{Confirm: asked(true)}, false},
		{"forced", InstallOptions{Force: true}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := tt.o
			o.Root, o.Run = t.TempDir(), absent
			install(t, o)
			conf := o.Root + "/etc/init.d/pkgsneak-watch"
			data, err := os.ReadFile(conf)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{mine, mine + string(data), string(data) + mine, ""} {
				if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				if c := install(t, o); (len(c.Kept) == 1) != tt.kept {
					t.Errorf("%q: %+v", text, c)
				}
				got, err := os.ReadFile(conf)
				if err != nil || (string(got) == text) != tt.kept {
					t.Errorf("%q became %q", text, got)
				}
				if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				if _, err := Uninstall(t.Context(), o); err != nil {
					t.Fatal(err)
				}
				if _, err := os.Stat(conf); (err == nil) != tt.kept {
					t.Errorf("uninstall: %v", err)
				}
				install(t, o)
			}
		})
	}
}

// Settings are the user's, whoever answers what: they stay, and what is new lies beside them until
// it is removed.
func TestInstallKeepsSettings(t *testing.T) {
	const mine = "PKGSNEAK_AUTO=import\n"
	yes := func(string) (bool, error) { return true, nil }
	root := t.TempDir()
	for name, o := range map[string]InstallOptions{"without asking": {}, "confirmed": {
		Confirm: yes}, "serve": {Serve: true}} {
		o.Root, o.Run = root, absent
		install(t, o)
		conf := root + "/etc/conf.d/pkgsneak"
		if o.Serve {
			conf += "-serve"
		}
		fresh, err := os.ReadFile(conf)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(conf, []byte(mine), 0o644); err != nil {
			t.Fatal(err)
		}
		if c := install(t, o); len(c.Kept) != 0 || !slices.Equal(c.Edited, []string{conf}) {
			t.Errorf("%s: %+v", name, c)
		}
		if beside, err := os.ReadFile(conf + ".example"); err != nil ||
			string(beside) != string(fresh) {
			t.Errorf("%s: beside the settings lies %q: %v", name, beside, err)
		}
		if c, err := Uninstall(t.Context(), o); err != nil || len(c.Kept) != 0 ||
			!slices.Equal(c.Edited, []string{conf}) {
			t.Errorf("%s: uninstall: %v, %+v", name, err, c)
		}
		if got, err := os.ReadFile(conf); err != nil || string(got) != mine {
			t.Errorf("%s: the settings became %q: %v", name, got, err)
		}
		if _, err := os.Stat(conf + ".example"); err == nil {
			t.Errorf("%s: the example was left behind", name)
		}
		o.Force = true
		if _, err := Uninstall(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(conf); err == nil {
			t.Errorf("%s: --force leaves the settings", name)
		}
	}
}

// A rule that udevadm does not take is not installed.
func TestInstallValidates(t *testing.T) {
	tests := []struct {
		name    string
		version string
		verify  int
		notice  string
		fails   bool
	}{
		{"a udevadm that cannot", "251\n", 1, "was not checked", false},
		{"a udevadm that takes it", "255\n", 0, "", false},
		{"a udevadm that refuses it", "255\n", 1, "", true},
		{"odd", "udev\n", 1, "was not checked", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			c, err := Install(t.Context(), InstallOptions{Root: root,
				Run: func(_ context.Context, c Command) ([]byte, int, error) {
					switch {
					case c.Name != "udevadm":
						return nil, 0, exec.ErrNotFound
					case c.Args[0] == "--version":
						return []byte(tt.version), 0, nil
					case c.Args[0] == "verify":
						return []byte("line 3: odd\n"), tt.verify, nil
					}
					t.Errorf("%+v: a system below --root was reloaded", c)
					return nil, 0, nil
				}})
			if (err != nil) != tt.fails {
				t.Fatal(err)
			}
			if got := strings.Join(c.Notices, "\n"); !strings.Contains(got, tt.notice) ||
				tt.notice == "" && got != "" {
				t.Errorf("notices %q", got)
			}
			if _, err := os.Stat(root + installed[0]); errors.Is(err, os.ErrNotExist) != tt.fails {
				t.Errorf("the rule: %v", err)
			}
		})
	}
}

// The real programs take the files.
func TestPiecesAreValid(t *testing.T) {
	pieces, err := autoPieces("/bin/true") // systemd looks whether the program is there
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, p := range pieces {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(p.Path)), []byte(p.Text),
			0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("systemd", func(t *testing.T) {
		out, err := exec.Command(tool(t, "systemd-analyze"), "verify", dir+"/pkgsneak@sda1.service",
			dir+"/pkgsneak-watch.service").CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("udev", func(t *testing.T) {
		udevadm := tool(t, "udevadm")
		if out, err := exec.Command(udevadm, "verify", "--help").CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: this udevadm cannot verify: %s", out)
		}
		if out, err := exec.Command(udevadm, "verify", "--resolve-names=never",
			dir+"/90-pkgsneak.rules").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("sh", func(t *testing.T) {
		for _, name := range []string{"pkgsneak-watch", "pkgsneak"} {
			if out, err := exec.Command("sh", "-n",
				filepath.Join(dir, name)).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", name, err, out)
			}
		}
	})
	// Each example in conf.d, taken out of its comment, is an assignment.
	conf := strings.ReplaceAll(pieces[4].Text, "\n#PKGSNEAK", "\nPKGSNEAK")
	values, problems, err := portage.ParseAssignments(strings.NewReader(conf), "pkgsneak")
	if err != nil || len(problems) > 0 || values["PKGSNEAK_AUTO"] != "export" ||
		values["PKGSNEAK_LABEL"] != DefaultLabel || len(values) < 7 {
		t.Errorf("%q, %v, %v", values, problems, err)
	}
}

// The files of serve are a set of their own, which udev has nothing to do with. systemd takes them,
// where it is there to ask.
func TestInstallServe(t *testing.T) {
	files := []string{"/etc/systemd/system/pkgsneak-serve.service",
		"/etc/systemd/system/pkgsneak-serve.socket", "/etc/init.d/pkgsneak-serve",
		"/etc/conf.d/pkgsneak-serve"}
	root := t.TempDir()
	asked := false
	// systemd looks whether the program is there
	o := InstallOptions{Root: root, Serve: true, Program: "/bin/true",
		Run: func(ctx context.Context, c Command) ([]byte, int, error) {
			if c.Name == "udevadm" {
				t.Errorf("asked %q %q", c.Name, c.Args)
			}
			asked = asked || c.Name == "systemd-analyze" && len(c.Args) == 3
			return Linux().Run(ctx, c)
		}}
	c := install(t, o)
	if !reflect.DeepEqual(c.Written, under(root, files)) || len(c.Notices) > 0 || !asked {
		t.Errorf("%+v, systemd asked: %v", c, asked)
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Log("SYSTEMD WAS NOT ASKED WHETHER IT TAKES THE UNITS: systemd-analyze is not in PATH")
	}
	for _, name := range files[:3] {
		data, err := os.ReadFile(root + name)
		if err != nil || strings.Contains(string(data), defaultProgram) {
			t.Errorf("%s: %v\n%s", name, err, data)
		}
	}
	c, err := Uninstall(t.Context(), o)
	if err != nil || !reflect.DeepEqual(c.Removed, under(root, files)) {
		t.Errorf("uninstall: %+v, %v", c, err)
	}
}

// A file that both a package and --install put in place is read once: of two files of one name udev
// and systemd take the one in /etc, and all others have one place.
func TestPackagedFilesGiveWay(t *testing.T) {
	over := map[string]string{"usr/lib/udev/rules.d": "etc/udev/rules.d",
		"usr/lib/systemd/system": "etc/systemd/system"}
	for _, serve := range []bool{false, true} {
		own, err := InstallOptions{Serve: serve}.pieces()
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := InstallOptions{Serve: serve, Packaged: true}.pieces()
		if err != nil || len(theirs) != len(own) {
			t.Fatalf("%d and %d files, %v", len(own), len(theirs), err)
		}
		for i, p := range theirs {
			dir := path.Dir(p.Path)
			if want := path.Join(cmp.Or(over[dir], dir), path.Base(p.Path)); own[i].Path != want {
				t.Errorf("%s of a package is beside %s, want %s", p.Path, own[i].Path, want)
			}
		}
	}
}

// A script or settings that a package has put into /etc are no user's: nobody is asked, and they
// stay.
func TestFilesOfAPackageStay(t *testing.T) {
	pieces, err := autoPieces("")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, name := range []string{"etc/init.d/pkgsneak-watch", "etc/conf.d/pkgsneak"} {
		i := slices.IndexFunc(pieces, func(p piece) bool { return p.Path == name })
		text, _, _ := strings.Cut(pieces[i].Text, sumLine)
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{filepath.Join(root, "etc/init.d/pkgsneak-watch"),
		filepath.Join(root, "etc/conf.d/pkgsneak")}
	if c := install(t, InstallOptions{Root: root}); !slices.Equal(c.Same, want) ||
		len(c.Written) != 3 || len(c.Kept)+len(c.Edited) > 0 {
		t.Errorf("installed: %+v", c)
	}
	c, err := Uninstall(t.Context(), InstallOptions{Root: root, Run: absent})
	if err != nil || !slices.Equal(c.Same, want) || len(c.Removed) != 3 ||
		len(c.Kept)+len(c.Edited) > 0 {
		t.Errorf("removed: %+v, %v", c, err)
	}
}
