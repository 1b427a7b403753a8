package inspect

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/request"
	"pkgsneak/sync/state"
)

// Receipt is a code that tells a host, typed by a person, what was imported here from a medium to
// which nothing can be written.
type Receipt struct {
	Code   string `json:"code"`   // of package request
	Client string `json:"client"` // the name that this machine has as a client
	Origin string `json:"origin"`
	Serial int64  `json:"serial"`
	Partly bool   `json:"partly"` // files were left out
}

// whole are the results of imports that left nothing out, as they are remembered.
var whole = regexp.MustCompile(`^(done(, \d+ removed)?|nothing to do)$`)

// Receipts returns the receipt of the newest generation of each origin that was imported here, the
// last import first. It changes nothing.
func Receipts(ctx context.Context, m machine.Machine) ([]Receipt, error) {
	st, err := state.Open(ctx, m.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	asked, err := state.LastAsked(st)
	if err != nil {
		return nil, err
	}
	name := asked.Name
	if name == "" {
		if name, err = layout.OriginName(m.Hostname); err != nil {
			return nil, fmt.Errorf("naming this client: %w", err)
		}
	}
	list, told := []Receipt{}, make(map[state.OriginID]bool)
	runs, origins := st.Runs(), state.SeenOrigins(st)
	for i := len(runs) - 1; i >= 0; i-- {
		run := &runs[i]
		names := strings.Split(run.Origin, ", ") // a run of auto has several in one
		for _, id := range origins {
			seen, _ := st.Seen(id)
			if run.Verb != "import" || told[id] || !slices.Contains(names, id.Name) ||
				len(names) == 1 && seen.Serial != run.Serial {
				continue
			}
			told[id] = true
			code := request.Code{Client: request.ClientTag(name),
				Manifest: [4]byte(seen.Manifest[:4])}
			if !whole.MatchString(run.Result) {
				code.Result = request.Partly
			}
			list = append(list, Receipt{code.String(), name, id.Name, seen.Serial,
				code.Result == request.Partly})
		}
	}
	return list, nil
}
