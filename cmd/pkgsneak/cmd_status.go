package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"pkgsneak/manifest"
	"pkgsneak/sync/auto"
	"pkgsneak/sync/clients"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/inspect"
	pkgmachine "pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

func statusVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "status",
			Category:  "export and import",
			Usage:     "show what is on a drive, and what this machine did",
			ArgsUsage: "[DRIVE]",
			UsageText: "status [DRIVE]\nstatus --receipt",
			Description: "Shows each origin on the drive: its generation and age, who signed it and\n" +
				"whether that key is trusted here, how much it carries, and what was imported of\n" +
				"it; then this machine's directories, keys, and last runs.",
			Flags:  flags(common, noProgress, receipt, autoMode, dirs),
			Action: f.action(0, 1, status),
		},
		examples: []example{
			{"pkgsneak status", "This machine's directories, keys and last runs."},
			{"pkgsneak status /mnt/usb",
				"The same, and what the drive carries, how old it is and who signed it."},
		},
		results: map[string][]any{"": {inspect.StatusReport{}}},
	}
}

func status(c *invocation) error {
	machine, err := c.machine()
	if err != nil {
		return err
	}
	o := inspect.StatusOptions{}
	if len(c.args) == 1 {
		o.Drive = c.args[0]
	}
	r, err := inspect.Status(c.ctx, machine, o)
	if err != nil {
		return err
	}
	if c.opt.receipt {
		if r.Receipts, err = inspect.Receipts(c.ctx, machine); err != nil {
			return err
		}
		statusText{c}.receipts(r.Receipts)
		c.result(exitDone, r)
		return outcome(exitDone)
	}
	if r.Machine.Auto = c.opt.autoMode; r.Machine.Auto != "" {
		r.Machine.AutoLog = pkgmachine.AutoLog(c.env.root)
	}
	code := exitDone
	if r.Drive != nil {
		statusText{c}.driveStatus(r.Drive)
		code = statusCode(r.Drive)
	}
	statusText{c}.machineStatus(&r.Machine)
	c.result(code, r)
	return outcome(code)
}

// grouped is a fingerprint of a report as people compare it.
func grouped(fpr string) string { return manifest.Fingerprint(fpr).Grouped() }

// statusCode: a key that is not trusted here is an answer; a generation that cannot be read is a
// failure.
func statusCode(d *inspect.DriveStatus) int {
	code := exitDone
	for _, o := range d.Origins {
		if o.Err != nil && !isUnknownKey(o.Err) && !trust.Unwanted(o.Err) {
			code = worse(code, classify(o.Err, d.Mount).code)
		}
	}
	return code
}

// receipts prints the codes of the last import of each origin.
func (c statusText) receipts(list []inspect.Receipt) {
	for _, r := range list {
		c.out.say("%s  %s of %s, generation %s", bold(r.Code), r.Client, r.Origin,
			c.generation(r.Serial))
		if r.Partly {
			c.out.say("  it tells that some files were left out, and the host counts none of them as here")
		}
	}
	if len(list) == 0 {
		c.out.say("nothing was imported here: there is no receipt")
		return
	}
	c.out.hint("on the host: pkgsneak clients " + shellWord(list[0].Client) +
		" --code " + list[0].Code)
}

// statusText prints a status.
type statusText struct{ *invocation }

func (c statusText) driveStatus(d *inspect.DriveStatus) {
	mode := ""
	if d.ReadOnly {
		mode = ", read-only"
	}
	c.out.say("%s  %s, %s of %s free%s", bold(d.Mount), d.FSName(), size(d.Free),
		size(d.Total), mode)
	if len(d.Origins) == 0 {
		c.out.say("  no origin")
	}
	for i := range d.Origins {
		c.originStatus(&d.Origins[i])
	}
	for i := range d.Requests {
		c.requestStatus(&d.Requests[i])
	}
	c.out.say("")
}

// requestStatus is a line for a request that lies on the drive.
func (c statusText) requestStatus(l *clients.Lying) {
	switch l.State {
	case clients.Whole, clients.Taken:
		read := ", which no host has taken"
		if l.State == clients.Taken {
			read = ", taken: a host has read it"
		}
		c.out.say("  %s", bold("clients/"+l.Dir))
		c.out.say("    request     of %s%s", c.generation(l.Serial), read)
		c.out.say("    signed by   %s %s", l.Fingerprint.Grouped(), l.Client)
	case clients.NeverWritten:
		c.out.notice("%s %s", bold("note:"), l.Problem)
		c.out.hint(fault.Hints(l.Err, shellWord(c.place))...)
	default:
		c.out.warn("%s", l.Problem)
		c.out.hint(fault.Hints(l.Err, shellWord(c.place))...)
	}
}

