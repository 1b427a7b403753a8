package doctor

import (
	"context"
	"fmt"
	"slices"

	"pkgsneak/sync/cpu"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/resolve"
	"pkgsneak/sync/state"
)

// clientRules look at the settings that keep emerge from using packages that were brought in.
type clientRules struct {
	*facts
	*findings
	fixed emergeOpts // EMERGE_DEFAULT_OPTS without what is wrong in them
}

func (e *clientRules) check(ctx context.Context) error {
	repos, problems := e.s.BinRepos()
	b := &binhostRules{facts: e.facts, findings: e.findings,
		network: readNetwork(e.o.Routes, e.o.Routes6), repos: repos}
	b.judge()
	e.fixed = e.opts.fixed(b.bad != "")
	e.trust()
	e.usepkg()
	e.respectUse()
	b.check(problems)
	e.requestSignature()
	e.localPackages()
	e.undo()
	if !e.is(Host) {
		judgeAuto(e.facts, e.findings)
	}
	f := e.emerge(ctx)
	if f == nil || !e.o.Portage {
		return nil
	}
	return e.confirm(ctx, f)
}

// trust looks at the keys whose exports are imported here.
func (e *clientRules) trust() {
	if e.st == nil {
		return
	}
	good := 0
	var bad []Finding
	for _, k := range e.ring {
		if e.isOwn(k.Fingerprint()) {
			continue
		}
		err := k.Check(latest(latest(e.now, e.st.HighestTime()), k.Created()))
		if err == nil {
			good++
			continue
		}
		bad = append(bad, Finding{Topic: "trust", Weight: Wrong, Role: Client,
			What:  fmt.Sprintf("trusted key %s: %v", k.Fingerprint().Grouped(), err),
			Why:   "nothing that is signed with it is imported any more",
			Names: []string{string(k.Fingerprint()), k.UserID()},
			Fix: []Fix{{Do: "when the build host has renewed its key, or has another one: run",
				Lines: []string{"pkgsneak trust DRIVE", "pkgsneak trust remove " +
					string(k.Fingerprint())}}}})
	}
	for _, f := range bad {
		if slices.ContainsFunc(e.r.Findings, func(told Finding) bool {
			return told.Topic == "trust" && slices.Contains(told.Names, f.Names[0])
		}) {
			continue // by what an origin on the drive is signed with
		}
		f.Names = f.Names[1:]
		if good == 0 {
			f.Weight = Broken
		}
		e.tell(f)
	}
	// With a drive whose signer is told, that is the key to trust, and the same line.
	asked := slices.ContainsFunc(e.r.Findings, func(f Finding) bool { return f.Topic == "trust" })
	if good+len(bad) == 0 && !asked {
		weight := Broken
		if e.hasKey {
			weight = Note // it can import what it exported itself
		}
		e.tell(Finding{Topic: "trust", Weight: weight, Role: Client,
			What: "no key of a build host is trusted here",
			Why:  "an import takes nothing from an origin whose key was not trusted by hand",
			Fix:  []Fix{{Do: "compare the fingerprint with what \"pkgsneak key\" shows on the build host: run", Lines: []string{"pkgsneak trust " + e.driveWord()}}}})
	}
}

// undo looks whether emerge keeps what pkgsneak cannot bring back.
func (e *clientRules) undo() {
	if e.st == nil {
		return
	}
	u, err := state.ReadUndo(e.st)
	if err != nil || u.Change == nil && len(u.Undone) == 0 {
		return // nothing that could be taken back was imported
	}
	for _, feature := range []string{"unmerge-backup", "downgrade-backup"} {
		if on, known := e.s.HasFeature(feature); on || !known {
			return
		}
	}
	e.tell(Finding{Topic: "undo", Weight: Note, Role: Client,
		What: "emerge keeps no package of what an update replaces",
		Why:  "\"pkgsneak undo\" puts back what PKGDIR had; a build that never was a package is gone with the update",
		Fix:  []Fix{inConf(e.s, "FEATURES", add("FEATURES", "unmerge-backup"))}})
}

// usepkg looks for the trap of a plain --usepkg.
func (e *clientRules) usepkg() {
	if !e.opts.plainUsepkg() {
		return
	}
	e.tell(Finding{Topic: "usepkg", Weight: Wrong, Role: Client,
		What: "EMERGE_DEFAULT_OPTS has a plain --usepkg",
		Why:  "it ignores, without a word, packages whose version has no ebuild in this machine's tree, and rebuilds of what is installed",
		Fix:  []Fix{optsFix(e.s, e.fixed)}})
}

func (e *clientRules) respectUse() {
	v, ok := e.opts.value(optRespect)
	f := Finding{Topic: "respect-use", Weight: Note, Role: Client,
		Fix: []Fix{optsFix(e.s, e.fixed.without(optRespect))}}
	switch {
	case ok && v == "n" && e.opts.on(optUsepkgOnly):
		f.What, f.Why = "--binpkg-respect-use=n says what --usepkgonly does anyway", "it can go"
	case ok && v == "n":
		f.What = "--binpkg-respect-use=n takes packages whatever their USE flags"
		f.Why = "what is installed is what the build host chose, not this machine's USE; equal USE on both makes the option needless (pkgsneak doctor DRIVE compares)"
	case e.opts.strictOnly():
		f.Weight, f.What = Wrong, "--binpkg-respect-use=y with --usepkgonly"
		f.Why = "a package with other USE flags is ignored, and nothing may be compiled in its place"
	default:
		return
	}
	e.tell(f)
}

