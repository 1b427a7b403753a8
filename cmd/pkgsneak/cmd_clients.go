package main

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pkgsneak/manifest"
	"pkgsneak/sync/clients"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	format "pkgsneak/sync/request"
)

func clientsVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "clients",
			Category:  "export and import",
			Usage:     "show what the machines that import from here have and lack",
			ArgsUsage: "[NAME]",
			UsageText: "clients [NAME]\nclients accept NAME|FPR\nclients forget NAME|FPR\nclients add NAME\nclients NAME --code CODE",
			Description: "Each client that has asked, by its newest request that an export read\n" +
				"here: what it has, what it lacks, on which drive that travels, and what nobody has\n" +
				"built, with the line that builds it. A host obeys the clients that were accepted;\n" +
				"of others it shows the fingerprint. A client decides what is carried to it, and\n" +
				"nothing else. Where nothing can be written to the medium, a client is added by\n" +
				"name, and its receipts are typed: on the client, pkgsneak status --receipt.",
			Flags:  flags(common, typing, dirs),
			Action: f.action(0, 1, clientsShow),
			Subcommands: []*cli.Command{
				{Name: "accept", Usage: "obey a client", ArgsUsage: "NAME|FPR",
					Flags: flags(common, yes), Action: f.action(1, 1, clientsAccept)},
				{Name: "forget", Usage: "forget a client and what it has", ArgsUsage: "NAME|FPR",
					Flags: flags(common), Action: f.action(1, 1, clientsForget)},
				{Name: "add", Usage: "add a client without a key, whose receipts are typed",
					ArgsUsage: "NAME", Flags: flags(common), Action: f.action(1, 1, clientsAdd)},
			},
		},
		examples: []example{
			{"pkgsneak clients",
				"Which clients there are, what each lacks, and what nobody has built."},
			{"pkgsneak clients accept attic", "Obeys a client whose request an export has read."},
		},
		results: map[string][]any{
			"":       {clients.Report{}},
			"accept": {clientReport{}},
			"add":    {clientReport{}},
			"forget": {clientReport{}},
		},
	}
}

// clientReport is a client that was accepted, added or forgotten, in JSON.
type clientReport struct {
	Name        string               `json:"client"`
	Fingerprint manifest.Fingerprint `json:"fingerprint,omitempty"`
	// Waits is of one that had been forgotten: it is obeyed when it has asked anew and is accepted.
	Waits bool `json:"waits,omitempty"`
}

// done ends a command that has done all that it was asked for.
func done(c *invocation, report any) error {
	c.result(exitDone, report)
	return outcome(exitDone)
}

// withClients opens what this machine remembers of clients for writing.
func (c *invocation) withClients(do func(*clients.Store) error) error {
	st, err := c.openState(false)
	if err != nil {
		return err
	}
	defer st.Close()
	store, err := clients.Open(c.stateDir(), false, c.env.hook)
	if err != nil {
		return err
	}
	defer store.Close()
	return do(store)
}

func clientsShow(c *invocation) error {
	if c.opt.code != "" {
		return c.typed()
	}
	machine, err := c.machine()
	if err != nil {
		return err
	}
	r, err := clients.Look(c.ctx, machine)
	if err != nil {
		return err
	}
	if len(c.args) == 1 {
		if err := only(r, c.args[0]); err != nil {
			return err
		}
	}
	clientsText{c}.shown(r)
	if len(r.Problems) > 0 {
		c.result(exitFailed, r)
		return outcome(exitFailed)
	}
	return done(c, r)
}

// only keeps one client of a report.
func only(r *clients.Report, name string) error {
	var known []string
	for _, e := range r.Clients {
		known = append(known, e.Name)
	}
	for _, o := range r.Offered {
		known = append(known, o.Name)
	}
	var kept []string
	r.Clients = slices.DeleteFunc(r.Clients, func(e clients.Entry) bool {
		if !clients.Means(name, e.Name, e.Fingerprint) {
			return true
		}
		kept = append(kept, e.Name)
		return false
	})
	r.Offered = slices.DeleteFunc(r.Offered, func(o clients.Offered) bool {
		return !clients.Means(name, o.Name, o.Fingerprint)
	})
	r.Build = slices.DeleteFunc(r.Build, func(b clients.Build) bool {
		return !slices.ContainsFunc(b.For, func(n string) bool { return slices.Contains(kept, n) })
	})
	if len(r.Clients)+len(r.Offered) == 0 {
		return &clients.UnknownError{Name: name,
			Known: slices.Compact(slices.Sorted(slices.Values(known)))}
	}
	return nil
}

