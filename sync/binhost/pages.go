package binhost

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/fault"
)

//go:embed pages/*.html
var pagesFS embed.FS

var pages = template.Must(template.ParseFS(pagesFS, "pages/*.html"))

// PageRows is how many rows a page has.
const PageRows = 100

// Bounds of what is shown of texts that others have written.
const (
	maxShown = 200      // letters of a name
	maxLine  = 600      // letters of a sentence
	maxFlags = 12       // USE flags of a package that show without being asked for
	maxList  = 400      // USE flags at all
	maxText  = 16 << 10 // bytes of a list that are looked at
	maxQuery = 200      // bytes of what is searched for
)

// frame is what every page has.
type frame struct {
	Title  string
	Root   string // address of the site's first page
	Style  string
	Icon   string
	Crumbs []crumb
}

type crumb struct{ Name, Href string }

// column is a heading that sorts.
type column struct {
	Name, Class string
	Href        string
	Sorted      string // "ascending", "descending" or ""
}

// pager leads to the other pages of a long list.
type pager struct {
	From, To, Total string
	Previous, Next  string // addresses
}

func (h *Handler) frame(title string, p place) frame {
	f := frame{Title: printable(title), Root: h.o.Prefix + "/", Style: h.o.Prefix + "/style.css?" +
		assets["style.css"].etag, Icon: h.o.Prefix + "/icon.svg"}
	at := ""
	for _, part := range strings.Split(path.Join(p.base, p.kind, p.name), "/") {
		if part != "" {
			at = path.Join(at, part)
			f.Crumbs = append(f.Crumbs, crumb{printable(part), h.href(at) + "/"})
		}
	}
	return f
}

// page is one that was made.
type page struct {
	code int
	body []byte
}

func render(code int, name string, view any) (*page, error) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, view); err != nil {
		return nil, fmt.Errorf("making the page %s: %w", name, err)
	}
	return &page{code, b.Bytes()}, nil
}

// overview shows the origins of a drive that has several, or none that could be served.
func (h *Handler) overview(s *site) (*page, error) {
	type origin struct {
		Name, Href          string
		Packages, Distfiles string
		Signed              signedView
	}
	view := struct {
		frame
		Origins []origin
		Refused []Refused
		Trouble string
	}{frame: h.frame(s.title, place{}), Refused: printableRefused(s.refused),
		Trouble: printable(s.trouble)}
	for _, t := range s.trees {
		view.Origins = append(view.Origins, origin{printable(t.name), h.href(t.name) + "/",
			tally(t.packages, "package"), tally(t.distfiles, "distfile"), h.signed(t)})
	}
	code := http.StatusOK
	if s.away {
		code = http.StatusServiceUnavailable
	}
	return render(code, "overview.html", view)
}

func printableRefused(list []Refused) []Refused {
	var out []Refused
	for _, r := range list {
		if !r.Unwanted {
			out = append(out, Refused{Origin: printable(r.Origin), Reason: printable(r.Reason),
				Help: printable(r.Help)})
		}
	}
	return out
}

// signedView is who signed a generation, for people.
type signedView struct {
	Signed      bool
	Trusted     bool
	User        string
	Fingerprint string // in groups of four
	When, Exact string
}

func (h *Handler) signed(t *tree) signedView {
	if t.signed == nil {
		return signedView{}
	}
	v := signedView{Signed: true, Trusted: t.signed.Trusted, User: printable(t.signed.User)}
	for i := 0; i < len(t.signed.Signer); i += 4 {
		v.Fingerprint += " " + string(t.signed.Signer[i:min(i+4, len(t.signed.Signer))])
	}
	v.Fingerprint = strings.TrimSpace(v.Fingerprint)
	v.When, v.Exact = h.when(time.Unix(t.signed.Serial, 0))
	return v
}

// when tells how long ago a moment is, and which it is.
func (h *Handler) when(t time.Time) (ago, exact string) {
	return humanize.RelTime(t, h.o.Now(), "ago", "from now"), t.UTC().Format("2006-01-02 15:04 UTC")
}