func (c statusText) originStatus(o *inspect.OriginStatus) {
	c.out.say("  %s", bold(o.Dir))
	if o.Name != "" && o.Name != o.Dir {
		c.out.say("    name        %s", o.Name)
	}
	if o.Serial != 0 {
		c.out.say("    generation  %s", c.generation(o.Serial))
		c.out.say("    signed by   %s %s: %s", grouped(o.Fingerprint), o.UserID, trustWord(o))
		carries := bothKinds(o.Packages, o.Distfiles)
		if o.Catalogue > o.Packages.Files {
			carries += fmt.Sprintf(", of %s that the origin has", count(o.Catalogue, "package"))
		}
		c.out.say("    carries     %s", carries)
		for _, t := range o.Trees {
			c.out.say("    repository  %s of %s, %s", t.Name, treeDay(t.Timestamp, c.env.now()),
				size(t.Bytes))
		}
		if o.CHOST != "" || o.Profile != "" {
			c.out.say("    made for    %s %s", o.CHOST, o.Profile)
		}
		if !o.Mine || o.Imported != 0 { // nobody imports what he exported
			c.out.say("    imported    %s", c.importedWord(o))
		}
		for _, text := range o.Fit.Lines() {
			c.out.say("    here        %s", text)
		}
	}
	if o.Err != nil && !trust.Unwanted(o.Err) {
		c.out.warn("%s", o.Problem)
		c.out.hint(classify(o.Err, c.place).hints...)
	}
}

func trustWord(o *inspect.OriginStatus) styled {
	if o.Trusted || o.Mine || trust.Unwanted(o.Err) {
		return green(o.Signer.Word())
	}
	return red(o.Signer.Word())
}

func (c statusText) importedWord(o *inspect.OriginStatus) string {
	switch {
	case o.Imported == 0:
		return "never"
	case o.Imported == o.Serial:
		return "this generation"
	case o.Imported > o.Serial:
		return "a newer generation: " + c.generation(o.Imported)
	}
	return "an older generation: " + c.generation(o.Imported)
}

func (c statusText) machineStatus(m *inspect.MachineStatus) {
	c.out.say("%s", bold("this machine"))
	c.out.say("  PKGDIR        %s", m.PKGDIR)
	c.out.say("  DISTDIR       %s", m.DISTDIR)
	c.out.say("  state         %s", m.StateDir)
	if m.Key != "" {
		c.out.say("  signs with    %s", grouped(m.Key))
	}
	if m.KeyErr != "" {
		c.out.warn("%s", m.KeyErr)
		c.out.hint(fault.Hints(m.KeyFault, c.place)...)
	}
	for _, name := range m.Exports {
		c.out.say("  exports as    %s", name)
	}
	for _, k := range m.Trusted {
		problem := ""
		if k.Problem != "" {
			problem = " (" + k.Problem + ")"
		}
		c.out.say("  trusts        %s %s%s", grouped(k.Fingerprint), k.UserID, problem)
	}
	if m.Auto != "" {
		role, err := auto.ParseRole(m.Auto)
		if err != nil {
			c.out.warn("PKGSNEAK_AUTO: %v", err)
			c.out.hint(autoRoles(c.invocation))
			role = "nothing"
		}
		c.out.say("  when plugged  %s; log: %s", role, m.AutoLog)
	}
	for _, verb := range []string{"export", "import", "undo"} {
		if r, ok := lastRun(m.Runs, verb); ok {
			c.out.say("  last %-6s   %s", verb, c.runLine(r))
		}
	}
	if u := m.Undo; u != nil {
		c.undo(u)
	}
	c.autoRuns(m.Runs)
}

// undo prints what the next undo would take back, and what is kept for that.
func (c statusText) undo(u *inspect.UndoStatus) {
	what, kept := "the import of the ebuild repositories", ""
	if !u.Imported.IsZero() {
		what, kept = "the import of "+when(u.Imported, c.env.now()), tally(u.Kept, "file")
	}
	what += " back"
	if u.Ended {
		what += ", which did not come to its end"
	}
	if len(u.Repositories) > 0 {
		if kept != "" {
			kept += ", "
		}
		kept += "the repository " + strings.Join(u.Repositories, ", ") + " as it was (" +
			size(u.TreeBytes) + ")"
	}
	c.out.say("  pkgsneak undo takes %s; kept for that: %s", what, kept)
}

// autoShown is how many automatic runs are listed; --verbose lists all that are remembered.
const autoShown = 5

// autoRuns lists what was done without a person, the newest first.
func (c statusText) autoRuns(runs []state.Run) {
	shown := 0
	for i := len(runs) - 1; i >= 0 && (shown < autoShown || c.out.verbose); i-- {
		r := runs[i]
		if r.By == "" {
			continue
		}
		if shown == 0 {
			c.out.say("%s", bold("automatic runs"))
		}
		shown++
		c.out.say("  %s  %-5s  %s, drive %s: %s", when(r.When, c.env.now()), r.By, r.Verb, r.Drive,
			autoResult(r))
	}
}

// autoResult is what came of an automatic run.
func autoResult(r state.Run) string {
	if r.Origin == "" {
		return r.Result
	}
	s := r.Result + ", " + r.Origin
	if r.Files > 0 {
		s += ", " + tally(payload.Tally{Files: r.Files, Bytes: r.Bytes}, "file")
	}
	return s
}

// lastRun finds the newest run of a verb, besides those that autoRuns lists.
func lastRun(runs []state.Run, verb string) (state.Run, bool) {
	for i := len(runs) - 1; i >= 0; i-- {
		if runs[i].Verb == verb && runs[i].By == "" {
			return runs[i], true
		}
	}
	return state.Run{}, false
}

func (c statusText) runLine(r state.Run) string {
	at, result := when(r.When, c.env.now()), r.Result
	if r.Verb != "undo" { // its result has the figures
		result = tally(payload.Tally{Files: r.Files, Bytes: r.Bytes}, "file") + ", " + result
	}
	return fmt.Sprintf("%s: %s, %s, %s", at, r.Origin, r.Drive, result)
}