// typed takes a receipt that somebody typed.
func (c *invocation) typed() error {
	if len(c.args) != 1 {
		return withHint(usageErrorf("--code is for one client"), "pkgsneak clients NAME --code %s",
			shellWord(c.opt.code))
	}
	code, err := format.ParseCode(c.opt.code)
	if err != nil {
		return withHint(err, "pkgsneak status --receipt on the client prints it again")
	}
	return c.withClients(func(store *clients.Store) error {
		client, err := store.Find(c.args[0])
		if err != nil {
			return err
		}
		if client == nil {
			return withHint(unknownClient(store, c.args[0]), "pkgsneak clients add %s",
				shellWord(c.args[0]))
		}
		t, err := store.TakeCode(client, code, c.env.now())
		if err != nil {
			return err
		}
		what := "has all that it carried"
		if t.Partly {
			what = "left some of it out, so that nothing counts as there"
		}
		c.out.say("%s imported %s, generation %s, and %s", bold(client.Name), t.Origin,
			c.generation(t.Serial), what)
		return done(c, &clients.Report{Origin: t.Origin})
	})
}

func clientsAccept(c *invocation) error {
	return c.withClients(func(store *clients.Store) error {
		o, err := store.FindOffer(c.args[0])
		if err != nil {
			return err
		}
		if o == nil {
			return c.notOffered(store)
		}
		if err := c.confirmClient(o); err != nil {
			return err
		}
		client, err := store.AcceptOffer(o, c.env.now())
		if err != nil {
			return err
		}
		c.out.say("%s %s, %s", green("accepted"), bold(client.Name), client.Key.Grouped())
		c.out.hint("its request counts from the next export to its drive on: pkgsneak export DRIVE")
		return done(c, clientReport{Name: client.Name, Fingerprint: client.Key})
	})
}

// confirmClient asks whether the fingerprint is the client's. Whoever typed it is not asked.
func (c *invocation) confirmClient(o *clients.Offered) error {
	if c.opt.yes || clients.Means(c.args[0], "", o.Fingerprint) {
		return nil
	}
	c.out.say("%s asks with the key %s", bold(o.Name), o.Fingerprint.Grouped())
	if !c.out.asks {
		return withHint(usageErrorf("accept asks whether the fingerprint is the client's, and there is no terminal"),
			"pkgsneak clients accept %s", o.Fingerprint)
	}
	c.out.notice("Compare it with the fingerprint that pkgsneak request showed on the client.")
	ok, err := c.out.ask(c.ctx, "Obey this client?")
	if err == nil && !ok {
		err = fault.ErrNotTrusted
	}
	return err
}

// notOffered prints why a client cannot be accepted.
func (c *invocation) notOffered(store *clients.Store) error {
	client, err := store.Find(c.args[0])
	if err != nil {
		return err
	}
	if client != nil {
		c.out.say("%s is accepted already", bold(client.Name))
		return done(c, clientReport{Name: client.Name, Fingerprint: client.Key})
	}
	name, key, err := clients.Unforget(store, c.args[0])
	if err != nil {
		return err
	}
	if key != "" {
		c.out.say("%s was forgotten here, and is not passed over any more", bold(name))
		c.out.hint("the next export to a drive with its request shows the fingerprint: pkgsneak export DRIVE; then: pkgsneak clients accept " +
			clients.Word(name, key))
		return done(c, clientReport{Name: name, Fingerprint: key, Waits: true})
	}
	return unknownClient(store, c.args[0])
}

// unknownClient names those that there are, whether somebody has accepted them or not.
func unknownClient(store *clients.Store, name string) error {
	all, err := store.Clients()
	if err != nil && all == nil {
		return err
	}
	offers, err := store.Offers()
	if err != nil {
		return err
	}
	unknown := &clients.UnknownError{Name: name}
	for _, client := range all {
		unknown.Known = append(unknown.Known, client.Name)
	}
	for _, o := range offers {
		unknown.Known = append(unknown.Known, o.Name)
	}
	slices.Sort(unknown.Known)
	unknown.Known = slices.Compact(unknown.Known)
	return unknown
}

