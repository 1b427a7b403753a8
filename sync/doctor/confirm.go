package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pkgsneak/sync/emerge"
	"pkgsneak/sync/forecast"
)

// portageTimeout is how long emerge may take for its answer; on a large machine it takes 7 to 30
// seconds.
const portageTimeout = 5 * time.Minute

// planOptions are the options of EMERGE_DEFAULT_OPTS that count although the line keeps them: they
// change what emerge takes into account, not what it installs.
var planOptions = []string{"--with-bdeps", "--backtrack"}

// confirm asks emerge about the line of a forecast.
func (e *clientRules) confirm(ctx context.Context, f *forecast.Forecast) error {
	if e.o.Ask == nil {
		e.unknown("what emerge says: there is no emerge in PATH")
		return nil
	}
	if f.Line("") == "" || f.GaveUp {
		e.unknown("what emerge says: there is no line to ask about")
		return nil
	}
	if e.r.ToImport > 0 {
		e.unknown("what emerge says: %s on the drive are not here yet, run pkgsneak import first",
			plural(e.r.ToImport, "package"))
		return nil
	}
	q := emerge.Question{Exclude: f.Exclude, PKGDIR: e.m.PKGDIR}
	if !f.IgnoresDefaults() {
		for _, option := range planOptions {
			if v, ok := e.opts.value(option); ok {
				q.Options = append(q.Options, option+"="+v)
			}
		}
	}
	limited, cancel := context.WithTimeout(ctx, portageTimeout)
	defer cancel()
	a, err := e.o.Ask(limited, q)
	switch {
	case context.Cause(ctx) != nil:
		return context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		e.unknown("what emerge says: no answer within %v", portageTimeout)
		return nil
	case err != nil:
		e.unknown("what emerge says: %v", err)
		return nil
	}
	e.r.Portage = compareAnswer(f, a)
	e.tellAnswer(e.r.Portage)
	return nil
}

// compareAnswer holds emerge's list against the forecast's.
func compareAnswer(f *forecast.Forecast, a *emerge.Answer) *Confirmation {
	c := &Confirmation{Exit: a.Exit, Cut: a.Cut, OnlyHere: []string{}, OnlyThere: []string{},
		Backwards: []string{}, Compiled: []string{},
		Said: append([]string{}, a.Said...)}
	said := make(map[string]int)
	for _, m := range f.Merges {
		said[mergeName(m)]++
	}
	for _, m := range a.Merges {
		if m.Kind == "nomerge" {
			continue
		}
		c.Merges++
		if m.Backwards() {
			c.Backwards = append(c.Backwards, m.Name)
		}
		if m.Kind == "ebuild" {
			c.Compiled = append(c.Compiled, m.Name)
		}
		if said[m.Name] > 0 {
			said[m.Name]--
			c.Same++
			continue
		}
		c.OnlyThere = append(c.OnlyThere, m.Name)
	}
	for _, m := range f.Merges {
		if name := mergeName(m); said[name] > 0 {
			said[name]--
			c.OnlyHere = append(c.OnlyHere, name)
		}
	}
	for _, list := range [...][]string{c.OnlyHere, c.OnlyThere, c.Backwards, c.Compiled} {
		slices.Sort(list)
	}
	return c
}

// mergeName is a merge as emerge writes it.
func mergeName(m forecast.Merge) string { return strings.TrimSuffix(m.Name+"-"+m.Build, "-") }

// tellAnswer makes a finding of an answer under which the line must not be used as it is.
func (e *clientRules) tellAnswer(c *Confirmation) {
	f := Finding{Topic: "emerge", Weight: Broken, Role: Client,
		Fix: []Fix{{Do: "look at its whole answer: run", Lines: []string{
			strings.Replace(e.r.Outlook.Line(""), "emerge -auDK", "emerge -pvuDK", 1)}}}}
	switch {
	case len(c.Backwards) > 0:
		f.What, f.Names = fmt.Sprintf("under the line, emerge would go backwards with %s",
			plural(len(c.Backwards), "package")), c.Backwards
		f.Why = "the forecast did not see that coming: add their names to --exclude"
	case c.Exit != 0:
		f.What, f.Names = fmt.Sprintf("under the line, emerge ends with %d and installs nothing",
			c.Exit), c.Said
		f.Why = "the forecast did not see that coming: what emerge names is often not the cause"
	case len(c.Compiled) > 0:
		f.What, f.Names = fmt.Sprintf("under the line, emerge would compile %s",
			plural(len(c.Compiled), "package")), c.Compiled
		f.Why = "an option of EMERGE_DEFAULT_OPTS stands against --usepkgonly"
	default:
		return
	}
	e.tell(f)
}
