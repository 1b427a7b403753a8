// Package wire is what the lab and the agent in its guest send each other:
// the arguments and results of net/rpc calls on the service "Agent", gob over a
// virtio serial port.
package wire

import "pkgsneak/scripts/vm/disk"

// Port is the name of the virtio serial port, Share the tag of the shared
// directory, and ShareDir where the guest finds it.
const (
	Port     = "pkgsneak.agent"
	Share    = "lab"
	ShareDir = "/lab"
)

// Command is a program to run in the guest.
type Command struct {
	Argv    []string
	Env     []string // NAME=VALUE; PATH and HOME are there
	Dir     string
	Seconds int // killed after so many; 0: 600
	// Unnamed runs a copy of the program without a name in any directory, so
	// that it cannot put itself on a drive.
	Unnamed bool
}

// Result is how it ended.
type Result struct {
	Code   int // 128 + N after signal N
	Stdout []byte
	Stderr []byte
	Millis int64
}

// Poll asks for what a started program has printed from an offset on, and
// waits until there is something or it has ended.
type Poll struct {
	ID   int
	From int
}

// Polled is the answer.
type Polled struct {
	Stdout []byte
	Ended  bool
	Result Result // when it has ended
}

// Signal sends a signal to a started program.
type Signal struct{ ID, Signal int }

// Mount mounts a device.
type Mount struct {
	Device, Dir, Type, Options string
	ReadOnly                   bool
}

// File is one of a tree.
type File struct {
	Path string // below the directory asked for
	Size int64
	Sum  [32]byte // SHA-256
	Err  string   // why it could not be read
}

// Put writes a file and the directories above.
type Put struct {
	Path string
	Data []byte
	Mode uint32
}

// Copy makes To a copy of the tree From, times included. Anything that was at
// To before goes.
type Copy struct{ From, To string }

// Load reads a write log from a file, to be called by a name.
type Load struct{ Name, Path string }

// Layer is a state of a loaded or recorded log.
type Layer struct {
	Log   string
	State disk.State
}

// Attach makes a block device of layers on top of a blank drive.
type Attach struct {
	Size   int64
	Layers []Layer
	Record string // name of the log that notes what is written from now on; "" for none
}

// Try attaches, mounts, runs, looks, and takes everything apart again.
type Try struct {
	Attach
	Mount
	Reset    []Copy
	Commands []Command
	Trees    []string
	// Series names tries with the same commands: a drive in which a reader sees
	// what it saw before is not shown again, unless Afresh. "" for none.
	Series string
	Afresh bool
}

// Tried is what came of it. Results and Trees are empty if the series had a
// drive with that fingerprint before.
type Tried struct {
	MountError  string
	Fingerprint uint64
	Results     []Result
	Trees       [][]File
	Kernel      []string // the kernel's messages meanwhile, warnings and worse
}