// requestSignature looks for the feature that refuses unsigned packages, also those in PKGDIR.
func (e *clientRules) requestSignature() {
	on, _ := e.s.HasFeature("binpkg-request-signature")
	if !on || e.dir == nil || e.index == nil {
		return
	}
	if _, unsigned := signatures(e.dir, e.index); unsigned > 0 {
		e.tell(Finding{Topic: "verify-signature", Weight: Broken, Role: Client,
			What: "FEATURES has binpkg-request-signature, and packages in PKGDIR are not signed",
			Why:  "emerge refuses to install them",
			Fix:  []Fix{inConf(e.s, "FEATURES", add("FEATURES", "-binpkg-request-signature"))}})
	}
}

// localPackages looks for packages in PKGDIR that this machine masks or cannot run.
func (e *clientRules) localPackages() {
	if e.index == nil {
		return
	}
	judge, err := e.judged()
	if err != nil {
		e.unknown("what emerge can do: %v", err)
		return
	}
	here := judge.unreadable(e.index.Entries)
	if len(here.eapi) > 0 {
		e.tell(here.eapiFinding("PKGDIR"))
	}
	if len(here.gpkg) > 0 {
		e.tell(here.formatFinding("PKGDIR"))
	}
	if e.is(Host) {
		return
	}
	tellCHOST(e.findings, e.s, judge.foreignCHOST(e.index), "PKGDIR")
	var names []string
	for _, entry := range e.index.Entries {
		if e.have != nil && len(cpu.Lacks(cpu.FromUse(cpuUse(entry)), e.have)) > 0 {
			names = append(names, entry.CPV())
		}
	}
	if len(names) > 0 {
		e.tell(Finding{Topic: "cpu", Weight: Wrong, Role: Client, What: plural(len(names),
			"package") + " in PKGDIR built for a CPU with more than this one has (CPU_FLAGS_X86)",
			Why: "they may end with \"Illegal instruction\"", Names: names, Fix: []Fix{otherCPU()}})
	}
}

// emerge tells what emerge can do with what lies in PKGDIR, what it cannot, and which line to type
// here. It returns nil if that is not known.
func (e *clientRules) emerge(ctx context.Context) *forecast.Forecast {
	judge, err := e.judged()
	if err != nil {
		if e.index == nil {
			e.unknown("what emerge can do: %v", err)
		}
		return nil
	}
	in := forecast.Input{Stop: func() bool { return ctx.Err() != nil }, Elsewhere: e.elsewhere,
		Distdir: e.m.DISTDIR, Trees: e.trees}
	in.Candidates, e.r.ToImport = e.candidates(judge.Judge)
	f, err := forecast.Make(judge.machine, in)
	if err != nil {
		e.unknown("what emerge can do: %v", err)
		return nil
	}
	if file := e.o.ExcludeFile; file != "" && len(f.Exclude) > 0 && f.Line("") != "" {
		// as in an import: then they stand in the line
		if err := f.SaveExclude(file, e.now, nil); err != nil {
			e.unknown("the names to exclude could not be written: %v", err)
		} else {
			e.r.ExcludeFile = file
		}
	}
	e.r.Outlook, e.r.Forecast = f, f.Document(e.r.ExcludeFile)
	if e.r.ToImport > 0 && f.Line("") != "" {
		e.r.Emerge = append(e.r.Emerge, Command{"pkgsneak import " + e.driveWord(),
			plural(e.r.ToImport, "package") + " on the drive are not here yet"})
	}
	for _, s := range f.Before {
		if s.Line != "" {
			e.r.Emerge = append(e.r.Emerge, Command{s.Line, e.r.Forecast.Reason(s)})
		}
	}
	switch line := f.Line(e.r.ExcludeFile); {
	case line == "":
	case f.GaveUp:
		e.r.Emerge = append(e.r.Emerge,
			Command{line, "shows what emerge would do: that was not worked out, " + f.Trouble})
	default:
		e.r.Emerge = append(e.r.Emerge,
			Command{line,
				"only binary packages, nothing goes backwards, and what cannot be installed is left out"})
	}
	return f
}

// candidates are the packages that PKGDIR has and, with a drive, those that an import would bring:
// how many these are is the second result. The facts that the drive's origins have about a package
// count for the same one in PKGDIR, too.
func (e *clientRules) candidates(j *forecast.Judge) (list []forecast.Candidate, brought int) {
	type build struct{ cpv, id, slot, when, size string }
	identify := func(x pkgindex.Entry) build {
		return build{x.CPV(), x.Get("BUILD_ID"), x.Get("SLOT"), x.Get("BUILD_TIME"), x.Get("SIZE")}
	}
	here := make(map[build]int)
	if e.index != nil {
		for _, entry := range e.index.Entries {
			here[identify(entry)] = len(list)
			list = append(list, forecast.Candidate{Entry: pkgindex.Rebase(entry, e.index.Header,
				pkgindex.Header{})})
		}
	}
	for i := range e.brought {
		c := &e.brought[i]
		if at, found := here[identify(c.Entry)]; found {
			list[at].Facts = c.Facts
			continue
		}
		if j.Package(c).Kind != resolve.Acceptable { // an import leaves it out
			continue
		}
		here[identify(c.Entry)] = len(list)
		list, brought = append(list, *c), brought+1
	}
	return list, brought
}
