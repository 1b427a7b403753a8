package main

import (
	"pkgsneak/sync/progress"
	"time"
)

// tick is the time between two events of JSON that only say how far a phase is.
const tick = time.Second

// watcher shows the events of a run: as a bar on a terminal, as lines of JSON, or only the notices.
// The bar is gone when done is called.
func (c *invocation) watcher() (watch progress.Watcher, done func()) {
	show := c.notices
	done = func() {}
	switch {
	case c.out.json:
		show = c.jsonEvents()
	case c.env.stderrTTY && !c.out.quiet && !c.opt.noProgress:
		b := newBar(c.out.err, c.env.now, c.env.columns)
		c.out.bar = b
		show = func(e progress.Event) {
			if e.Notice != "" {
				c.notices(e)
				return
			}
			b.event(e)
		}
		done = func() {
			b.end()
			c.out.bar = nil
		}
	}
	return func(e progress.Event) {
		if c.env.observe != nil {
			c.env.observe(e)
		}
		show(e)
	}, done
}

func (c *invocation) notices(e progress.Event) {
	if e.Notice != "" {
		c.out.notice("%s", e.Notice)
	}
}

// jsonEvents prints the first and the last event of each phase, in between one a tick, and every
// notice.
func (c *invocation) jsonEvents() func(progress.Event) {
	var phase progress.Phase
	var next time.Time
	return func(e progress.Event) {
		now := c.env.now()
		last := e.Total > 0 && e.Done == e.Total && e.Files == e.FilesTotal
		if e.Notice == "" && e.Phase == phase && !last && now.Before(next) {
			return
		}
		if e.Notice == "" {
			phase, next = e.Phase, now.Add(tick)
		}
		c.out.event(newProgressEvent(e))
	}
}
