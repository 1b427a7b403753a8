package exporter

import (
	"context"
	"fmt"

	"pkgsneak/sync/clients"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/request"
)

// readRequests reads the requests on the drive and remembers those of accepted clients, before it
// is planned what the drive shall carry. A fault of one is told; no request keeps an export
// from going on.
func readRequests(ctx context.Context, x *exporter) error {
	if x.drive == nil {
		return nil
	}
	store, err := clients.Open(x.m.StateDir, x.o.Pretend, x.m.Hook)
	if err != nil {
		return err
	}
	defer store.Close()
	more, err := store.Read(x.drive, x.m.Now(), func(f *clients.Found) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		readRequest(x, store, f)
		return nil
	})
	if drive.Unanswered(err) || ctx.Err() != nil {
		return err
	}
	if err != nil {
		note(x, "the requests on the drive are not read: %s; what helps: pkgsneak clients",
			fault.Text(err))
		return nil
	}
	if more {
		note(x, "there are more than %d clients on the drive: the rest is not read",
			drive.MaxClients)
	}
	return nil
}

// readRequest takes what was found of a client, and keeps little of it.
func readRequest(x *exporter, store *clients.Store, f *clients.Found) {
	a := Asked{Client: f.Dir, Dir: f.Dir, State: f.State, Fingerprint: f.Signer}
	if f.Client != nil {
		a.Client = f.Client.Name
	}
	if f.Record != nil {
		a.Serial, a.Wants = f.Record.Serial, len(f.Record.Wants)
	}
	if f.Err != nil {
		a.Problem, a.Err = fault.Text(f.Err), f.Err
	}
	if err := takeRequest(x, store, f); err != nil {
		a.Problem = fault.Text(err)
	}
	a.State, a.Forked, a.Forgotten = f.State, f.Forked, f.Forgotten
	x.report.Asked = append(x.report.Asked, a)
	x.taken = append(x.taken, &clients.Found{Dir: f.Dir, State: f.State})
}

func note(x *exporter, format string, args ...any) {
	x.report.Notices = append(x.report.Notices, fmt.Sprintf(format, args...))
}

// takeRequest remembers a request, or the key of one that nobody accepted. For a plan that is only
// shown it counts as if it were.
func takeRequest(x *exporter, store *clients.Store, f *clients.Found) error {
	now := x.m.Now()
	catalogues := func(o clients.Origin, serial int64) []request.Sum {
		if sums, err := store.Catalogue(o, serial); err == nil && sums != nil {
			return sums
		}
		return catalogueOnDrive(x, o, serial)
	}
	switch {
	case x.o.Pretend:
		return x.shown.Take(store, x.drive, f, catalogues, now)
	case f.State == clients.Unknown:
		return store.Offer(f, now)
	}
	return store.Take(f, catalogues, now)
}

// catalogueOnDrive reads the catalogue of the generation that is on the drive: a host that has
// forgotten it finds it where the request lies.
func catalogueOnDrive(x *exporter, o clients.Origin, serial int64) []request.Sum {
	if x.committed == nil || x.committed.Serial() != serial ||
		x.committed.Record.Origin != o.Name || x.committed.Record.Fingerprint != o.Key {
		return nil
	}
	index, err := x.committed.Catalogue()
	if err != nil {
		return nil
	}
	return request.CatalogueSums(index.Entries)
}

// blankRequests overwrites the lists of installed packages of the requests that were read, when the
// export is done: whoever finds the drive need not read them.
func blankRequests(x *exporter) {
	if x.o.Pretend || x.o.KeepRequests || x.drive == nil || x.drive.ReadOnly() {
		return
	}
	for i, f := range x.taken {
		a := &x.report.Asked[i]
		switch f.State {
		case clients.New, clients.Known, clients.Cloned, clients.Older:
		default:
			continue
		}
		if a.Problem != "" {
			continue
		}
		if err := drivewriter.BlankClientLists(x.drive, f.Dir, x.m.Hook); err != nil {
			note(x, "the installed packages of %q can still be read on the drive: %s", f.Dir,
				fault.Text(err))
			continue
		}
		a.Taken = true
	}
}
