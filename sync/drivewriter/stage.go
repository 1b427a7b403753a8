package drivewriter

// Stage is what a Writer is doing.
type Stage uint8

// The stages, in the order in which they come.
const (
	Collecting Stage = iota + 1 // leftovers of a pulled run
	Preparing                   // directories
	Probing                     // a drive that was never used
	Writing                     // payload
	Flushing                    // waiting for the drive
	Comparing                   // reading back
	Committing                  // the manifest copies
	Removing                    // what the new generation does not list
)

// String returns the stage's name.
func (s Stage) String() string {
	names := [...]string{"", "tidying", "preparing", "probing", "writing", "flushing", "comparing",
		"committing", "removing"}
	if int(s) < len(names) {
		return names[s]
	}
	return ""
}
