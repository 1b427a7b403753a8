package roundtrip

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/reindex"
	"pkgsneak/sync/state"
)

// rulesOn are the numbers of the rules by which the packages on a drive were looked through.
func rulesOn(a *arena) map[string]int {
	facts, err := generationOf(a.t, a.host, a.drive).Facts()
	a.must(err)
	rules := make(map[string]int)
	for _, p := range facts.Packages {
		rules[p.Path] = p.Rules
	}
	return rules
}

// remembersChecks reports it unless the host remembers that a package passed today's rules.
func (a *arena) remembersChecks(path string) {
	a.t.Helper()
	st, err := state.Open(a.t.Context(), a.host.StateDir, state.Options{ReadOnly: true})
	a.must(err)
	defer st.Close()
	cache, err := st.Cache(a.host.PKGDIR, epoch)
	a.must(err)
	fi, err := os.Stat(filepath.Join(a.host.PKGDIR, path))
	a.must(err)
	if n := cache.Approved(path, fi); n != binpkg.Rules {
		a.t.Errorf("%s: rules %d are remembered", path, n)
	}
}

// refuseByOtherRules makes the host remember that a package, as it is, was refused by other rules
// than today's.
func (a *arena) refuseByOtherRules(path string) {
	a.t.Helper()
	st, err := state.Open(a.t.Context(), a.host.StateDir, state.Options{})
	a.must(err)
	defer st.Close()
	refusals, err := state.OpenRefusals(st, a.host.PKGDIR, time.Now())
	a.must(err)
	fi, err := os.Stat(filepath.Join(a.host.PKGDIR, path))
	a.must(err)
	refusals.Put(path, fi, state.Refusal{Reason: "by other rules", Rules: binpkg.Rules + 1})
	a.must(refusals.Save())
}

// exportChecking exports, and notes which packages are read without being copied.
func (a *arena) exportChecking(checked map[string]bool) *exporter.ExportReport {
	a.t.Helper()
	r, err := exporter.Export(a.t.Context(), a.host, exporter.ExportOptions{Drive: a.drive,
		AnyDirectory: true, NoReadBack: true}, progress.OfEvents(func(e progress.Event) {
		if e.Phase == progress.PhaseCheck {
			checked[e.Path] = true
		}
	}))
	a.must(err)
	return r
}

// refusedAsBefore plans and exports once more: nothing is read or written, and the same packages
// are named.
func (a *arena) refusedAsBefore(refused []payload.Item) {
	a.t.Helper()
	checked := make(map[string]bool)
	for what, r := range map[string]*exporter.ExportReport{
		"a plan":    mustExport(a.t, a.host, exporter.ExportOptions{Drive: a.drive, Pretend: true}),
		"an export": a.exportChecking(checked)} {
		if !r.Unchanged || !slices.Equal(r.Refused, refused) || len(r.Notices) > 0 {
			a.t.Errorf("%s: unchanged %v, refused %v, notices %q", what, r.Unchanged, r.Refused,
				r.Notices)
		}
	}
	if len(checked) > 0 {
		a.t.Errorf("read again: %v", checked)
	}
}

