package forecast

// Document is a forecast for programs.
type Document struct {
	OK      bool   `json:"ok"` // emerge ends well under the line
	Trouble string `json:"trouble,omitempty"`
	// it took too long: nothing is told of packages, and the line only shows
	GaveUp    bool           `json:"gave_up,omitempty"`
	Installed int            `json:"installed"`
	Packages  int            `json:"packages"` // candidates
	Updates   int            `json:"updates"`
	Rebuilds  int            `json:"rebuilds"`
	New       int            `json:"new"`
	Removed   int            `json:"removed,omitempty"`
	Growth    int64          `json:"growth"`                   // bytes on disk
	Unknown   int            `json:"growth_unknown,omitempty"` // merges of unknown size
	Merges    []DocMerge     `json:"merges"`
	Cannot    []DocLack      `json:"cannot"`
	Older     []DocOlder     `json:"older"`
	OtherUse  []DocUse       `json:"other_use"`
	Unusable  map[string]int `json:"unusable,omitempty"`
	Missing   []string       `json:"missing"`
	Orphans   int            `json:"orphans,omitempty"`
	Compile   []DocCompile   `json:"compile"`                // what could be compiled here
	Compiles  string         `json:"compile_line,omitempty"` // the line that does it
	// with these, installed, it would go back
	Back     []string      `json:"compile_back"`
	Security []DocAdvisory `json:"security"`
	News     int           `json:"news"`
	Exclude  []string      `json:"exclude"`
	File     string        `json:"exclude_file,omitempty"`
	Before   []DocStep     `json:"before"`
	Line     string        `json:"line,omitempty"`
	After    []DocStep     `json:"after"`
	Problems []string      `json:"problems"`
}

// The parts of a Document.
type (
	DocMerge struct {
		Name  string `json:"name"`
		Build string `json:"build_id,omitempty"`
		Kind  string `json:"kind"`
		Old   string `json:"old,omitempty"`
		For   string `json:"for,omitempty"`
		Grow  *int64 `json:"grow,omitempty"` // bytes; absent: not known
	}
	DocLack struct {
		Name  string `json:"name"`
		Cause string `json:"cause"`
		Why   string `json:"reason"`
		Line  string `json:"line,omitempty"`
		Atom  string `json:"atom,omitempty"`
		Other string `json:"other,omitempty"`
	}
	DocOlder struct {
		Name      string `json:"name"`
		Installed string `json:"installed"`
	}
	DocCompile struct {
		Name  string   `json:"name"`
		For   string   `json:"for"`   // the atom
		Lacks []string `json:"lacks"` // distfiles
	}
	DocUse struct {
		Name  string   `json:"name"`
		Flags []string `json:"flags"`
	}
	DocAdvisory struct {
		ID       string   `json:"id"`
		Title    string   `json:"title"`
		Packages []string `json:"packages"`
	}
	DocStep struct {
		Line string `json:"line,omitempty"`
		Why  string `json:"why"`
	}
)

// Reason is why a step is to be made, with sizes in bytes.
func (d *Document) Reason(s Step) string {
	o := TextOptions{}
	return o.sizes(s.Why)
}

// Document makes it. file is where the names to exclude are, "" if they stand in the line.
func (f *Forecast) Document(file string) *Document {
	c := f.counts()
	d := &Document{OK: f.OK, Trouble: f.Trouble, GaveUp: f.GaveUp, Installed: f.Installed,
		Packages: f.Candidates, Updates: c.Updates, Rebuilds: c.Rebuilds, New: c.New,
		Removed: c.Removed,
		Growth:  f.Growth, Unknown: f.Unknown, Merges: []DocMerge{}, Cannot: []DocLack{},
		Older: []DocOlder{}, OtherUse: []DocUse{}, Security: []DocAdvisory{},
		Missing: f.Missing, Orphans: f.Orphans, News: f.News, Exclude: append([]string{},
			f.Exclude...), File: file, Before: []DocStep{}, After: []DocStep{},
		Line: f.Line(file), Problems: f.Problem}
	for _, x := range f.Merges {
		m := DocMerge{Name: x.Name, Build: x.Build, Kind: x.Kind, Old: x.Old, For: x.For}
		if x.Known {
			m.Grow = &x.Grow
		}
		d.Merges = append(d.Merges, m)
	}
	for _, x := range f.Cannot {
		d.Cannot = append(d.Cannot, DocLack(x))
	}
	d.Compiles, _, _ = f.compiles()
	d.Back = f.CompileBack
	for _, x := range f.Compile {
		d.Compile = append(d.Compile, DocCompile(x))
	}
	for _, x := range f.Older {
		d.Older = append(d.Older, DocOlder(x))
	}
	for _, x := range f.OtherUse {
		d.OtherUse = append(d.OtherUse, DocUse(x))
	}
	for _, x := range f.Security {
		d.Security = append(d.Security, DocAdvisory(x))
	}
	o := TextOptions{}
	for _, s := range f.Before {
		d.Before = append(d.Before, DocStep{s.Line, o.sizes(s.Why)})
	}
	for _, s := range f.After {
		d.After = append(d.After, DocStep(s))
	}
	d.Unusable = KindNames(f.Unusable)
	return d
}
