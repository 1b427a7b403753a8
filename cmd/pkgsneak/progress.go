package main

import (
	"time"

	"github.com/schollz/progressbar/v3"

	"pkgsneak/sync"
)

// tick is the time between two events of JSON that only say how far a phase is.
const tick = time.Second

// watcher shows the events of a run: as a bar on a terminal, as lines of JSON, or only the notices. The bar is gone when done is called.
func (c *call) watcher() (watch sync.Watcher, done func()) {
	show := c.notices
	done = func() {}
	switch {
	case c.out.json:
		show = c.jsonEvents()
	case c.env.stderrTTY && !c.out.quiet && !c.opt.noProgress:
		b := &bar{screen: c.out.err}
		c.out.bar = b
		show = func(e sync.Event) {
			if e.Notice != "" {
				c.notices(e)
				return
			}
			b.event(e)
		}
		done = func() {
			b.hide()
			c.out.bar = nil
		}
	}
	return func(e sync.Event) {
		if c.env.observe != nil {
			c.env.observe(e)
		}
		show(e)
	}, done
}

func (c *call) notices(e sync.Event) {
	if e.Notice != "" {
		c.out.notice("%s", e.Notice)
	}
}

// jsonEvents prints the first and the last event of each phase, in between one a tick, and every notice.
func (c *call) jsonEvents() func(sync.Event) {
	var phase sync.Phase
	var next time.Time
	return func(e sync.Event) {
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

// bar is the one line on a terminal that moves.
type bar struct {
	screen screen
	phase  sync.Phase
	total  int64
	line   *progressbar.ProgressBar
}

// event moves the line; a new phase or a new total begins a new one.
func (b *bar) event(e sync.Event) {
	done, total, bytes := e.Done, e.Total, true
	if total == 0 {
		done, total, bytes = int64(e.Files), int64(e.FilesTotal), false
	}
	if b.line == nil || e.Phase != b.phase || total != b.total {
		b.hide()
		b.phase, b.total = e.Phase, total
		b.line = b.newLine(total, bytes)
	}
	_ = b.line.Set64(done) // a terminal that does not take the bar takes nothing else either
}

func (b *bar) newLine(total int64, bytes bool) *progressbar.ProgressBar {
	if total == 0 {
		total = -1 // a spinner
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(b.screen.w),
		progressbar.OptionSetDescription(string(b.phase)),
		progressbar.OptionShowBytes(bytes),
		progressbar.OptionShowTotalBytes(bytes),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionSetWidth(24),
		progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionEnableColorCodes(false),
		progressbar.OptionSetPredictTime(bytes),
		progressbar.OptionSetSpinnerChangeInterval(0), // no goroutine that draws when we are printing
	}
	if !bytes {
		options = append(options, progressbar.OptionShowCount())
	}
	return progressbar.NewOptions64(total, options...)
}

// hide takes the line off the screen, so that something else can be printed.
func (b *bar) hide() {
	if b.line != nil {
		_ = b.line.Clear()
	}
}

// show brings it back.
func (b *bar) show() {
	if b.line != nil && !b.line.IsFinished() {
		_ = b.line.RenderBlank()
	}
}
