package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/auto"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
)

func watchVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "watch",
			Category:  "automatically",
			Usage:     "export while packages are built",
			ArgsUsage: "[DRIVE]",
			UsageText: "watch [DRIVE]",
			Description: "Exports each time PKGDIR and DISTDIR have come to rest, so that a drive\n" +
				"which stays plugged in always has the finished packages. DRIVE is where it is\n" +
				"mounted, by somebody else; it may come and go. SIGINT or SIGTERM end it.",
			Flags: flags(common, noProgress, watching, kindsLeft, exporting, anywhere, shrink, dirs,
				lock),
			Action: f.action(0, 1, watchDrive),
		},
		writesDrive: true,
		examples: []example{
			{"pkgsneak watch /mnt/usb",
				"Exports whenever emerge has finished some packages, until it is stopped."},
			{"pkgsneak watch --once --settle 2m /mnt/usb",
				"Waits until nothing has changed for two minutes, exports, and ends."},
		},
		results: map[string][]any{"": {struct{}{}}},
	}
}

// exportEvent is a line of JSON for each export of a watch.
type exportEvent struct {
	Event  string                 `json:"event"` // "export"
	Error  string                 `json:"error,omitempty"`
	Hints  []string               `json:"hints"`
	Result *exporter.ExportReport `json:"result,omitempty"`
}

func watchDrive(c *invocation) error {
	place := c.meansDrive(c.opt.watchedDrive)
	if len(c.args) > 0 {
		place = c.args[0]
	}
	if place == "" {
		return withHint(usageErrorf("watch: DRIVE is missing, and PKGSNEAK_WATCH is not set"),
			"pkgsneak watch /mnt/usb")
	}
	if err := watchable(place, c.opt.export.AnyDirectory); err != nil {
		return err
	}
	if c.opt.watch.Quiet <= 0 {
		return withHint(usageErrorf("--settle: each change would be an export; a length of time above 0 is wanted"), "%s", c.takes("settle"))
	}
	machine, err := c.machine()
	if err != nil {
		return err
	}
	events, done := c.watcher()
	defer done()
	o := c.opt.watch
	o.Export, o.Log, o.Events = c.opt.export, c.logger(), events
	o.Export.Drive, c.place = place, place
	c.writing.Store(&place)
	code := exitDone
	o.Done = func(r *exporter.ExportReport, err error) {
		done()
		c.watchExported(place, r, err)
		if o.Once && err == nil && len(r.LeftOut) > 0 {
			code = exitLeftOut
		}
	}
	if err = auto.Watch(c.ctx, machine, o); err != nil {
		return err
	}
	c.result(code, nil)
	return outcome(code)
}

// watchable refuses a place on which no drive will ever be mounted. A mount point may be made only
// when the drive comes; an ordinary directory is there.
func watchable(place string, anyDirectory bool) error {
	switch info, err := os.Stat(place); {
	case err == nil && !info.IsDir():
		return withHint(usageErrorf("watch: %q is no directory; DRIVE is where the drive is mounted", place), "pkgsneak watch /mnt/usb")
	case err != nil && anyDirectory:
		return fmt.Errorf("watch %q, with --any-directory: %w", place, fault.Bare(err))
	}
	return nil
}

// watchExported tells what one export of a watch did. The log has told why it failed, and the end
// of the program will where it ends the watch.
func (c *invocation) watchExported(place string, r *exporter.ExportReport, err error) {
	if err != nil {
		f := classify(err, place)
		if c.out.json {
			c.out.event(exportEvent{Event: "export", Error: f.message, Hints: f.hints})
		} else if c.ctx.Err() == nil && !c.opt.watch.Once {
			c.out.hint(f.hints...)
		}
		return
	}
	if c.out.json {
		c.out.event(exportEvent{Event: "export", Result: r})
		return
	}
	switch {
	case r.Unchanged && c.opt.watch.Once: // it ends with this
		c.out.say("nothing changed in %s since generation %s: nothing was written",
			bold(r.Plan.Origin), c.generation(r.Serial))
	case r.Unchanged:
		c.out.detail("nothing changed in %s since generation %s", bold(r.Plan.Origin),
			c.generation(r.Serial))
	default:
		c.out.say("%s %s to %s: %s; generation %s", green("exported"), bold(r.Plan.Origin), place,
			kinds(r.Copied), c.generation(r.Serial))
	}
	c.leftOut(r.LeftOut)
	tellRefused(c, r.Refused)
}