func tally(s shelf, noun string) string {
	if s == nil {
		return "no " + noun + "s"
	}
	n, size := s.count()
	if n == 0 {
		return "no " + noun + "s"
	}
	if n != 1 {
		noun += "s"
	}
	return humanize.Comma(int64(n)) + " " + noun + ", " + fault.Size(max(size, 0))
}

// startView is the start page of a tree.
type startView struct {
	frame
	Heading             string
	Trouble             string
	Packages, Distfiles string
	PackagesHref        string
	DistfilesHref       string
	Made, MadeExact     string
	CHOST, Profile      string
	Whole               string // "of 900 that the origin has"
	Trees               []string
	Here                []string
	Signed              signedView
	Refused             []Refused
	Binhost, Mirror     string // addresses to paste
	Section             string // of binrepos.conf
	Example             string // an atom
	Query, Category     string
	Sort                string
	Categories          []category
	Columns             []column
	Rows                []rowView
	Pager               pager
	Reset               string
	ClientsHref         string
}

// rowView is a package.
type rowView struct {
	Category, Name, Version string
	Build, Slot, Repo       string
	Href                    string
	Flags, More             []string
	Size, SizeExact         string
	Built, BuiltExact       string
}

// start is the page of a tree: what there is, how to use it, and the packages.
func (h *Handler) start(r *http.Request, p place) (*page, error) {
	t := p.tree
	view := startView{frame: h.frame(t.title, p), Heading: printable(t.title),
		Trouble: printable(t.trouble), Signed: h.signed(t),
		Packages: tally(t.packages, "package"), Distfiles: tally(t.distfiles, "distfile"),
		PackagesHref: h.href(path.Join(p.base, packagesDir)) +
			"/", DistfilesHref: h.href(path.Join(p.base, distfilesDir)) + "/",
		Section: section(t)}
	if h.o.Clients != nil {
		view.ClientsHref = h.href(clientsDir) + "/"
	}
	if p.base == "" {
		view.Refused = printableRefused(p.site.refused)
	}
	address := h.address(r)
	if p.base != "" {
		address += "/" + (&url.URL{Path: p.base}).EscapedPath()
	}
	view.Binhost, view.Mirror = address+"/"+packagesDir, address
	if s := t.signed; s != nil {
		view.CHOST, view.Profile = printable(s.CHOST), printable(s.Profile)
		for _, r := range s.Trees {
			line := printable(r.Name)
			if !r.Tree.Timestamp.IsZero() {
				when, exact := h.when(r.Tree.Timestamp)
				line += ", " + when + " (" + exact + ")"
			}
			view.Trees = append(view.Trees, line)
		}
		for _, line := range s.Here {
			view.Here = append(view.Here, printableText(line, maxLine))
		}
		if n, _ := t.packages.count(); s.Whole > n {
			view.Whole = "of " + humanize.Comma(int64(s.Whole)) + " that the origin has"
		}
	}
	if t.index != nil {
		view.Made, view.MadeExact = h.when(t.index.modified)
		if t.signed == nil {
			view.CHOST, view.Profile = printable(t.index.header.Get("CHOST")),
				printable(t.index.header.Get("PROFILE"))
		}
		h.fillRows(&view, r.URL.Query(), p)
	}
	return render(http.StatusOK, "start.html", &view)
}

// section is a name for binrepos.conf: what is left of the title.
func section(t *tree) string {
	name := strings.Map(func(c rune) rune {
		if c < utf8.RuneSelf && (unicode.IsLetter(c) || unicode.IsDigit(c) ||
			c == '-' || c == '_') {
			return c
		}
		return -1
	}, t.title)
	if name = strings.TrimLeft(name, "-"); name == "" {
		return "pkgsneak"
	}
	return name
}

