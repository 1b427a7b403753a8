package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"pkgsneak/manifest"
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

// neverReport is a key that is not wanted here, in JSON.
type neverReport struct {
	Fingerprint manifest.Fingerprint `json:"fingerprint"`
	UserID      string               `json:"user_id"`
	When        time.Time            `json:"when"`
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
