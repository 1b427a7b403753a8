package binhost

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
)

// clientsDir is the path of the page of clients.
const clientsDir = "clients"

// clientsGlance is how long a report of clients is shown before it is made anew: it reads what each
// of them has told.
const clientsGlance = 10 * time.Second

// maxClientLines is how many lines of a list of one client a page has.
const maxClientLines = 50

// ClientReport is what a host has recorded of the machines that import from it, for the page of
// clients. Texts are those of the clients: the page makes them fit to be shown.
type ClientReport struct {
	Packages int // of this machine
	Clients  []ClientEntry
	Offered  []ClientOffer
	Build    []ClientBuild
	Problems []string
}

// ClientEntry is one client.
type ClientEntry struct {
	Name        string
	Fingerprint string    // as people compare it; "" without a key
	Asked       time.Time // zero: never
	Typed       time.Time // when a receipt was typed at last
	Cloned      time.Time // when two machines were seen with its key
	Behind      int       // generations
	Has         int       // packages
	Lacks       payload.Tally
	Refused     payload.Tally // that it can never use
	Waiting     payload.Tally // of Lacks what is on no drive
	Transit     []ClientTransit
	NotBuilt    []string // what it wants and nobody has built
	Failed      []string // what did not install there
	Unread      []string // what of it is not known, and why
}

// ClientTransit is what is on its way on a drive.
type ClientTransit struct {
	Label string
	Since time.Time
	Files payload.Tally
}

// ClientOffer is a client that nobody has accepted.
type ClientOffer struct {
	Name, Fingerprint string
	Seen              time.Time
}

// ClientBuild is what builds something that clients want.
type ClientBuild struct{ Line, Use string }

// clientsPage has the report that was made last.
type clientsPage struct {
	mu   sync.Mutex
	made time.Time
	last *ClientReport
	err  error
}

// report returns the last report, or a new one where that is old.
func (p *clientsPage) report(ctx context.Context, make func(context.Context) (*ClientReport, error),
	now time.Time) (*ClientReport, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if since := now.Sub(p.made); p.last == nil && p.err == nil || since < 0 ||
		since >= clientsGlance {
		p.last, p.err = make(context.WithoutCancel(ctx))
		p.made = now
	}
	return p.last, p.err
}

// clientsView is the page of clients.
type clientsView struct {
	frame
	Heading  string
	Packages string
	Trouble  string
	Clients  []clientView
	Offered  []clientOfferView
	Build    []ClientBuild
	MoreBuilds,
	Problems []string
	Pager pager
}

type clientView struct {
	Name, Fingerprint string
	Asked, AskedExact string
	How               string // what Asked is about
	Behind            string
	Has, Lacks        string
	Refused, Waiting  string
	Transit           []string
	NotBuilt, Failed  []string
	Unread            []string
	Cloned            bool
}

type clientOfferView struct{ Name, Fingerprint, Seen, SeenExact string }

// clients answers with the page of clients.
func (h *Handler) clients(w *meter, r *http.Request, p string) error {
	if p == clientsDir {
		return &redirect{h.href(clientsDir) + "/"}
	}
	return h.page(w, r, func() (*page, error) {
		report, err := h.clientsPage.report(r.Context(), h.o.Clients, h.o.Now())
		view := &clientsView{frame: h.frame("clients", place{kind: clientsDir}),
			Heading: "Clients"}
		if err != nil {
			h.problem(err)
			view.Trouble = printable(fault.Text(err))
			return render(http.StatusInternalServerError, "clients.html", view)
		}
		h.fillClients(view, report, r.URL.Query().Get("page"))
		return render(http.StatusOK, "clients.html", view)
	})
}

func (h *Handler) fillClients(view *clientsView, r *ClientReport, page string) {
	view.Packages = plural(int64(r.Packages), "package", "packages")
	from, to := window(len(r.Clients), page)
	view.Pager = newPager(from, to, len(r.Clients), func(page string) string {
		return h.href(clientsDir) + "/?page=" + page
	})
	for i := range r.Clients[from:to] {
		view.Clients = append(view.Clients, h.client(&r.Clients[from+i]))
	}
	for _, o := range r.Offered[:min(len(r.Offered), PageRows)] {
		seen, exact := h.when(o.Seen)
		view.Offered = append(view.Offered, clientOfferView{printable(o.Name),
			printable(o.Fingerprint), seen, exact})
	}
	for _, b := range r.Build[:min(len(r.Build), PageRows)] {
		view.Build = append(view.Build, ClientBuild{printable(b.Line), printable(b.Use)})
	}
	if more := len(r.Build) - PageRows; more > 0 {
		view.MoreBuilds = []string{"and " + humanize.Comma(int64(more)) + " more"}
	}
	view.Problems = shownLines(r.Problems)
}

func (h *Handler) client(e *ClientEntry) clientView {
	v := clientView{Name: printable(e.Name), Fingerprint: printable(e.Fingerprint),
		Has: humanize.Comma(int64(e.Has)), Lacks: sum(e.Lacks), Refused: sum(e.Refused),
		Waiting: sum(e.Waiting), NotBuilt: shownLines(e.NotBuilt), Failed: shownLines(e.Failed),
		Unread: shownLines(e.Unread), Cloned: !e.Cloned.IsZero()}
	switch {
	case !e.Asked.IsZero():
		v.How = "Asked"
		v.Asked, v.AskedExact = h.when(e.Asked)
	case !e.Typed.IsZero():
		v.How = "Receipt typed"
		v.Asked, v.AskedExact = h.when(e.Typed)
	}
	if e.Behind > 0 {
		v.Behind = plural(int64(e.Behind), "generation", "generations") + " behind"
	}
	for _, t := range e.Transit {
		since, _ := h.when(t.Since)
		v.Transit = append(v.Transit, sum(t.Files)+" on "+printable(t.Label)+" since "+since)
	}
	return v
}

// sum is a tally of packages; "" for none.
func sum(t payload.Tally) string {
	if t.Files == 0 {
		return ""
	}
	return plural(int64(t.Files), "package", "packages") + ", " +
		fault.Size(max(t.Bytes, 0))
}

// shownLines makes lines of others fit to be shown, not too many of them.
func shownLines(lines []string) []string {
	var out []string
	for i, line := range lines {
		if i == maxClientLines {
			return append(out, "and "+strconv.Itoa(len(lines)-i)+" more")
		}
		out = append(out, printable(line))
	}
	return out
}
