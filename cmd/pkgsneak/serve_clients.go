package main

import (
	"context"

	"pkgsneak/sync/binhost"
	"pkgsneak/sync/clients"
)

// viewer is what makes the page of clients, nil where nobody wants it. It is opened before this
// process gives up its rights, and needs those directories only.
func (c serveRun) viewer() (*clients.Viewer, error) {
	if !c.opt.serve.clients {
		return nil, nil
	}
	if len(c.args) > 0 {
		return nil,
			withHint(usageErrorf("--clients shows those of this machine, and not of a drive"),
				"pkgsneak serve --clients")
	}
	machine, err := c.machine()
	if err != nil {
		return nil, err
	}
	v, err := clients.NewViewer(c.ctx, machine)
	if err == nil && len(v.Directories()) == 0 {
		c.out.notice("%s nothing was exported here yet, so that no client is known: start serve again after that",
			bold("note:"))
	}
	return v, err
}

// clientPages gives the server what pkgsneak clients shows.
func clientPages(v *clients.Viewer) func(context.Context) (*binhost.ClientReport, error) {
	return func(ctx context.Context) (*binhost.ClientReport, error) {
		r, err := v.Look(ctx)
		if err != nil {
			return nil, err
		}
		return clientPage(r), nil
	}
}

// clientPage is a report for the page.
func clientPage(r *clients.Report) *binhost.ClientReport {
	out := &binhost.ClientReport{Packages: r.Packages, Problems: r.Problems}
	for i := range r.Clients {
		e := &r.Clients[i]
		entry := binhost.ClientEntry{Name: e.Name, Fingerprint: e.Fingerprint.Grouped(),
			Asked: e.Read, Typed: e.LastTyped, Cloned: e.Cloned, Behind: e.Behind, Has: e.Has,
			Lacks: e.Lacks, Refused: e.Refused, Waiting: e.Waiting}
		for _, t := range e.Transit {
			entry.Transit = append(entry.Transit,
				binhost.ClientTransit{Label: t.Label, Since: t.Since, Files: t.Files})
		}
		for j := range e.Wants {
			entry.NotBuilt = append(entry.NotBuilt, wantLine(&e.Wants[j]))
		}
		for _, x := range e.Failed {
			entry.Failed = append(entry.Failed, x.CPV+" "+x.Phase)
		}
		for _, u := range e.Unread {
			entry.Unread = append(entry.Unread, "what it has of "+u.Origin+": "+u.Reason)
		}
		out.Clients = append(out.Clients, entry)
	}
	for _, o := range r.Offered {
		out.Offered = append(out.Offered, binhost.ClientOffer{Name: o.Name,
			Fingerprint: o.Fingerprint.Grouped(), Seen: o.Seen})
	}
	for _, b := range r.Build {
		out.Build = append(out.Build, binhost.ClientBuild{Line: b.Line, Use: b.Use})
	}
	return out
}
