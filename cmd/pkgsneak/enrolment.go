package main

import (
	"fmt"
	"slices"

	"pkgsneak/manifest"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// enrolment is one run of trust: each key that a place offers is shown and asked about, and only
// then the decisions are carried out.
type enrolment struct {
	*invocation
	st        *state.Dir
	view      trust.View
	ring      manifest.Ring        // trusted by hand; the view has this machine's own key too
	want      manifest.Fingerprint // of --fingerprint: nobody is asked
	replaces  manifest.Fingerprint // of --replaces
	report    trustReport
	decisions []func() error // carried out when every question was answered
	declined  bool
	spent     []trust.Signer // offered, and trusted by nothing any more
	kept      []error        // of --never: why a key that is offered is not refused
}

func trustKeys(c *invocation) error {
	e := &enrolment{invocation: c, report: trustReport{Trusted: []keyReport{}}}
	var err error
	if e.want, err = wantedKey(c.opt.fingerprint); err != nil {
		return err
	}
	if e.replaces, err = wantedKey(c.opt.replaces); err != nil {
		return err
	}
	if c.opt.never && e.replaces != "" {
		return usageErrorf("--never and --replaces exclude each other")
	}
	if e.st, err = c.openState(false); err != nil {
		return err
	}
	defer e.st.Close()
	if e.view, err = trust.Read(e.st, c.env.now()); err != nil {
		return err
	}
	if e.ring, err = e.st.Trusted(); err != nil {
		return err
	}
	keys, err := e.candidates(c.args[0])
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := e.consider(k); err != nil {
			return err
		}
	}
	for _, do := range e.decisions {
		if err := do(); err != nil {
			return err
		}
	}
	switch {
	case e.declined && len(e.decisions) == 0 && e.opt.never:
		return fault.ErrDeclined
	case e.declined && len(e.decisions) == 0:
		return fault.ErrNotTrusted
	case len(e.kept) > 0 && len(e.decisions) == 0:
		return e.kept[0]
	case len(e.spent) > 0 && len(e.decisions)+len(e.report.Already) == 0:
		return nothingToTrust(c.args[0], e.spent)
	}
	c.result(exitDone, e.report)
	return nil
}

// wantedKey reads a fingerprint of the command line; "" stays.
func wantedKey(s string) (manifest.Fingerprint, error) {
	if s == "" {
		return "", nil
	}
	f, err := manifest.ParseFingerprint(s)
	if err != nil {
		return "", &usageError{err}
	}
	return f, nil
}

// consider asks about one key, unless it was named on the command line, and notes what follows.
func (e *enrolment) consider(k candidateKey) error {
	have, known := e.ring.Find(k.key.Fingerprint())
	switch {
	case known && k.key.Revoked() && !have.Revoked(): // remembered, whatever is decided
		if err := e.st.Trust(k.key); err != nil {
			return err
		}
		have = k.key
	}
	k.signer = e.named(k, have)
	switch {
	case e.opt.never:
		return e.refuseForEver(k, known)
	case k.signer.State == trust.Mine && !known:
		e.out.say("%s %s is this machine's own key: it counts here without being trusted",
			k.key.Fingerprint().Grouped(), k.key.UserID())
		e.report.Already = append(e.report.Already, newKeyReport(k.key))
		return nil
	case k.signer.State == trust.Revoked && e.want == "":
		e.out.warn("%s %s is revoked by its owner: nothing makes it trusted again",
			k.key.Fingerprint().Grouped(), k.key.UserID())
		e.spent = append(e.spent, k.signer)
		return nil
	}
	if err := e.past(k); err != nil {
		return err
	}
	done := e.replaces == "" || e.view.ReplacedBy(e.replaces) == k.key.Fingerprint()
	if known && !renews(k.key, have) && done {
		e.out.say("%s %s is trusted already", have.Fingerprint().Grouped(), have.UserID())
		e.report.Already = append(e.report.Already, newKeyReport(have))
		return nil
	}
	old, err := e.predecessor(k)
	if err != nil {
		return err
	}
	e.introduce(k, known)
	if old != "" {
		e.describeOld(old)
	}
	yes, replace, err := e.confirm(k, old)
	switch {
	case err != nil:
		return err
	case !yes:
		e.declined = true
	case replace:
		e.replace(old, k.key)
	default:
		e.trust(k)
	}
	return nil
}