// fillRows searches, sorts and cuts out the page that is asked for.
func (h *Handler) fillRows(view *startView, q url.Values, p place) {
	x := p.tree.index
	view.Query, view.Category, view.Sort = cut(q.Get("q"), maxQuery), cut(q.Get("category"),
		maxQuery), q.Get("sort")
	for _, c := range x.categories {
		view.Categories = append(view.Categories, category{printable(c.Name), c.Count})
	}
	found := x.search(view.Query, view.Category)
	here := h.href(p.base)
	if p.base != "" {
		here += "/"
	}
	keep := url.Values{"q": {view.Query}, "category": {view.Category}}
	link := func(sort, page string) string { return here + query(keep, "sort", sort, "page", page) }
	var by func(a, b int) int
	by, view.Sort = rowOrder(x, view.Sort)
	if by != nil {
		slices.SortStableFunc(found, by)
	}
	view.Columns = columns(view.Sort, link, []column{{Name: "Package", Class: "name", Href: "name"},
		{Name: "Version", Class: "version"}, {Name: "USE", Class: "use"},
		{Name: "Size", Class: "size", Href: "size"}, {Name: "Built", Class: "date", Href: "built"}})
	from, to := window(len(found), q.Get("page"))
	view.Pager = newPager(from, to, len(found), func(page string) string {
		return link(view.Sort, page)
	})
	for _, i := range found[from:to] {
		view.Rows = append(view.Rows, h.row(&x.rows[i], p))
	}
	view.Example = "app-misc/hello"
	if len(view.Rows) > 0 {
		view.Example = view.Rows[0].Category + "/" + view.Rows[0].Name
	}
	view.Reset = here
}

// search returns the rows that have each word of a query in their name, in order.
func (x *index) search(query, category string) []int {
	words := strings.Fields(strings.ToLower(query))
	found := make([]int, 0, len(x.rows))
rows:
	for i := range x.rows {
		r := &x.rows[i]
		if category != "" && r.category != category {
			continue
		}
		for _, word := range words {
			if !strings.Contains(r.fold, word) {
				continue rows
			}
		}
		found = append(found, i)
	}
	return found
}

// rowOrder is the order that ?sort= asks for, and the canonical word for it; nil is the order of
// the rows.
func rowOrder(x *index, sort string) (func(a, b int) int, string) {
	word, down := strings.CutPrefix(sort, "-")
	var by func(a, b int) int
	switch word {
	case "size":
		by = func(a, b int) int { return cmp.Compare(x.rows[a].size, x.rows[b].size) }
	case "built":
		by = func(a, b int) int { return cmp.Compare(x.rows[a].built, x.rows[b].built) }
	case "name":
		if !down {
			return nil, "name"
		}
		by = func(a, b int) int {
			return cmp.Or(strings.Compare(x.rows[a].category, x.rows[b].category),
				strings.Compare(x.rows[a].name, x.rows[b].name))
		}
	default:
		return nil, "name"
	}
	return direction(by, down), sort
}

func direction(by func(a, b int) int, down bool) func(a, b int) int {
	if !down {
		return by
	}
	return func(a, b int) int { return by(b, a) }
}

// columns turns the words in Href into the addresses that sort. Numbers and dates begin with the
// largest.
func columns(sort string, link func(sort, page string) string, list []column) []column {
	for i := range list {
		word := list[i].Href
		if word == "" {
			continue
		}
		next := word
		if word != "name" {
			next = "-" + word
		}
		switch sort {
		case word:
			list[i].Sorted, next = "ascending", "-"+word
		case "-" + word:
			list[i].Sorted, next = "descending", word
		}
		list[i].Href = link(next, "")
	}
	return list
}

// query is a query string of what is not empty.
func query(keep url.Values, more ...string) string {
	v := maps.Clone(keep)
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	maps.DeleteFunc(v, func(_ string, values []string) bool { return values[0] == "" })
	return "?" + v.Encode()
}

// window is the part of n rows that a page shows; pages are counted from 1.
func window(n int, page string) (from, to int) {
	number, err := strconv.Atoi(page)
	last := max((n-1)/PageRows, 0)
	if err != nil || number < 1 {
		number = 1
	}
	from = min(number-1, last) * PageRows
	return from, min(from+PageRows, n)
}

