package main

import "github.com/urfave/cli/v2"

// A verb is a command with all that belongs to it. Its own file, cmd_NAME.go, declares it; verbs,
// in app.go, lists it. A flag that is its own is declared in flags.go.
type verb struct {
	*cli.Command
	examples []example // for its help and its manual page
	// values of the types of its results, by the subcommand, "" for the verb itself: the schemas
	// are made of them. The second type of a verb is that of another question.
	results map[string][]any
	// what the same command does after an interruption; "": it begins anew, or gives that itself
	goesOn string
	// it changes the drive that is its argument
	writesDrive bool
}

// example is a line that somebody could type, and what it does.
type example struct{ line, does string }