// named is the signer of a key that was picked; a revocation that is remembered counts for a copy
// without it.
func (e *enrolment) named(k candidateKey, have *manifest.PublicKey) trust.Signer {
	s := k.signer
	if s.State != trust.Revoked && (k.key.Revoked() || have != nil && have.Revoked()) {
		s.State, s.Reason = trust.Revoked, "revoked by its owner"
	}
	return s
}

// past refuses a key that was named and that nothing makes trusted again, or only together with the
// one that took its place.
func (e *enrolment) past(k candidateKey) error {
	place := shellWord(e.args[0])
	switch s := k.signer; {
	case s.State == trust.Revoked:
		return fmt.Errorf("trust %q: %s: nothing makes it trusted again: %w", e.args[0],
			s.Sentence(), manifest.ErrUntrusted)
	case s.State == trust.Former:
		return withHint(fmt.Errorf("trust %q: %s: %w", e.args[0], s.Sentence(),
			manifest.ErrUntrusted), "%s", s.Hint(place))
	case s.State == trust.Retired && s.Introducer != "" && e.replaces == "":
		return withHint(fmt.Errorf("trust %q: %s: %w", e.args[0], s.Sentence(),
			manifest.ErrUntrusted),
			"if the build host signs with it again: pkgsneak trust %s --fingerprint %s --replaces %s", place, s.Key, s.Introducer)
	}
	return nil
}

// predecessor is the key whose place the new one would take: the one of --replaces, the one that
// introduced it, or the one under which its origin was imported.
func (e *enrolment) predecessor(k candidateKey) (manifest.Fingerprint, error) {
	if e.replaces == "" {
		if k.signer.State == trust.Successor {
			return k.signer.Introducer, nil
		}
		return k.signer.Before, nil
	}
	_, trusted := e.view.Ring.Find(e.replaces)
	seen := slices.ContainsFunc(state.SeenOrigins(e.st), func(id state.OriginID) bool {
		return id.Key == e.replaces
	})
	switch {
	case e.replaces == k.key.Fingerprint():
		return "", usageErrorf("--replaces names the key itself")
	case e.replaces == e.view.Own:
		return "", withHint(usageErrorf("--replaces names this machine's own key"),
			"pkgsneak key rotate")
	case !trusted && !seen:
		return "",
			withHint(fmt.Errorf("nothing here came in under the key %s, and it is not trusted",
				e.replaces.Grouped()), "pkgsneak trust list")
	}
	return e.replaces, nil
}

// confirm asks what is not settled by the command line: whether the key is trusted, and whether it
// takes the place of the old one.
func (e *enrolment) confirm(k candidateKey, old manifest.Fingerprint) (yes,
	replace bool, err error) {
	if e.want != "" {
		replace = old != "" && (e.replaces != "" || k.signer.State == trust.Successor)
		if old != "" && !replace {
			e.out.notice("what came in under the old key stays its own; to hand it over: pkgsneak trust %s --fingerprint %s --replaces %s", shellWord(e.args[0]), e.want, old)
		}
		return true, replace, nil
	}
	if !e.out.asks {
		line := fmt.Sprintf("pkgsneak trust %s --fingerprint %s", shellWord(e.args[0]),
			k.key.Fingerprint())
		if old != "" && k.signer.State != trust.Successor {
			line += " --replaces " + string(old)
		}
		return false, false,
			withHint(usageErrorf("trust asks before it trusts a key, and there is no terminal"),
				"%s", line)
	}
	e.out.notice("Compare it with the fingerprint that \"pkgsneak key\" shows on the build host.")
	if old != "" {
		yes, err = e.out.ask(e.ctx, "Trust this key in the place of the old one?")
		if yes || err != nil || e.replaces != "" || k.signer.State == trust.Successor {
			return yes, yes, err
		}
		yes, err = e.out.ask(e.ctx, "Trust it beside the old one, as another machine's?")
		return yes, false, err
	}
	yes, err = e.out.ask(e.ctx, "Trust this key?")
	return yes, false, err
}

func (e *enrolment) do(f func() error) { e.decisions = append(e.decisions, f) }

func (e *enrolment) trust(k candidateKey) {
	e.do(func() error {
		if err := e.st.Trust(k.key); err != nil {
			return err
		}
		if err := state.Undecide(e.st, k.key.Fingerprint()); err != nil {
			return err
		}
		e.out.say("%s", green("trusted from now on"))
		e.report.Trusted = append(e.report.Trusted, newKeyReport(k.key))
		return nil
	})
}