func newPager(from, to, n int, link func(page string) string) pager {
	p := pager{From: humanize.Comma(int64(min(from+1, n))), To: humanize.Comma(int64(to)),
		Total: humanize.Comma(int64(n))}
	page := from/PageRows + 1
	if from > 0 {
		p.Previous = link(strconv.Itoa(page - 1))
	}
	if to < n {
		p.Next = link(strconv.Itoa(page + 1))
	}
	return p
}

func (h *Handler) row(r *row, p place) rowView {
	e := r.entry
	v := rowView{Category: printable(r.category), Name: printable(r.name),
		Version: printable(r.version)}
	if _, ok := p.tree.index.paths[r.path]; ok {
		v.Href = h.href(path.Join(p.base, packagesDir, r.path))
	}
	if id, ok := e.BuildID(); ok {
		v.Build = strconv.FormatInt(id, 10)
	}
	if slot := e.Get("SLOT"); slot != "0" {
		v.Slot = printable(slot)
	}
	if repo := e.Get("REPO"); repo != "gentoo" {
		v.Repo = printable(repo)
	}
	v.Flags = flags(e.Get("USE"), e.Get("IUSE"))
	if len(v.Flags) > maxFlags+2 {
		v.Flags, v.More = v.Flags[:maxFlags], v.Flags[maxFlags:]
	}
	if size, ok := e.Size(); ok && size >= 0 {
		v.Size, v.SizeExact = fault.Size(size), humanize.Comma(size)+" bytes"
	}
	v.Built, v.BuiltExact = dates(unixTime(r.built))
	return v
}

func dates(t time.Time) (day, exact string) {
	if t.IsZero() {
		return "", ""
	}
	return t.UTC().Format("2006-01-02"), fault.Time(t)
}

// flags are the USE flags that are on among those that the package has. (USE also has those that
// every package has: amd64, elibc_glibc, ...)
func flags(use, iuse string) []string {
	known := map[string]bool{}
	for _, f := range fields(iuse) {
		known[strings.TrimLeft(f, "+-")] = true
	}
	var on []string
	for _, f := range fields(use) {
		if known[f] {
			on = append(on, printable(f))
		}
	}
	return on
}

func fields(list string) []string {
	words := strings.Fields(cut(list, maxText))
	return words[:min(len(words), maxList)]
}

// listingView is the page of a directory.
type listingView struct {
	frame
	Heading string
	Parent  string
	Columns []column
	Items   []itemView
	Query   string
	Sort    string
	Here    string
	Pager   pager
	Totals  string
	Search  bool
}

type itemView struct {
	Name, Href, Class string
	Size, SizeExact   string
	Date, DateExact   string
}

// listing is the page of a directory.
func (h *Handler) listing(r *http.Request, p place, items []item) (*page, error) {
	q := r.URL.Query()
	here := path.Join(p.base, p.kind, p.name)
	view := listingView{frame: h.frame("/"+here, p), Heading: "/" + printable(here) + "/",
		Parent: h.href(parent(here)), Query: cut(q.Get("q"), maxQuery),
		Here: h.href(here) + "/", Totals: totals(items), Search: len(items) > 20}
	if parent(here) != "" {
		view.Parent += "/"
	}
	found := matching(items, view.Query)
	view.Sort = sortItems(found, q.Get("sort"))
	link := func(sort, page string) string {
		return view.Here + query(url.Values{"q": {view.Query}}, "sort", sort, "page", page)
	}
	view.Columns = columns(view.Sort, link, []column{{Name: "Name", Class: "name", Href: "name"},
		{Name: "Size", Class: "size", Href: "size"},
		{Name: "Date", Class: "date", Href: "date"}})
	from, to := window(len(found), q.Get("page"))
	view.Pager = newPager(from, to, len(found), func(page string) string {
		return link(view.Sort, page)
	})
	for _, it := range found[from:to] {
		view.Items = append(view.Items, h.item(here, it))
	}
	return render(http.StatusOK, "listing.html", &view)
}

