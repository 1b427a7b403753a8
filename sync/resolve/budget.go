package resolve

import "errors"

// maxWork bounds the work of one resolution: looks at a package, an atom or an alternative. A
// machine of 1,808 packages with 400 updates takes a twentieth; it is reached in four or five
// seconds.
const maxWork = 5_000_000

// askEvery is the work after which Input.Stop is asked.
const askEvery = 16_384

var errTooMuch = errors.New("the search takes too long: too many packages, or alternatives (||) that nest too deeply")

// budget is what is left of the work. Loops that an index can make long charge it, and end once it
// is spent: what is found then is thrown away.
type budget struct {
	stop  func() bool
	left  int
	ask   int // what is left when stop is asked next
	spent bool
}

func newBudget(stop func() bool) *budget {
	return &budget{stop: stop, left: maxWork, ask: maxWork - askEvery}
}

// charge takes n units, and reports whether there was as much.
func (b *budget) charge(n int) bool {
	b.left -= n
	if b.left <= b.ask {
		b.review()
	}
	return !b.spent
}

func (b *budget) review() {
	b.ask = max(b.left-askEvery, 0)
	b.spent = b.spent || b.left <= 0 || b.stop != nil && b.stop()
}
