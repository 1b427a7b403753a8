package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/clients"
	format "pkgsneak/sync/request"
	"pkgsneak/sync/requester"
	"pkgsneak/sync/sandbox"
)

func requestVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "request",
			Category:  "export and import",
			Usage:     "write to a drive what this machine has, lacks and wishes",
			ArgsUsage: "DRIVE [ATOM...]",
			UsageText: "request DRIVE [ATOM...]\nrequest --file FILE [ATOM...]",
			Description: "For the host that exports to the drive next: which of its packages are\n" +
				"here, what is installed, what emerge lacks, what can never be used here, and each\n" +
				"ATOM as a wish. The request is signed with a key of this client, made by the first\n" +
				"one; on the host, pkgsneak clients shows it, and clients accept NAME takes it. The\n" +
				"list of installed packages tells whoever finds the drive what this machine has; -p\n" +
				"-v shows all of it, --minimal leaves it out. A host that has read it blanks it on\n" +
				"the drive.",
			Flags:  flags(common, pretend, requesting, anywhere, minimal, dirs, lock),
			Action: f.action(0, 1+format.MaxWants, requestDrive),
		},
		writesDrive: true,
		examples: []example{
			{"pkgsneak request --pretend /mnt/usb",
				"Shows what the request would tell, and writes nothing."},
			{"pkgsneak request /mnt/usb media-sound/foo",
				"Tells what this machine has and lacks, and wishes for a package."},
		},
		results: map[string][]any{"": {requester.Report{}}},
	}
}

func requestDrive(c *invocation) error {
	machine, err := c.machine()
	if err != nil {
		return err
	}
	o := c.opt.request
	o.Wishes = c.args
	if o.File == "" {
		if len(c.args) == 0 {
			return c.wrongArguments(1, len(c.args))
		}
		o.Drive, o.Wishes = c.args[0], c.args[1:]
	}
	watch, done := c.watcher()
	defer done()
	confine(c, func() sandbox.Confined { return requester.Confine(machine, o) })
	r, err := requester.Request(c.ctx, machine, o, watch)
	if err != nil {
		return err
	}
	done()
	requestText{c}.told(r, o)
	c.result(exitDone, r)
	return outcome(exitDone)
}

// requestText prints what a request tells.
type requestText struct{ *invocation }

func (c requestText) told(r *requester.Report, o requester.Options) {
	switch {
	case o.Pretend:
		c.out.say("%s would tell:", bold(r.Client))
	case r.File != "":
		c.out.say("%s %s, %s, to %s", green("requested"), bold(r.Client), size(r.Bytes),
			shellWord(r.File))
	default:
		c.out.say("%s %s, %s", green("requested"), bold(r.Client), size(r.Bytes))
	}
	if r.Fingerprint != "" && !r.NewKey {
		c.out.say("  key            %s", r.Fingerprint.Grouped())
	}
	c.receipts(r)
	c.wants(r)
	c.machine(r)
	if o.Pretend && c.out.verbose {
		for line := range strings.SplitSeq(strings.TrimRight(string(r.Text), "\n"), "\n") {
			c.out.put("%s", line)
		}
	}
	for _, p := range r.Problems {
		c.out.warn("%s", p)
	}
	switch {
	case o.Pretend:
	case r.NewKey:
		c.out.say("This client's key was made: %s", r.Fingerprint.Grouped())
		c.out.hint("on the host, compare the fingerprint: pkgsneak clients accept " +
			clients.Word(r.Client, r.Fingerprint))
	}
	if r.File != "" && !o.Pretend {
		c.out.hint("where the drive is mounted: tar -xf " + shellWord(r.File) + " -C /mnt/usb")
	}
}

func (c requestText) receipts(r *requester.Report) {
	for i := range r.Record.Receipts {
		x := &r.Record.Receipts[i]
		if !x.NeedsCatalogue() {
			c.out.say("  has            %s of %s", count(len(x.Has), "package"), bold(x.Origin))
			continue
		}
		lacks := 0
		for n := range x.Entries {
			if x.Lacks.Has(n) {
				lacks++
			}
		}
		c.out.say("  has            %d of %s of %s", x.Entries-lacks, count(x.Entries, "package"),
			bold(x.Origin))
	}
	if len(r.Record.Receipts) == 0 {
		c.out.say("  has            nothing that an origin brought")
	}
}

func linesOf(n int) string {
	if n == 1 {
		return "1 line"
	}
	return fmt.Sprintf("%d lines", n)
}

// wantLimit is how many wants are listed; --verbose lists all.
const wantLimit = 20

func (c requestText) wants(r *requester.Report) {
	for i := range r.Record.Wants {
		if i == wantLimit && !c.out.verbose {
			c.out.say("                 ... and %d more (-v lists all)", len(r.Record.Wants)-i)
			break
		}
		c.out.say("  wants          %s", wantLine(&r.Record.Wants[i]))
	}
}

// wantLine is a want in words.
func wantLine(w *format.Want) string {
	name := w.Atom
	if w.File != "" {
		name = w.File
	}
	switch {
	case w.Why == format.Wished:
		return name + " (wished)"
	case w.Why == format.USE:
		return fmt.Sprintf("%s with this USE, for %s", name, w.For)
	case w.For != "":
		return fmt.Sprintf("%s for %s", name, w.For)
	}
	return name
}

func (c requestText) machine(r *requester.Report) {
	if r.Record.Minimal {
		c.out.say("  not told       the installed packages and the settings (--minimal)")
		return
	}
	m := r.Record.Machine
	c.out.say("  installed      %s", count(r.Record.Installed.Packages, "package"))
	c.out.say("  settings       %s",
		strings.Join(strings.Fields(strings.Join([]string{m.ARCH, m.CHOST, m.Profile,
			"ACCEPT_KEYWORDS=\"" + m.AcceptKeywords + "\""}, " ")), " "))
	if n := len(m.Keywords) + len(m.Licenses) + len(m.Masks) + len(m.Unmasks); n > 0 {
		c.out.say("                 %s of package.accept_keywords, package.license, package.mask and package.unmask", linesOf(n))
	}
	if n := len(r.Record.Refused); n > 0 {
		c.out.say("  never of use   %s", count(n, "package"))
	}
	for _, x := range r.Record.Failed {
		c.out.say("  failed         %s %s", x.CPV, x.Phase)
	}
}
