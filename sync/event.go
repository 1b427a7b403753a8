package sync

import (
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
)

// The coin and the events, which have rooms of their own. These names stay until the operations have
// moved to theirs.
type (
	Kind    = payload.Kind
	Item    = payload.Item
	Tally   = payload.Tally
	Phase   = progress.Phase
	Event   = progress.Event
	Watcher = progress.Watcher
)

const (
	Package  = payload.Package
	Distfile = payload.Distfile

	PhaseScan     = progress.PhaseScan
	PhaseProbe    = progress.PhaseProbe
	PhaseCheck    = progress.PhaseCheck
	PhaseCopy     = progress.PhaseCopy
	PhaseFlush    = progress.PhaseFlush
	PhaseReadBack = progress.PhaseReadBack
	PhaseCommit   = progress.PhaseCommit
	PhaseIndex    = progress.PhaseIndex
	PhaseVerify   = progress.PhaseVerify
)

// Count tallies items.
func Count(items []Item) Tally { return payload.Count(items) }

func plus(a, b int64) int64 { return payload.Plus(a, b) }

func sortItems(items []Item) { payload.Sort(items) }