func (h *Handler) item(here string, it item) itemView {
	v := itemView{Name: printable(it.Name), Href: h.href(here + "/" + it.Name), Class: "file"}
	if it.Dir {
		v.Name, v.Href, v.Class = v.Name+"/", v.Href+"/", "dir"
		return v
	}
	v.Size, v.SizeExact = fault.Size(max(it.Size, 0)), humanize.Comma(it.Size)+" bytes"
	v.Date, v.DateExact = dates(it.Modified)
	return v
}

// matching returns a list of its own.
func matching(items []item, query string) []item {
	words := strings.Fields(strings.ToLower(query))
	found := make([]item, 0, len(items))
	for _, it := range items {
		name := strings.ToLower(it.Name)
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(name, w) }) {
			found = append(found, it)
		}
	}
	return found
}

// sortItems sorts by the value of ?sort=, directories first, and returns the canonical word for it.
func sortItems(items []item, sort string) string {
	word, down := strings.CutPrefix(sort, "-")
	by := func(a, b item) int { return strings.Compare(a.Name, b.Name) }
	switch word {
	case "size":
		by = func(a, b item) int { return cmp.Compare(a.Size, b.Size) }
	case "date":
		by = func(a, b item) int { return a.Modified.Compare(b.Modified) }
	case "name":
	default:
		sort, down = "name", false
	}
	slices.SortStableFunc(items, func(a, b item) int {
		if a.Dir != b.Dir {
			if a.Dir {
				return -1
			}
			return 1
		}
		if down {
			a, b = b, a
		}
		return cmp.Or(by(a, b), strings.Compare(a.Name, b.Name))
	})
	return sort
}

func totals(items []item) string {
	var dirs, files, size int64
	for _, it := range items {
		if it.Dir {
			dirs++
			continue
		}
		files++
		size += it.Size
	}
	var parts []string
	if dirs > 0 {
		parts = append(parts, plural(dirs, "directory", "directories"))
	}
	if files > 0 {
		parts = append(parts, plural(files, "file",
			"files")+", "+fault.Size(max(size, 0)))
	}
	return strings.Join(parts, " · ")
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(n) + " " + many
}

// errorPage answers people with a page and programs with a line.
func (h *Handler) errorPage(w *meter, r *http.Request, code int, text string) {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Error(w, text, code)
		return
	}
	view := struct {
		frame
		Code int
		Text string
	}{h.frame(http.StatusText(code), place{}), code, printable(text)}
	if err := h.page(w, r, func() (*page, error) {
		return render(code, "error.html", view)
	}); err != nil {
		h.problem(err)
	}
}

var (
	//go:embed pages/style.css
	styleCSS []byte
	//go:embed pages/icon.svg
	iconSVG []byte
)

// assets are the files that belong to the pages.
var assets = map[string]assetFile{
	"style.css": newAsset("text/css; charset=utf-8", styleCSS),
	"icon.svg":  newAsset("image/svg+xml", iconSVG),
}

type assetFile struct {
	kind, etag string
	data       []byte
}

func newAsset(kind string, data []byte) assetFile {
	sum := digest.Bytes(data)
	return assetFile{kind, digest.Hex(sum[:6]), data}
}

func asset(w *meter, r *http.Request, name string) error {
	a := assets[name]
	head := w.Header()
	head.Set("Content-Type", a.kind)
	head.Set("Etag", strconv.Quote(a.etag))
	head.Set("Cache-Control", "max-age=86400")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.data))
	return nil
}

// printable makes a text of others fit to be shown: nothing invisible, nothing that turns the
// direction of reading, no end without one. html/template escapes it.
func printable(s string) string { return printableText(s, maxShown) }

func printableText(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, c := range s {
		if n++; n > most {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(c) {
			c = utf8.RuneError
		}
		b.WriteRune(c)
	}
	return b.String()
}

// cut shortens a text to n bytes.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}
