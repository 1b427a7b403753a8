package main

import (
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync"
	"pkgsneak/sync/auto"
	"pkgsneak/sync/watch"
)

func watchCommand(f *face) *cli.Command {
	return &cli.Command{
		Name:      "watch",
		Category:  "by itself",
		Usage:     "export while packages are built",
		ArgsUsage: "[DRIVE]",
		UsageText: "watch [DRIVE]",
		Description: "Exports each time PKGDIR and DISTDIR have come to rest, so that a drive which stays plugged in always has the\n" +
			"finished packages. DRIVE is where it is mounted, by somebody else; it may come and go. SIGINT or SIGTERM end it.",
		Flags:  flags(common, progress, watching, kindsLeft, exporting, shrink, dirs, lock),
		Action: f.action(0, 1, watchDrive),
	}
}

// exportEvent is a line of JSON for each export of a watch.
type exportEvent struct {
	Event  string             `json:"event"` // "export"
	Error  string             `json:"error,omitempty"`
	Hints  []string           `json:"hints,omitempty"`
	Report *sync.ExportReport `json:"report,omitempty"`
}

func watchDrive(c *call) error {
	place := c.opt.watchedDrive
	if len(c.args) > 0 {
		place = c.args[0]
	}
	if place == "" {
		return withHint(usageErrorf("watch: DRIVE is missing, and PKGSNEAK_WATCH is not set"), "pkgsneak watch /mnt/usb")
	}
	machine, err := c.machine()
	if err != nil {
		return err
	}
	events, done := c.watcher()
	defer done()
	o := c.opt.watch
	o.Export, o.Log, o.Events = c.opt.export, c.logger(), events
	o.Export.Drive = place
	o.Done = func(r *sync.ExportReport, err error) {
		done()
		c.watchExported(place, r, err)
	}
	if o.Quiet <= 0 {
		o.Quiet = time.Millisecond
	}
	err = auto.Watch(c.ctx, machine, o)
	var limit *watch.LimitError
	if errors.As(err, &limit) {
		return withHint(err, "%s", limit.Hint())
	}
	if err == nil {
		c.result(exitDone, nil)
	}
	return err
}

// watchExported says what one export of a watch did; why one failed says the log.
func (c *call) watchExported(place string, r *sync.ExportReport, err error) {
	if err != nil {
		e := exportEvent{Event: "export", Error: err.Error(), Hints: explain(err, place).hints}
		if c.out.json {
			c.out.event(e)
		} else if c.ctx.Err() == nil {
			c.out.failure(failure{hints: e.Hints})
		}
		return
	}
	if c.out.json {
		c.out.event(exportEvent{Event: "export", Report: r})
		return
	}
	if r.Unchanged {
		c.out.detail("nothing changed since generation %s", c.generation(r.Serial))
	} else {
		c.out.say("%s %s to %s: %s; generation %s", green("exported"), bold(r.Plan.Origin), place, kinds(r.Copied), c.generation(r.Serial))
	}
	c.leftOut(r.LeftOut)
}
