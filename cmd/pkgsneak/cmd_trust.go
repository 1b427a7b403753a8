package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

func trustVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "trust",
			Category:  "keys",
			Usage:     "the keys whose exports this machine imports",
			ArgsUsage: "DRIVE|FILE",
			UsageText: "trust DRIVE|FILE [--fingerprint FPR [--replaces OLD]]\ntrust DRIVE|FILE --never [--fingerprint FPR]\ntrust list\ntrust remove FPR",
			Description: "Shows the keys that a drive offers, or the key in a file (\"-\": standard\n" +
				"input), and asks for each whether it is trusted from now on. Compare the\n" +
				"fingerprint with the one that \"pkgsneak key\" shows on the build host: lying on\n" +
				"the drive does not make a key trusted. Scripts give the fingerprint with\n" +
				"--fingerprint and are not asked.\n\n" +
				"A key that an origin has instead of an older one takes the place of that: what\n" +
				"came in under the old key is the new one's, and the old one is trusted no longer.\n" +
				"A person is asked for it; scripts say it with --replaces. With --never the key's\n" +
				"origins are passed over in silence from now on; trust or trust remove takes that\n" +
				"back.\n\n" +
				"A drive or file that is called list or remove is ./list or ./remove.",
			Flags:  flags(common, noProgress, trusting),
			Action: f.action(1, 1, trustKeys),
			Subcommands: []*cli.Command{
				{Name: "list", Usage: "the keys that are trusted", Flags: flags(common, noProgress),
					Action: f.action(0, 0, trustList)},
				{Name: "remove", Usage: "trust a key no longer", ArgsUsage: "FPR",
					Flags: flags(common, noProgress), Action: f.action(1, 1, trustRemove)},
			},
		},
		examples: []example{
			{"pkgsneak trust /mnt/usb", "Shows the keys on the drive, and asks for each."},
			{"pkgsneak trust list", "Shows the keys that are trusted here."},
		},
		results: map[string][]any{
			"":       {trustReport{}},
			"list":   {trustListReport{}},
			"remove": {keyReport{}},
		},
	}
}

// trustReport is what trust did, in JSON.
type trustReport struct {
	Trusted  []keyReport   `json:"trusted"`  // from now on
	Already  []keyReport   `json:"already"`  // trusted before
	Replaced []replacedKey `json:"replaced"` // trusted no longer, in whose place another one is
	Never    []keyReport   `json:"never"`    // not wanted from now on
}

// replacedKey is a key and the one that took its place.
type replacedKey struct {
	Old manifest.Fingerprint `json:"old_fingerprint"`
	New manifest.Fingerprint `json:"fingerprint"`
}

// candidateKey is a key that may become trusted, and how it stands to this machine.
type candidateKey struct {
	key    *manifest.PublicKey
	signer trust.Signer
}

// enrolment is one run of trust.
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

