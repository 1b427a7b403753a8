package main

import (
	"time"

	"pkgsneak/sync/progress"
)

// tick is the time between two events of JSON that only give how far a phase is.
const tick = time.Second

// watcher shows the events of a run: as a bar on a terminal, as lines of JSON, or only the notices.
// The bar is gone when done is called.
func (c *invocation) watcher() (watch progress.Watcher, done func()) {
	show, done := progress.Watcher(c.notices), func() {}
	switch {
	case c.out.json:
		show = progress.Throttle(func(m progress.Message) { c.out.event(newProgressEvent(m)) },
			tick, c.env.now)
	case c.env.stderrTTY && !c.out.quiet && !c.opt.noProgress:
		b := newBar(c.out.err, c.env.now, c.env.columns)
		c.out.bar.Store(b)
		events := progress.OfEvents(b.event)
		show = func(m progress.Message) {
			c.notices(m)
			events(m)
		}
		done = func() {
			b.end()
			c.out.bar.Store(nil)
		}
	}
	return func(m progress.Message) {
		if c.env.observe != nil {
			c.env.observe(m)
		}
		show(m)
	}, done
}

func (c *invocation) notices(m progress.Message) {
	if text, ok := m.(progress.Notice); ok {
		c.out.notice("%s", c.out.repeated([]string{string(text)})[0])
	}
}
