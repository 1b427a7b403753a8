package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"pkgsneak/sync/pipeline"
)

const (
	// smallHeap is the size in bytes below which the heap is not collected: most runs end before.
	// Go begins at 4 MiB.
	smallHeap = 48 << 20
	goBegins  = 4 << 20
	// heapGrowth is by how many per cent a larger heap may outgrow what is live, and leastGrowth
	// what is left of that where it nears largeHeap: indices are few large strings, which cost
	// little to look through.
	heapGrowth  = 50
	leastGrowth = 8
	largeHeap   = 150 << 20
	// softLimit is how much memory is taken, in bytes, as long as a quarter more than what is live
	// fits into it.
	softLimit = 176 << 20
)

// tuneMemory lets small runs do without the garbage collector, and lets it run more often in large
// ones than Go does by itself. GOGC and GOMEMLIMIT of a user win.
func tuneMemory() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetGCPercent(100 * smallHeap / goBegins)
	afterCollection()
}

// tuneThreads keeps the processors busy while threads wait for a disk. GOMAXPROCS of a user wins.
func tuneThreads() {
	if os.Getenv("GOMAXPROCS") == "" {
		pipeline.ExpectWaits()
	}
}

// afterCollection chooses after each collection when the next one comes.
func afterCollection() {
	// nobody holds it: it is gone with the next collection
	runtime.AddCleanup(new([64]byte), func(struct{}) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		if live[0].Value.Kind() != metrics.KindUint64 {
			return
		}
		debug.SetGCPercent(mayGrow(live[0].Value.Uint64()))
		debug.SetMemoryLimit(int64(max(softLimit, live[0].Value.Uint64()*5/4)))
		afterCollection()
	}, struct{}{})
}

// mayGrow is the per cent by which a heap with so many live bytes may grow.
func mayGrow(live uint64) int {
	if live*(100+heapGrowth)/100 >= smallHeap {
		room := max(0, largeHeap-int64(live))
		return int(min(max(100*room/int64(live), leastGrowth), heapGrowth))
	}
	return int(min(100*smallHeap/max(1, live)-100, 100*smallHeap/goBegins))
}
