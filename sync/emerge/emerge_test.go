package emerge

import (
	"context"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The output of emerge of Portage 3.0.82, shortened.
const listed = `
These are the packages that would be merged, in order:

Calculating dependencies  ... done!
Dependency resolution took 0.25 s (backtrack: 1/20).

[binary     U ~] dev-libs/lib-2::gentoo [1::gentoo] USE="-ssl"
[binary   R    ] app-misc/again-1-3 
[binary  N     ] app-misc/new-1
[binary  NS   #] dev-lang/py-3.1-r1 [2.7]
  [binary     UD ] sys-libs/glibc-2.38 [2.40]
[uninstall     ] app-misc/old-1
[blocks b      ] app-misc/old ("app-misc/old" is soft blocking app-misc/new-1)
[nomerge       ] app-misc/held-1
[ebuild  rR    ] app-misc/app-1

 * emerge: there are no ebuilds built with USE flags to satisfy "dev-libs/lib[ssl]".
!!! One of the following packages is required to complete your request:
[blocks B      ] app-misc/x ("app-misc/x" is hard blocking app-misc/new-1)
`

func TestParse(t *testing.T) {
	t.Parallel()
	merges, said := parse([]byte(listed))
	want := []Merge{{"dev-libs/lib-2", "binary", "U~"}, {"app-misc/again-1-3", "binary", "R"},
		{"app-misc/new-1", "binary", "N"},
		{"dev-lang/py-3.1-r1", "binary", "NS#"}, {"sys-libs/glibc-2.38", "binary", "UD"},
		{"app-misc/old-1", "uninstall", ""},
		{"app-misc/held-1", "nomerge", ""}, {"app-misc/app-1", "ebuild", "rR"}}
	if !reflect.DeepEqual(merges, want) {
		t.Errorf("read %+v\nwant %+v", merges, want)
	}
	if len(said) != 3 || !strings.HasPrefix(said[1], "!!! One of") ||
		!strings.HasPrefix(said[2], "[blocks B") {
		t.Errorf("said %q", said)
	}
	for _, m := range merges {
		if m.Backwards() != (m.Name == "sys-libs/glibc-2.38") {
			t.Errorf("%+v goes backwards: %v", m, m.Backwards())
		}
	}
}

// standIn writes a program that is called instead of emerge.
func standIn(t *testing.T, script string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "emerge")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "emerge")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// account is a user that emerge may be run as here.
func account(t *testing.T) string {
	t.Helper()
	if _, err := user.Lookup("nobody"); err != nil && os.Geteuid() == 0 {
		t.Skip("there is no user nobody: the change of the user is not tried")
	}
	return "nobody"
}

// The program runs as the other user, in a clean environment, with the line's options; nobody
// answers it.
func TestAsk(t *testing.T) {
	t.Parallel()
	name := account(t)
	path := standIn(t, `printf '!!! uid %s, in %s\n' "$(id -u)" "$PWD"; echo "!!! groups $(id -G)"
for a; do echo "!!! arg $a"; done; env | sed 's/^/!!! env /'; read x || echo '!!! no input'; echo '[binary  N     ] a/b-1'; exit 3`)
	a, err := Ask(t.Context(), Question{Program: path, Exclude: []string{"a/x", "a/y:2"},
		Options: []string{"--with-bdeps=y"}, PKGDIR: "/p k", AsUser: name,
		Environ: []string{"PATH=" + os.Getenv("PATH"), "SECRET=1", "PORTAGE_CONFIGROOT=/c",
			"EMERGE_DEFAULT_OPTS=--ask", "PKGDIR=/other"}})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(a.Said, "\n")
	if a.Exit != 3 || !reflect.DeepEqual(a.Merges, []Merge{{"a/b-1", "binary", "N"}}) {
		t.Errorf("exit %d, merges %v", a.Exit, a.Merges)
	}
	want := []string{"in /\n", "arg --pretend\n", "arg -uDK\n",
		"arg --rebuilt-binaries-timestamp=0\n", "arg --with-bdeps=y\n",
		"arg --exclude\n!!! arg a/x a/y:2\n!!! arg @world"}
	if u, err := user.Lookup(name); err == nil && os.Geteuid() == 0 {
		want = append(want, "uid "+u.Uid+",", "groups "+u.Gid+"\n")
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("not said: %q in\n%s", w, text)
		}
	}
	if strings.Contains(text, "SECRET") || strings.Contains(text, "arg --ask") {
		t.Errorf("handed on what is not emerge's:\n%s", text)
	}
}

// Output that never ends is cut, a program that never ends is killed with its children, and hostile
// messages are shortened.
func TestAskIsBounded(t *testing.T) {
	t.Parallel()
	name := account(t)
	a, err := Ask(t.Context(),
		Question{Program: standIn(t,
			`printf '!!! %01000d\n' 0; head -c 6000000 /dev/zero | tr '\0' 'x'`), AsUser: name,
			Environ: []string{"PATH=" + os.Getenv("PATH")}})
	if err != nil || !a.Cut || len(a.Said) != 1 || len(a.Said[0]) != MaxLine {
		t.Errorf("%v, %+v", err, a)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	slow := standIn(t, `while :; do kill -0 $$; done & wait`)
	done := make(chan error, 1)
	go func() {
		_, err := Ask(ctx, Question{Program: slow, AsUser: name,
			Environ: []string{"PATH=" + os.Getenv("PATH")}})
		done <- err
	}()
	cancel(enough)
	if err := <-done; !errors.Is(err, enough) {
		t.Errorf("after the end of its context: %v", err)
	}
}

// As root it is not run without an account to run it as.
func TestAskNeedsUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("not root: the user is not changed")
	}
	for _, name := range []string{"no-such-user", "root"} {
		if _, err := Ask(t.Context(), Question{Program: "/bin/true", AsUser: name}); err == nil ||
			!strings.Contains(err.Error(), name) {
			t.Errorf("as %q: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(listed))
	f.Fuzz(func(t *testing.T, out []byte) {
		merges, said := parse(out)
		if len(said) > MaxSaid {
			t.Fatal("too many messages")
		}
		for _, m := range merges {
			if strings.ContainsFunc(m.Name+m.Kind+m.Flags, func(r rune) bool {
				return r <= ' ' || r > '~'
			}) {
				t.Fatalf("%q", m)
			}
		}
		for _, s := range said {
			if len(s) > MaxLine+10 {
				t.Fatalf("%d bytes", len(s))
			}
		}
	})
}