// A package that was looked through by older rules is looked through by today's if the host has it
// still, so that no client has to.
func TestOldChecksAreRenewed(t *testing.T) {
	p := newTemplate(t)
	older := func(s *statement) {
		for i := range s.facts.Packages {
			s.facts.Packages[i].Rules = min(i%2, binpkg.Rules-1)
		}
	}
	export := func(a *arena) *exporter.ExportReport {
		return mustExport(t, a.host, exporter.ExportOptions{Drive: a.drive, NoReadBack: true})
	}
	t.Run("good packages", func(t *testing.T) {
		a := p.arena(t)
		a.resign(older)
		if r := export(a); len(r.Copied) > 0 || r.Unchanged {
			t.Errorf("copied %v, unchanged: %v", r.Copied, r.Unchanged)
		} else if !slices.ContainsFunc(r.Notices, func(n string) bool {
			return strings.HasPrefix(n, "looked through once more") &&
				strings.HasSuffix(n, fmt.Sprintf(": %d of the packages on the drive",
					len(rulesOn(a))))
		}) {
			t.Errorf("notices %q", r.Notices)
		}
		for path, n := range rulesOn(a) {
			if n != binpkg.Rules {
				t.Errorf("%s: rules %d", path, n)
			}
		}
		if r := export(a); !r.Unchanged || len(r.Notices) > 0 {
			t.Errorf("the next export: unchanged %v, notices %q", r.Unchanged, r.Notices)
		}
	})
	settled := func(t *testing.T) *arena {
		a := p.arena(t)
		// so that its digest is remembered
		a.must(os.Chtimes(filepath.Join(a.host.DISTDIR, tarball), epoch, epoch))
		return a
	}
	plan := func(a *arena) *exporter.ExportReport {
		return mustExport(a.t, a.host, exporter.ExportOptions{Drive: a.drive, Pretend: true})
	}
	t.Run("planned", func(t *testing.T) {
		a := settled(t)
		export(a)
		for _, c := range []struct {
			change    func(*statement)
			unchanged bool
		}{{func(*statement) {}, true}, {older, false}} {
			a.resign(c.change)
			r := plan(a)
			if r.Unchanged != c.unchanged {
				t.Errorf("a plan promises that nothing is written: %v", r.Unchanged)
			}
			if told := slices.ContainsFunc(r.Notices, func(n string) bool {
				return strings.HasPrefix(n, "to be looked through once more")
			}); told == c.unchanged {
				t.Errorf("notices %q", r.Notices)
			}
		}
	})
	t.Run("other bytes on the host", func(t *testing.T) {
		a := p.arena(t)
		a.resign(older)
		rebuild(t, filepath.Join(a.host.PKGDIR, otherVictim))
		if r := export(a); len(r.Copied) != 1 {
			t.Errorf("copied %v", r.Copied)
		}
		if n := rulesOn(a)[otherVictim]; n != binpkg.Rules {
			t.Errorf("the copied one: rules %d", n)
		}
	})
	t.Run("a package that is not what the catalogue says", func(t *testing.T) {
		for key, value := range map[string]string{"SLOT": "7", "MD5": strings.Repeat("0", 32),
			"SHA1": strings.Repeat("0", 40)} {
			a := settled(t)
			remove(t, filepath.Join(a.host.PKGDIR, "Packages")) // which would put it right
			a.resign(func(s *statement) { older(s); s.entry(a, victim, key, value) })
			for range 2 { // the second one has looked through it before
				export(a)
				for path, n := range rulesOn(a) {
					if (n == binpkg.Rules) == (path == victim) {
						t.Errorf("%s: with a wrong %s: rules %d", path, key, n)
					}
				}
			}
			if r := plan(a); !r.Unchanged || len(r.Notices) > 0 {
				t.Errorf("with a wrong %s a plan is unchanged: %v, and says %q", key, r.Unchanged,
					r.Notices)
			}
		}
	})
	t.Run("declined", func(t *testing.T) {
		a := p.arena(t)
		a.resign(older)
		_, err := exporter.Export(t.Context(), a.host, exporter.ExportOptions{Drive: a.drive,
			AnyDirectory: true, NoReadBack: true,
			Confirm: func(*exporter.ExportPlan) (bool, error) { return false, nil }}, nil)
		if !errors.Is(err, fault.ErrDeclined) {
			t.Fatal(err)
		}
		a.remembersChecks(otherVictim)
		if r := plan(a); r.Unchanged || slices.ContainsFunc(r.Notices, func(n string) bool {
			return strings.HasPrefix(n, "looked through once more")
		}) {
			t.Errorf("a plan: unchanged %v, notices %q", r.Unchanged, r.Notices)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		a := p.arena(t)
		a.resign(older)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		first := ""
		_, err := exporter.Export(ctx, a.host, exporter.ExportOptions{Drive: a.drive,
			AnyDirectory: true, NoReadBack: true}, progress.OfEvents(func(e progress.Event) {
			switch {
			case e.Phase != progress.PhaseCheck || e.Path == tarball:
			case e.Files == 1 && first == "":
				first = e.Path
			case e.Files == 2:
				cancel()
			}
		}))
		if !IsA[*exporter.InterruptedError](err) {
			t.Fatal(err)
		}
		a.remembersChecks(first)
		export(a)
		for path, n := range rulesOn(a) {
			if n != binpkg.Rules {
				t.Errorf("%s: rules %d", path, n)
			}
		}
	})
	t.Run("a package that is damaged on the host", func(t *testing.T) {
		a := settled(t)
		name := filepath.Join(a.host.PKGDIR, victim)
		fi, err := os.Stat(name)
		a.must(err)
		data, err := os.ReadFile(name)
		a.must(err)
		data[len(data)/2] ^= 1
		a.must(os.WriteFile(name, data, 0o644))
		a.must(os.Chtimes(name, fi.ModTime(), fi.ModTime()))
		a.resign(older)
		r := export(a)
		if len(r.LeftOut)+len(r.Copied) > 0 {
			t.Errorf("left out %v, copied %v", r.LeftOut, r.Copied)
		}
		if len(r.Refused) != 1 || r.Refused[0].Path != victim ||
			!strings.HasSuffix(r.Refused[0].Reason, "; the drive has another file of that name") {
			t.Errorf("refused %v", r.Refused)
		}
		a.refusedAsBefore(r.Refused)
		if n := rulesOn(a)[victim]; n == binpkg.Rules {
			t.Errorf("rules %d", n)
		}
	})
	t.Run("a package that is refused today", func(t *testing.T) {
		a := settled(t)
		data, err := os.ReadFile("../../testdata/golden/corrupt/g25-no-image/" + victim)
		a.must(err)
		name := filepath.Join(a.host.PKGDIR, victim)
		refuse := func() {
			a.must(os.WriteFile(name, data, 0o644))
			a.must(os.Chtimes(name, epoch, epoch)) // so that what is known of it is remembered
		}
		refuse()
		a.resign(func(s *statement) { s.pretend(a, victim, data); older(s) })
		r := export(a)
		if len(r.Refused) != 1 || r.Refused[0].Path != victim || r.Refused[0].Size == 0 ||
			r.Refused[0].Reason != "no image; clients will refuse it, too" ||
			!strings.Contains(r.Refused[0].Hint, "built again") ||
			!strings.HasSuffix(r.Refused[0].Hint, "remove the refused one") {
			t.Errorf("refused %v", r.Refused)
		}
		a.refusedAsBefore(r.Refused)
		refuse() // it may be another one by now
		checked := make(map[string]bool)
		r = a.exportChecking(checked)
		if len(r.Refused) != 1 || !checked[victim] {
			t.Errorf("refused %v after reading %v", r.Refused, checked)
		}
		a.refusedAsBefore(r.Refused)
		a.refuseByOtherRules(victim)
		clear(checked)
		r = a.exportChecking(checked)
		if len(r.Refused) != 1 || r.Refused[0].Reason == "by other rules" || !checked[victim] {
			t.Errorf("by other rules before: refused %v after reading %v", r.Refused, checked)
		}
		for path, n := range rulesOn(a) {
			if (n == binpkg.Rules) == (path == victim) {
				t.Errorf("%s: rules %d", path, n)
			}
		}
		if _, err := os.Stat(a.on(layout.PackagesDir + "/" + victim)); err != nil {
			t.Error(err)
		}
	})
}

// A package that leaves a small drive, for another one or for its own successor that has no room
// there, is not looked through once more.
func TestOldChecksOfWhatLeavesADrive(t *testing.T) {
	host, drive := newMachine(t, "host", epoch), filepath.Join(t.TempDir(), "drive")
	client := installed(t, 7) // whose updates come in the place of what it does not have
	build := func(pf string, size int, when string) {
		xpak(t, host.PKGDIR, "app-misc", pf, "x86_64-pc-linux-gnu", size, [2]string{"BUILD_TIME",
			when})
	}
	for i := range 8 {
		build(fmt.Sprintf("old%d-1", i), 900<<10+i<<10, "1700000000")
	}
	indexed := func() {
		t.Helper()
		if _, err := reindex.Index(t.Context(), host, reindex.IndexOptions{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	indexed()
	smallDisk(t, drive, "14m")
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	asks(t, client, host, drive)
	st, err := state.Open(t.Context(), host.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	key, err := st.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	st.Close()
	a := &arena{t: t, host: host, drive: drive, origin: filepath.Join(drive, "pkgsneak/host"),
		key: steal(t, key)}
	a.resign(func(s *statement) {
		for i := range s.facts.Packages {
			s.facts.Packages[i].Rules = binpkg.Rules - 1
		}
	})
	for i := range 7 {
		build(fmt.Sprintf("part%02d-2", i), 900<<10+i<<10, "1750000000")
	}
	build("old0-1", 8<<20, "1600000000")
	indexed()
	checked := make(map[string]bool)
	r := a.exportChecking(checked)
	if len(r.Removed) < 2 || r.Kept.Files == 0 || len(checked) != r.Kept.Files {
		t.Errorf("copied %v, removed %v, kept %d, read %v", r.Copied, r.Removed, r.Kept.Files,
			checked)
	}
	for _, it := range r.Removed {
		if checked[it.Path] {
			t.Errorf("%s was read: %s", it.Path, it.Reason)
		}
	}
	rules := rulesOn(a)
	for path := range checked {
		if rules[path] != binpkg.Rules {
			t.Errorf("%s: rules %d", path, rules[path])
		}
	}
}