func (e *enrolment) replace(old manifest.Fingerprint, key *manifest.PublicKey) {
	e.do(func() error {
		if err := state.Replace(e.st, old, key, e.view.Now); err != nil {
			return err
		}
		e.out.say("%s, in the place of %s: what came in under that key is the new one's",
			green("trusted from now on"), old.Grouped())
		e.report.Trusted = append(e.report.Trusted, newKeyReport(key))
		e.report.Replaced = append(e.report.Replaced, replacedKey{old, key.Fingerprint()})
		return nil
	})
}

// refuseForEver notes that nothing is to be imported that a key signs.
func (e *enrolment) refuseForEver(k candidateKey, trusted bool) error {
	switch {
	case k.key.Fingerprint() == e.view.Own:
		return e.keep(usageErrorf("trust --never: this is the key that this machine signs with"))
	case k.signer.State == trust.Revoked:
		return e.keep(withHint(fmt.Errorf("trust --never %q: %s: nothing of it is imported here any more: %w",
			e.args[0], k.signer.Sentence(), manifest.ErrUntrusted),
			"if nobody exports with it any more: pkgsneak forget ORIGIN %s",
			shellWord(e.args[0])))
	case trusted:
		return e.keep(withHint(fmt.Errorf("trust --never: the key %s is trusted here",
			k.key.Fingerprint().Grouped()), "pkgsneak trust remove %s", k.key.Fingerprint()))
	}
	if e.want == "" {
		e.introduce(k, false)
		if !e.out.asks {
			return withHint(usageErrorf("trust --never asks first, and there is no terminal"),
				"pkgsneak trust %s --never --fingerprint %s", shellWord(e.args[0]),
				k.key.Fingerprint())
		}
		yes, err := e.out.ask(e.ctx, "Never import what this key signs?")
		if err != nil {
			return err
		}
		if !yes {
			e.declined = true
			return nil
		}
	}
	e.do(func() error {
		d := state.Decision{Key: k.key.Fingerprint(), Verdict: state.Never, At: e.view.Now,
			UserID: k.key.UserID()}
		if err := state.Decide(e.st, d); err != nil {
			return err
		}
		e.out.say("%s %s: not wanted from now on; pkgsneak trust takes that back",
			d.Key.Grouped(), d.UserID)
		e.report.Never = append(e.report.Never, newKeyReport(k.key))
		return nil
	})
	return nil
}

// keep ends the run with why a key cannot be refused, where that key was named; among those that a
// drive offers it counts only if no other one is there to be refused.
func (e *enrolment) keep(why error) error {
	if e.want != "" {
		return why
	}
	e.kept = append(e.kept, why)
	return nil
}

// renews reports whether an offered key has another expiry than the trusted copy.
func renews(offered, have *manifest.PublicKey) bool {
	was, had := have.Expires()
	is, has := offered.Expires()
	return had != has || !was.Equal(is)
}

// introduce shows a key that may be trusted, and what speaks for or against it.
func (e *enrolment) introduce(k candidateKey, known bool) {
	e.describeKey(k.key)
	if err := k.key.Check(trust.Latest(e.env.now(), k.key.Created())); err != nil {
		e.out.warn("%v", err)
	}
	if known {
		e.out.say("%s it is trusted already, and its expiry was changed", bold("note:"))
		return
	}
	switch k.signer.State {
	case trust.Successor, trust.Retired, trust.Never:
		e.out.say("%s %s", bold("note:"), k.signer.Sentence())
	case trust.Unknown:
		if k.signer.Before != "" {
			e.out.say("%s %s", bold("note:"), k.signer.Sentence())
		}
	}
}

// describeOld shows the key whose place a new one may take, and when it was used last.
func (e *enrolment) describeOld(old manifest.Fingerprint) {
	e.out.say("%s      %s", bold("old key"), old.Grouped())
	if key, ok := e.view.Ring.Find(old); ok {
		e.out.say("%s         %s", bold("made"), day(key.Created()))
	}
	for _, id := range state.SeenOrigins(e.st) {
		if s, _ := e.st.Seen(id); id.Key == old {
			e.out.say("%s     %s, signed %s", bold("imported"), id.Name,
				when(s.Highest, e.env.now()))
		}
	}
}
