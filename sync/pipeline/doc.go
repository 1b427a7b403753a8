// Package pipeline has the few shapes of concurrency that the operations share: an ordered parallel
// map (Ordered), a value that is computed in the background (Future), a copy of which one piece is
// read while others are written and hashed (Copy), and a tap by which a file is parsed while it is
// copied (Tap). Processors is how many processors there are for that, and ExpectWaits lets the
// runtime expect that threads wait for a disk.
//
// All of the shapes end with their context, wait for the goroutines that they started, and bound
// the memory in flight: Ordered by its window, Copy by the four pieces of 256 KiB of its Buffers.
package pipeline