func clientsForget(c *invocation) error {
	return c.withClients(func(store *clients.Store) error {
		word := c.args[0]
		broken, err := store.Broken()
		if err != nil {
			return err
		}
		for _, id := range broken {
			if strings.EqualFold(id, word) || id == "name."+word {
				if err := store.Forget(id, word, c.env.now()); err != nil {
					return err
				}
				c.out.say("%s %s", red("forgot"), bold(word))
				return done(c, clientReport{Name: word})
			}
		}
		client, err := store.Find(word)
		if err != nil {
			return err
		}
		if client != nil {
			if err := store.Forget(client.ID(), client.Name, c.env.now()); err != nil {
				return err
			}
			c.out.say("%s %s", red("forgot"), bold(client.Name))
			return done(c, clientReport{Name: client.Name, Fingerprint: client.Key})
		}
		o, err := store.FindOffer(word)
		if err != nil {
			return err
		}
		if o == nil {
			return unknownClient(store, word)
		}
		if err := store.ForgetOffer(o, c.env.now()); err != nil {
			return err
		}
		c.out.say("%s %s, which nobody had accepted", red("forgot"), bold(o.Name))
		return done(c, clientReport{Name: o.Name, Fingerprint: o.Fingerprint})
	})
}

func clientsAdd(c *invocation) error {
	return c.withClients(func(store *clients.Store) error {
		client, err := store.Add(c.args[0], c.env.now())
		if err != nil {
			return err
		}
		c.out.say("%s %s", green("added"), bold(client.Name))
		c.out.hint("on the client: pkgsneak status --receipt, which has to show the name " +
			client.Name + "; then here: pkgsneak clients " + shellWord(client.Name) +
			" --code CODE")
		return done(c, clientReport{Name: client.Name})
	})
}

// clientsText prints what clients have and lack.
type clientsText struct{ *invocation }

func (c clientsText) shown(r *clients.Report) {
	if len(r.Clients)+len(r.Offered)+len(r.Problems) == 0 {
		c.out.say("no client has asked yet; on a client: pkgsneak request DRIVE")
	}
	for i := range r.Clients {
		c.client(r, &r.Clients[i])
	}
	for _, o := range r.Offered {
		c.out.say("%s  unknown key %s, since %s", bold(o.Name), o.Fingerprint.Grouped(),
			when(o.Seen, c.env.now()))
		c.out.hint("compare the fingerprint, then: pkgsneak clients accept " + clients.Word(o.Name,
			o.Fingerprint))
	}
	c.build(r.Build)
	for _, p := range r.Problems {
		c.out.warn("%s", p)
	}
	for _, hint := range r.Hints {
		c.out.hint(hint)
	}
}

func (c clientsText) client(r *clients.Report, e *clients.Entry) {
	seen := "no receipt was typed yet"
	if e.Fingerprint != "" {
		seen = "accepted; its request is read by the next export"
	}
	switch {
	case !e.Read.IsZero():
		seen = "asked " + when(e.Read, c.env.now())
	case !e.LastTyped.IsZero():
		seen = "receipt typed " + when(e.LastTyped, c.env.now())
	}
	if e.Behind > 0 {
		seen += ", " + count(e.Behind, "generation") + " behind"
	}
	c.out.say("%s  %s", bold(e.Name), seen)
	c.out.say("  has            %d of %s", e.Has, count(r.Packages, "package"))
	if e.Lacks.Files > 0 {
		c.out.say("  lacks          %s", tally(e.Lacks, "package"))
	}
	if e.Refused.Files > 0 {
		c.out.say("  can never use  %s", tally(e.Refused, "package"))
	}
	for _, t := range e.Transit {
		c.out.say("  in transit     %s on %s since %s", tally(t.Files, "package"), t.Label,
			when(t.Since, c.env.now()))
	}
	if e.Waiting.Files > 0 && len(e.Transit) > 0 {
		c.out.say("  on no drive    %s", tally(e.Waiting, "package"))
	}
	for i := range e.Wants {
		if i == wantLimit && !c.out.verbose {
			c.out.say("                 ... and %d more (-v lists all)", len(e.Wants)-i)
			break
		}
		label := "not built"
		if e.Wants[i].File != "" {
			label = "not fetched"
		}
		c.out.say("  %-14s %s", label, wantLine(&e.Wants[i]))
	}
	for _, x := range e.Failed {
		c.out.say("  failed there   %s %s", x.CPV, x.Phase)
	}
	for _, u := range e.Unread {
		c.out.say("  not known      what it has of %s: %s", u.Origin, u.Reason)
	}
	if !e.Cloned.IsZero() {
		c.out.warn("%s: two machines use its key (seen %s); what either lacks counts as lacking",
			e.Name, when(e.Cloned, c.env.now()))
		c.out.hint(newClientKey)
	}
	c.forked(e.Name, e.Forked)
}

// newClientKey is the way out for two machines with one key.
const newClientKey = "on the one that was copied: rm " + stateDir + "/client.asc; its next request makes a key of its own"