// nothingToTrust is the error of a place whose keys cannot be trusted any more.
func nothingToTrust(where string, past []trust.Signer) error {
	err := fmt.Errorf("%q offers no key that can still be trusted: %w", where,
		manifest.ErrUntrusted)
	for _, s := range past {
		err = withHint(err, "%s", s.Sentence())
	}
	return err
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

func fingerprints(ring manifest.Ring) string {
	var all []string
	for _, k := range ring {
		all = append(all, k.Fingerprint().Grouped())
	}
	return strings.Join(all, ", ")
}

// candidates are the keys to be decided about: the one that --fingerprint names, else those that
// can still be trusted.
func (e *enrolment) candidates(where string) ([]candidateKey, error) {
	offered, names, err := e.offeredKeys(where)
	if err != nil {
		return nil, err
	}
	if e.want != "" {
		key, ok := offered.Find(e.want)
		if !ok {
			return nil, withHint(fmt.Errorf("%q offers no key with the fingerprint %s: %w", where,
				e.want.Grouped(), manifest.ErrUntrusted),
				"it offers %s", fingerprints(offered))
		}
		return []candidateKey{{key, e.view.Judge(key, names[e.want], offered)}}, nil
	}
	keys, past := e.sift(offered, names)
	if len(keys) == 0 {
		return nil, nothingToTrust(where, past)
	}
	if e.replaces != "" && len(keys) > 1 {
		return nil, withHint(usageErrorf("%q offers %s: which of them takes the place of %s?",
			where, count(len(keys), "key"), e.replaces.Grouped()),
			"pkgsneak trust %s --fingerprint FPR --replaces %s", shellWord(where), e.replaces)
	}
	return keys, nil
}

// sift leaves out the keys that cannot be trusted any more, or that the drive itself has left
// behind: revoked, expired, replaced, not wanted, or in nobody's use where others sign.
func (e *enrolment) sift(offered manifest.Ring,
	names map[manifest.Fingerprint]string) (keys []candidateKey, past []trust.Signer) {
	for _, key := range offered {
		s := e.view.Judge(key, names[key.Fingerprint()], offered)
		_, known := e.ring.Find(key.Fingerprint())
		_, signs := names[key.Fingerprint()]
		switch {
		case known, s.State == trust.Mine: // consider tells about it
		case s.State == trust.Unknown && (signs || len(names) == 0), s.State == trust.Successor &&
			(signs || len(names) == 0):
		case s.State == trust.Unknown || s.State == trust.Successor:
			e.out.detail("%s %s signs nothing on this drive: left out",
				key.Fingerprint().Grouped(), key.UserID())
			continue
		default:
			past = append(past, s)
			e.out.detail("%s: left out", s.Sentence())
			continue
		}
		keys = append(keys, candidateKey{key, s})
	}
	return keys, past
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

// offeredKeys reads the keys on a drive with the names of the origins that they sign, or the one in
// a file.
func (e *enrolment) offeredKeys(where string) (manifest.Ring,
	map[manifest.Fingerprint]string, error) {
	if info, err := os.Stat(where); err == nil && info.IsDir() {
		return e.driveKeys(where)
	}
	data, err := e.readInput(where, manifest.MaxKey)
	if err != nil {
		return nil, nil, err
	}
	key, err := manifest.ReadPublicKey(data)
	if err == nil {
		err = key.CheckOrigin()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%q: %w", where, err)
	}
	return manifest.Ring{key}, nil, nil
}

func (e *enrolment) driveKeys(mount string) (manifest.Ring,
	map[manifest.Fingerprint]string, error) {
	d, err := drive.Open(mount)
	if err != nil {
		return nil, nil, asEmptyMount(mount, fmt.Errorf("trust %q: %w", mount, err))
	}
	defer d.Close()
	offers, err := d.Keys()
	if err != nil {
		return nil, nil, err
	}
	if _, err := e.view.ApplyRevocations(d); err != nil {
		return nil, nil, err
	}
	var ring manifest.Ring
	for _, o := range offers {
		if o.Err != nil {
			e.out.warn("%q on the drive is left out: %v", o.Path, o.Err)
			continue
		}
		ring = append(ring, o.Key)
	}
	if len(ring) == 0 {
		return nil, nil, fmt.Errorf("%q offers no key", mount)
	}
	names, err := e.view.Signers(d, ring)
	return ring, names, err
}

// neverReport is a key that is not wanted here, in JSON.
type neverReport struct {
	Fingerprint manifest.Fingerprint `json:"fingerprint"`
	UserID      string               `json:"user_id"`
	When        time.Time            `json:"when"`
}

// asEmptyMount adds to the error of an empty directory that a drive may not be mounted on it.
func asEmptyMount(mount string, err error) error {
	if entries, readErr := os.ReadDir(mount); readErr == nil && len(entries) == 0 &&
		errors.Is(err, drive.ErrNoTree) {
		return &drive.EmptyMountError{Drive: mount, Err: err}
	}
	return err
}

// trustListReport is the result of trust list.
type trustListReport struct {
	Keys  []keyReport   `json:"trusted"`
	Never []neverReport `json:"never"`
}

func trustList(c *invocation) error {
	st, err := c.openState(true)
	if err != nil {
		return err
	}
	defer st.Close()
	ring, err := st.Trusted()
	if err != nil {
		return err
	}
	decisions, err := state.Decisions(st)
	if err != nil {
		return err
	}
	var report trustListReport
	for _, k := range ring {
		c.out.say("%s  %s  %s%s", k.Fingerprint().Grouped(), day(k.Created()), k.UserID(),
			keyProblem(k, c.env.now()))
		report.Keys = append(report.Keys, newKeyReport(k))
	}
	for _, fpr := range slices.Sorted(maps.Keys(decisions)) {
		if d := decisions[fpr]; d.Verdict == state.Never {
			c.out.say("%s  %s  %s  (not wanted)", fpr.Grouped(), day(d.At), d.UserID)
			report.Never = append(report.Never, neverReport{fpr, d.UserID, d.At})
		}
	}
	if len(ring) == 0 {
		c.out.notice("no key is trusted; with a drive at hand: pkgsneak trust DRIVE")
	}
	c.result(exitDone, report)
	return nil
}

// keyProblem reports why a trusted key is not believed, "" if it is. A clock that is before the key
// proves nothing.
func keyProblem(k *manifest.PublicKey, now time.Time) string {
	var problem *manifest.KeyError
	if errors.As(k.Check(trust.Latest(now, k.Created())), &problem) {
		return "  (" + problem.Reason + ")"
	}
	return ""
}

func trustRemove(c *invocation) error {
	st, err := c.openState(false)
	if err != nil {
		return err
	}
	defer st.Close()
	ring, err := st.Trusted()
	if err != nil {
		return err
	}
	if done, err := c.wantAfterAll(st, c.args[0]); done || err != nil {
		return err
	}
	key, err := pickKey(ring, c.args[0])
	if err != nil {
		return err
	}
	// The decision first: a key that is gone without one is a stranger's.
	d := state.Decision{Key: key.Fingerprint(), Verdict: state.Removed, At: c.env.now(),
		UserID: key.UserID()}
	if key.Revoked() {
		d.Verdict = state.Revoked
	}
	if err := state.Decide(st, d); err != nil {
		return err
	}
	if err := st.Distrust(key.Fingerprint()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c.out.say("%s %s is trusted no longer", key.Fingerprint().Grouped(), key.UserID())
	c.result(exitDone, newKeyReport(key))
	return nil
}

// wantAfterAll takes trust --never back, if that is what was decided about the key.
func (c *invocation) wantAfterAll(st *state.Dir, name string) (bool, error) {
	fpr, err := manifest.ParseFingerprint(name)
	if err != nil {
		return false, nil
	}
	decisions, err := state.Decisions(st)
	if err != nil || decisions[fpr].Verdict != state.Never {
		return false, err
	}
	if err := state.Undecide(st, fpr); err != nil {
		return false, err
	}
	c.out.say("%s %s: an import reports its origins again; to trust it: pkgsneak trust DRIVE",
		fpr.Grouped(), decisions[fpr].UserID)
	c.result(exitDone, keyReport{Fingerprint: fpr, UserID: decisions[fpr].UserID})
	return true, nil
}

// pickKey finds the trusted key that a fingerprint, or its last 16 digits, names.
func pickKey(ring manifest.Ring, name string) (*manifest.PublicKey, error) {
	digits := strings.ToUpper(strings.Join(strings.Fields(name), ""))
	digits = strings.TrimPrefix(digits, "0X")
	var found *manifest.PublicKey
	for _, k := range ring {
		if f := k.Fingerprint(); string(f) != digits && f.Short() != digits {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("%q names more than one trusted key", name)
		}
		found = k
	}
	if found == nil {
		return nil, withHint(fmt.Errorf("no trusted key has the fingerprint %q", name),
			"pkgsneak trust list")
	}
	return found, nil
}
