package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/doctor"
	"pkgsneak/sync/forecast"
	pkgmachine "pkgsneak/sync/machine"
)

func doctorVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "doctor",
			Category:  "this machine",
			Usage:     "find what is wrong with the settings here, and how to fix it",
			ArgsUsage: "[DRIVE]",
			UsageText: "doctor [DRIVE]\ndoctor --explain [TOPIC]",
			Description: "Reads Portage's configuration, which it never executes, and this\n" +
				"machine's packages, index and keys. Says in the order of importance what keeps\n" +
				"packages from being built, carried or used, why, and how to fix it. With a drive\n" +
				"it compares this machine with the one that exported: USE, profile, keywords,\n" +
				"licenses, CPU. Whether this machine is a host, a client or both shows in what it\n" +
				"has done, and before that in FEATURES. With --portage it runs emerge -p with the\n" +
				"line that it prints, and shows where emerge differs. Changes nothing; ends with 4\n" +
				"if it found something.",
			Flags:  flags(common, noProgress, examining, excluding, autoMode, dirs),
			Action: f.action(0, 1, examine),
		},
		examples: []example{
			{"pkgsneak doctor", "Examines this machine."},
			{"pkgsneak doctor --portage /mnt/usb",
				"Compares it with what the drive carries, and lets emerge confirm the line to type."},
		},
		results: map[string][]any{"": {doctor.Report{}, topicsReport{}}},
	}
}

func examine(c *invocation) error {
	if c.opt.explain {
		return c.describeTopic()
	}
	machine, err := c.machine()
	if err != nil {
		return err
	}
	o := c.opt.doctor
	o.Machine, o.Root, o.Auto, o.Ask = machine, c.env.root, c.opt.autoMode, c.env.askEmerge
	o.CPUInfo, o.Routes, o.Routes6 = c.proc("cpuinfo"), c.proc("net/route"),
		c.proc("net/ipv6_route")
	if len(c.args) == 1 {
		o.Drive = c.args[0]
	}
	if o.ExcludeFile, err = excludeFile(o.ExcludeFile, o.Drive); err != nil {
		return err
	}
	if c.opt.host {
		o.Roles = append(o.Roles, doctor.Host)
	}
	if c.opt.client {
		o.Roles = append(o.Roles, doctor.Client)
	}
	watch, done := c.watcher()
	defer done()
	o.Watch = watch
	r, err := doctor.Examine(c.ctx, o)
	if err != nil {
		return err
	}
	done()
	if r.Auto = o.Auto; r.Auto != "" {
		r.AutoLog = pkgmachine.AutoLog(c.env.root)
	}
	doctorText{c}.examined(r)
	code := exitDone
	if r.Found() {
		code = exitFound
	}
	c.result(code, r)
	return outcome(code)
}

// topicsReport is what --explain prints, in JSON.
type topicsReport struct {
	Topics []topicReport `json:"topics"`
}

type topicReport struct {
	Topic string `json:"topic"`
	Title string `json:"title"`
	Text  string `json:"text"`
}

// describeTopic prints the short why.
func (c *invocation) describeTopic() error {
	topics := doctor.Topics()
	if len(c.args) > 0 {
		t, ok := doctor.LookUpTopic(c.args[0])
		if !ok {
			return noTopic(c.args[0])
		}
		topics = []doctor.Topic{t}
	}
	report := topicsReport{Topics: []topicReport{}}
	for _, t := range topics {
		report.Topics = append(report.Topics,
			topicReport{t.Name, t.Title, strings.TrimSpace(t.Text)})
	}
	switch {
	case c.out.json:
	case len(c.args) > 0:
		c.out.put("%s: %s\n", bold(topics[0].Name), topics[0].Title)
		c.out.put("%s", raw(strings.TrimSpace(topics[0].Text)))
	default:
		for _, t := range topics {
			c.out.put("  %-18s %s", bold(t.Name), t.Title)
		}
	}
	c.result(exitDone, report)
	return nil
}

// doctorText prints what doctor found.
type doctorText struct{ *invocation }

// examined prints what was found.
func (c doctorText) examined(r *doctor.Report) {
	switch roles := roleWords(r.Roles); {
	case roles == "":
		c.out.say("this machine has not exported or imported anything yet")
	default:
		c.out.say("this machine is %s: %s", bold(roles), strings.Join(r.Because, ", "))
	}
	if r.Auto != "" {
		c.out.say("a drive that is plugged in: %s; log: %s", r.Auto, r.AutoLog)
		for _, line := range pkgmachine.AutoUses {
			c.out.detail("  %s", line)
		}
	}
	for i := range r.Origins {
		c.compared(&r.Origins[i])
	}
	mend, notes := 0, 0
	for i := range r.Findings {
		c.finding(&r.Findings[i])
		if r.Findings[i].Weight == doctor.Note {
			notes++
		} else {
			mend++
		}
	}
	if r.Outlook != nil {
		c.out.say("")
		if r.ToImport > 0 {
			c.out.say("after pkgsneak import %s, which brings %s:", shellWord(c.args[0]),
				count(r.ToImport, "package"))
		}
		drive := "DRIVE"
		if len(c.args) > 0 {
			drive = c.args[0]
		}
		tellOutlook(c.out, r.Outlook, forecast.TextOptions{File: r.ExcludeFile, Drive: drive})
	}
	if r.Portage != nil {
		c.confirmed(r.Portage)
	}
	if len(r.Unknown) > 0 {
		c.out.say("")
		for _, u := range r.Unknown {
			c.out.say("not known: %s", u)
		}
	}
	c.out.say("")
	switch {
	case mend > 0:
		c.out.say("%s to fix, %s; more about one: pkgsneak doctor --explain %s",
			count(mend, "thing"), count(notes, "note"), r.Findings[0].Topic)
	case notes > 0:
		c.out.say("nothing to fix, %s", count(notes, "note"))
	default:
		c.out.say("nothing to fix")
	}
}