// forked tells of two machines that ask with one key.
func (c clientsText) forked(client string, f *clients.Fork) {
	if f == nil {
		return
	}
	c.out.warn("two machines ask as %s with one key, and replace each other's requests: %s (request of %s) and %s (request of %s); only the newest counts",
		client, f.One.Client, fault.Serial(f.One.Serial), f.Two.Client,
		fault.Serial(f.Two.Serial))
	c.out.hint(newClientKey,
		"if it is one machine that was set back to a copy of its state: its next request ends this")
}

// build prints the lines that build what nobody has, and those that fetch what it is compiled from.
func (c clientsText) build(all []clients.Build) {
	heading := ""
	for i, b := range all {
		now := "to build:"
		if len(b.Distfiles) > 0 {
			now = "to fetch:"
		}
		if now != heading {
			c.out.say("")
			c.out.say("%s", now)
			heading = now
		}
		if i == wantLimit && !c.out.verbose {
			c.out.say("  ... and %d more (-v lists all)", len(all)-i)
			break
		}
		c.out.say("  %s", raw(b.Line))
		if b.Use != "" {
			c.out.say("    in package.use: %s", b.Use)
		}
	}
}

// asked prints what an export found of requests.
func (c clientsText) asked(list []exporter.Asked) {
	for _, a := range list {
		c.forked(a.Client, a.Forked)
		switch a.State {
		case clients.New:
			wants := ""
			if a.Wants > 0 {
				wants = ", " + count(a.Wants, "want")
			}
			c.out.say("%s asked: request of %s%s", bold(a.Client), c.generation(a.Serial), wants)
		case clients.Cloned:
			c.out.warn("two machines ask as %s with one key: what either lacks counts as lacking",
				a.Client)
		case clients.Older:
			if a.Forked != nil {
				break
			}
			c.out.notice("%s an older request of %s is passed over", bold("note:"), a.Client)
			if asksTwice(a, list) {
				c.hintRemoval("it asks under another name now, and nobody writes to this one: ", a)
				break
			}
			c.out.hint("that is as it should be of a drive that was away; if it is the client's newest one, its clock was wrong once: pkgsneak clients forget " +
				clients.Word(a.Client, a.Fingerprint) +
				", and accept the client again when its next request is here")
		case clients.Unknown:
			c.out.notice("%s %s asks with the key %s, which is not accepted here", bold("note:"),
				a.Dir, a.Fingerprint.Grouped())
			who := clients.Word(a.Dir, a.Fingerprint)
			if asksTwice(a, list) {
				who = string(a.Fingerprint) // it is remembered by one of its names
			}
			c.out.hint("compare the fingerprint with that on the client, then: pkgsneak clients accept " + who)
			if installedAnew(a, list) {
				c.hintRemoval("if that is the key which this client had before it was installed anew: ", a)
			}
		case clients.Before:
			c.out.notice("%s the request in clients/%s is passed over: its key was forgotten here on %s, after the request was made",
				bold("note:"), a.Dir, fault.Time(a.Forgotten))
			c.hintRemoval("if nobody asks with that key any more: ", a)
			c.out.hint("if that client is wanted again: pkgsneak clients accept " +
				string(a.Fingerprint))
		case clients.Damaged:
			c.out.warn("the request in clients/%s is passed over: %s", a.Dir, a.Problem)
			c.out.hint(fault.Hints(a.Err, shellWord(c.place))...)
		case clients.Unfinished:
			c.out.notice("%s %s", bold("note:"), a.Problem)
			c.out.hint(fault.Hints(a.Err, shellWord(c.place))...)
		}
		if a.Problem != "" && a.State != clients.Damaged && a.State != clients.Unfinished {
			c.out.warn("the request of %s: %s", a.Client, a.Problem)
		}
	}
}

// hintRemoval names the command that takes a request off the drive.
func (c clientsText) hintRemoval(why string, a exporter.Asked) {
	c.out.hint(why + "rm -r " + shellWord(filepath.Join(c.place, layout.TreeDir, layout.ClientsDir,
		a.Dir)))
}

// asksTwice reports whether the key of a request has another one on the drive: its client was given
// another name.
func asksTwice(one exporter.Asked, list []exporter.Asked) bool {
	return slices.ContainsFunc(list, func(a exporter.Asked) bool {
		return a.Dir != one.Dir && a.Fingerprint == one.Fingerprint && a.Fingerprint != ""
	})
}

// installedAnew reports whether an accepted client asks beside a request that holds its name: the
// old key's, which nobody writes to any more, if that client was installed anew.
func installedAnew(old exporter.Asked, list []exporter.Asked) bool {
	return slices.ContainsFunc(list, func(a exporter.Asked) bool {
		accepted := a.State == clients.New || a.State == clients.Known
		return accepted && a.Dir == layout.Qualified(old.Dir, a.Fingerprint)
	})
}
