package disk

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// State tells which entries of a log reached the medium: the first Prefix, but
// not those in Lost; of the last one only Kept bytes, unless Kept is 0.
type State struct {
	Prefix int
	Lost   []int
	Kept   int64
}

// Kind names what a state is a sample of.
func (s State) Kind() string {
	switch {
	case len(s.Lost) > 0:
		return "reorder"
	case s.Kept > 0:
		return "tear"
	}
	return "prefix"
}

// String gives enough to make the state again.
func (s State) String() string {
	switch s.Kind() {
	case "reorder":
		return fmt.Sprintf("%d without %d", s.Prefix, s.Lost)
	case "tear":
		return fmt.Sprintf("%d torn at %d", s.Prefix, s.Kept)
	}
	return fmt.Sprint(s.Prefix)
}

// first is the number of entries before the first one that is not whole.
func (s State) first() int {
	first := s.Prefix
	if s.Kept > 0 {
		first--
	}
	for _, i := range s.Lost {
		first = min(first, i)
	}
	return max(first, 0)
}

// Prefixes returns the prefixes between from and to entries that differ on the
// medium: those that end with a write, and from itself.
func (l Log) Prefixes(from, to int) []State {
	var states []State
	for n := from; n <= min(to, len(l)); n++ {
		if n == from || l[n-1].writes() {
			states = append(states, State{Prefix: n})
		}
	}
	return states
}

// Tear returns the prefix of n entries with its last write cut at a multiple of
// unit bytes; false if that write is no longer than a unit.
func (l Log) Tear(n, unit int, r *rand.Rand) (State, bool) {
	if n < 1 || n > len(l) || l[n-1].Flags&Mark != 0 {
		return State{}, false
	}
	units := (len(l[n-1].Data) + unit - 1) / unit
	if units < 2 {
		return State{}, false
	}
	return State{Prefix: n, Kept: int64(1+r.IntN(units-1)) * int64(unit)}, true
}

// Unflushed returns the writes among the first n entries that the drive may
// still lose: those after the last flush that did not go to the medium at once.
func (l Log) Unflushed(n int) []int {
	var open []int
	for i := min(n, len(l)) - 1; i >= 0; i-- {
		if l[i].Flags&Flush != 0 {
			break
		}
		if l[i].writes() && l[i].Flags&(FUA|Mark) == 0 {
			open = append(open, i)
		}
	}
	slices.Reverse(open)
	return open
}

// Reorder returns the prefix of n entries of which each unflushed write was
// kept with a probability; false if that is the prefix itself, or a shorter
// one.
func (l Log) Reorder(n int, keep float64, r *rand.Rand) (State, bool) {
	open := l.Unflushed(n)
	if len(open) < 2 {
		return State{}, false
	}
	s := State{Prefix: n}
	for _, i := range open {
		if r.Float64() >= keep {
			s.Lost = append(s.Lost, i)
		}
	}
	tail := len(s.Lost) > 0 && len(open)-slices.Index(open, s.Lost[0]) == len(s.Lost)
	if len(s.Lost) == 0 || tail {
		return State{}, false
	}
	return s, true
}

// WithoutOne returns a state for each place that was written to between two flushes of a part of
// the log: everything else of that time is on the medium, and it alone is not.
func (l Log) WithoutOne(from, to int) (states []State) {
	for n := from + 1; n <= to; n++ {
		if n < len(l) && l[n].Flags&Flush == 0 && n < to {
			continue
		}
		lost := make(map[int64][]int)
		var places []int64
		for _, i := range l.Unflushed(n) {
			at := l[i].Offset
			if lost[at] == nil {
				places = append(places, at)
			}
			lost[at] = append(lost[at], i)
		}
		if len(places) < 2 {
			continue
		}
		for _, at := range places {
			states = append(states, State{Prefix: n, Lost: lost[at]})
		}
	}
	return states
}

// Sample thins states out to at most n, evenly, with the first and the last.
func Sample(states []State, n int) []State {
	if n <= 0 || len(states) <= n {
		return states
	}
	if n == 1 {
		return states[:1]
	}
	some := make([]State, n)
	for i := range some {
		some[i] = states[i*(len(states)-1)/(n-1)]
	}
	return some
}
