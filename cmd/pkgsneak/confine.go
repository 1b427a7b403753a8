package main

import "pkgsneak/sync/sandbox"

// confine takes from this process, for ever, what the operation does not need. Tests, which run it
// in their own process, leave that out.
func confine(c *invocation, operation func() sandbox.Confined) {
	if !c.env.confines {
		return
	}
	if done := operation(); c.out.debug {
		c.out.notice("%s", done)
	}
}