// confirmed prints where emerge and the forecast differ. Its words are foreign text.
func (c doctorText) confirmed(p *doctor.Confirmation) {
	c.out.say("")
	if p.Agrees() {
		c.out.say("emerge says the same of this line: %s", count(p.Same, "package"))
		return
	}
	c.out.say("emerge ends with %d under this line and lists %s, %d of them as forecast", p.Exit,
		count(p.Merges, "package"), p.Same)
	if p.Cut {
		c.out.say("its list is longer than what is read of it")
	}
	for _, l := range []struct {
		what  string
		names []string
	}{{"emerge would go backwards", p.Backwards}, {"emerge would compile", p.Compiled},
		{"emerge would install as well", p.OnlyThere},
		{"emerge would not install", p.OnlyHere}, {"it says", p.Said}} {
		if len(l.names) == 0 {
			continue
		}
		c.out.say("%s:", l.what)
		for i, name := range l.names {
			if i == listLimit && !c.out.verbose {
				c.out.say("  %s", "... and "+count(len(l.names)-i, "other")+" (-v lists all)")
				break
			}
			c.out.say("  %s", name)
		}
	}
}

func roleWords(roles []doctor.Role) string {
	switch {
	case len(roles) == 0:
		return ""
	case len(roles) == 1:
		return "a " + string(roles[0])
	}
	return "a host and a client"
}

// finding prints one finding. A finding that has to be fixed is printed under --quiet too.
func (c doctorText) finding(f *doctor.Finding) {
	say := c.out.say
	if f.Weight != doctor.Note && !c.out.json {
		say = c.out.put
	}
	mark := map[doctor.Weight]styled{doctor.Broken: red("broken"), doctor.Wrong: yellow("wrong"),
		doctor.Note: blue("note")}[f.Weight]
	say("")
	say("%-6s  %s  [%s]", mark, bold(f.What), f.Topic)
	say("        %s", f.Why)
	for i, name := range f.Names {
		if i == listLimit && !c.out.verbose {
			say("            %s", "... and "+count(len(f.Names)-i, "other")+" (-v lists all)")
			break
		}
		say("            %s", name)
	}
	for _, m := range f.Fix {
		do := m.Do
		if m.File != "" {
			do = m.File + ", " + do
		}
		if len(m.Lines) > 0 {
			do += ":"
		}
		say("        %s", do)
		for _, line := range m.Lines {
			say("            %s", green(line))
		}
	}
}

// compared prints the table of differences of an origin.
func (c doctorText) compared(o *doctor.Comparison) {
	c.out.say("")
	name := o.Origin
	if name == "" {
		name = o.Dir
	}
	switch {
	case o.Mine:
		c.out.say("origin %s: exported by this machine", bold(name))
		return
	case o.Problem != "":
		c.out.say("origin %s: not compared: %s", bold(name), o.Problem)
		return
	case len(o.Differences) == 0:
		c.out.say("origin %s: %s, no difference that matters", bold(name),
			count(o.Packages, "package"))
		return
	}
	c.out.say("origin %s: %s", bold(name), count(o.Packages, "package"))
	rows := [][3]string{{"", "origin", "here"}}
	for _, d := range o.Differences {
		rows = append(rows, [3]string{d.What, orNone(d.Origin), orNone(d.Here)})
	}
	width := columns(rows)
	for i, row := range rows {
		concerns := ""
		if i == 0 {
			concerns = "concerns"
		} else if n := o.Differences[i-1].Packages; n > 0 {
			concerns = count(n, "package")
		}
		c.out.say("    %-*s  %-*s  %-*s  %s", width[0], row[0], width[1], row[1], width[2],
			row[2], concerns)
	}
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// mostWidth is the widest column that the others keep in step with.
const mostWidth = 36

// columns gives the width of each column of a table; a text that is wider than mostWidth sticks
// out.
func columns(rows [][3]string) (width [3]int) {
	for _, row := range rows {
		for i, text := range row {
			width[i] = max(width[i], min(len(printable(text)), mostWidth))
		}
	}
	return width
}
