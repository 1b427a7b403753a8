package forecast

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"pkgsneak/sync/cpu"
	"pkgsneak/sync/cpv"
	"pkgsneak/sync/depend"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/resolve"
	"pkgsneak/sync/volume"
)

// Machine is what a forecast asks this machine for: plain data.
type Machine struct {
	ARCH, CHOST string
	Profile     string // below its repository
	Portage     string // version of the installed sys-apps/portage, "" if unknown
	EAPI        int    // the highest that it reads, 0 if unknown
	// NoGPKG means that an installed Portage was found that cannot read GPKG packages.
	NoGPKG bool
	CPU    map[string]bool // features, as Linux names them; nil: not known
	// SplitUsr means that /bin is a directory of its own, and MergedUsr that it is a link; neither
	// where it is not there.
	SplitUsr, MergedUsr bool

	Installed          []resolve.Package // Installed: bytes on disk
	World              []depend.Atom
	Sets               map[string][]depend.Atom
	System, ProfileSet []depend.Atom
	Provided           []string
	RootFree           int64 // bytes for new files on the file system of /usr, -1 if unknown
	TmpFree            int64 // in PORTAGE_TMPDIR, -1 if unknown
	TmpDir             string
	SignedOnly         bool // FEATURES has binpkg-request-signature
	DefaultOpts        string
	MakeConf           string   // where a line for make.conf belongs
	Problems           []string // what could not be read, a line each
	settings           *portage.Settings
	// where a line for package.accept_keywords and its kin belongs
	files           map[string]string
	masks           portage.Masks
	licenses        map[string][]string
	implicit        map[string]bool
	appliedAdvisory map[string]bool
}

// recordKeys are the files of a record in /var/db/pkg that count.
var recordKeys = []string{"SLOT", "USE", "IUSE", "EAPI", "RDEPEND", "PDEPEND", "IDEPEND",
	"BUILD_TIME", "BUILD_ID", "KEYWORDS",
	"LICENSE", "PROVIDES", "REQUIRES", "repository", "CHOST", "SIZE"}

// ReadMachine reads it from this machine's files. cpuinfo is /proc/cpuinfo, nil if it cannot be
// had. The error is that the database of installed packages cannot be read; everything else that is
// wrong is in Problems.
func ReadMachine(s *portage.Settings, cpuinfo []byte) (*Machine, error) {
	m := ReadGates(s, cpuinfo)
	if err := m.readInstalled(); err != nil {
		return nil, err
	}
	m.readSets()
	m.readPlaces()
	return m, nil
}

// ReadGates reads as much of the machine as a Judge needs: nothing of what is installed.
func ReadGates(s *portage.Settings, cpuinfo []byte) *Machine {
	chost, _ := s.CHOST()
	m := &Machine{ARCH: s.ARCH(), CHOST: chost, Profile: s.ProfileName(), CPU: cpu.Read(cpuinfo),
		settings: s, RootFree: -1, TmpFree: -1,
		DefaultOpts: s.Get("EMERGE_DEFAULT_OPTS"), MakeConf: s.MakeConf(),
		masks:    s.Masks(),
		licenses: s.LicenseGroups(), implicit: ImplicitFlags(s),
		appliedAdvisory: s.AppliedAdvisories(), files: map[string]string{}}
	m.EAPI, _ = s.PortageEAPI()
	reads, known := s.ReadsGPKG()
	m.NoGPKG = known && !reads
	m.SignedOnly, _ = s.HasFeature("binpkg-request-signature")
	for _, f := range []string{"package.accept_keywords", "package.license", "package.unmask"} {
		m.files[f] = s.UserFile(f)
	}
	for _, p := range m.masks.Problems {
		m.Problems = append(m.Problems, p.String())
	}
	m.SplitUsr, m.MergedUsr = s.UsrLayout()
	return m
}

func (m *Machine) readInstalled() error {
	records, problems, err := m.settings.Records(recordKeys...)
	if err != nil {
		return err
	}
	for _, p := range problems {
		m.Problems = append(m.Problems, p.String())
	}
	for _, r := range records {
		p := resolve.FromKeys(func(key string) string {
			switch key {
			case "CPV":
				return r.CPV()
			case "REPO":
				return r.Get("repository")
			}
			return r.Get(key)
		})
		p.Installed, p.Size = p.Size, 0 // SIZE of a record is what the files take
		if why := flaw(&p); why != "" {
			m.Problems = append(m.Problems, fmt.Sprintf("installed package %q: %s", p.CPV, why))
			continue
		}
		if c, err := cpv.Parse(p.CPV); err == nil && c.Category == "sys-apps" && c.PN == "portage" {
			m.Portage = c.Version
		}
		m.Installed = append(m.Installed, p)
	}
	return nil
}

// flaw reports why a package is none that can be looked at, "" if it is.
func flaw(p *resolve.Package) string {
	c, err := cpv.Parse(p.CPV)
	if err != nil {
		return "not a name of a package"
	}
	if p.Slot != "" {
		a, err := depend.ParseAtom(c.Category + "/" + c.PN + ":" + p.Slot)
		if err != nil || a.Slot != p.Slot || a.Sub != "" {
			return fmt.Sprintf("%q is no slot", p.Slot)
		}
	}
	for _, s := range [...]string{p.CPV, p.Slot, p.Sub, p.Use, p.IUse, p.EAPI, p.RDepend, p.PDepend,
		p.IDepend, p.BuildID, p.Repo, p.Provides, p.Requires,
		p.Keywords, p.License, p.CHOST} {
		if len(s) > resolve.MaxString {
			return fmt.Sprintf("a value of more than %d bytes", resolve.MaxString)
		}
	}
	return ""
}

func (m *Machine) readSets() {
	sets := m.settings.Sets()
	for _, p := range sets.Problems {
		m.Problems = append(m.Problems, p.String())
	}
	m.World = m.atoms("world", sets.World)
	m.System, m.ProfileSet = m.atoms("@system", sets.System), m.atoms("@profile", sets.Profile)
	m.Sets = make(map[string][]depend.Atom)
	for name, list := range sets.User {
		m.Sets[name] = m.atoms("@"+name, list)
	}
	for _, p := range sets.Provided {
		if _, err := cpv.Parse(p); err != nil {
			m.Problems = append(m.Problems,
				fmt.Sprintf("package.provided: %q is no name of a package", p))
			continue
		}
		m.Provided = append(m.Provided, p)
	}
}

// atoms reads the atoms of a set; what is none is told and passed over, as emerge does.
func (m *Machine) atoms(set string, lines []string) []depend.Atom {
	var list []depend.Atom
	for _, line := range lines {
		a, err := depend.ParseAtom(line)
		if err != nil || a.Block != 0 {
			m.Problems = append(m.Problems, fmt.Sprintf("%s: %q is no atom", set, line))
			continue
		}
		list = append(list, a)
	}
	return list
}

// readPlaces looks at the room for what will be installed.
func (m *Machine) readPlaces() {
	s := m.settings
	root := volume.Existing(s.HostPath(path.Join("/", s.Get("EROOT"), "usr")))
	m.TmpDir = s.Get("PORTAGE_TMPDIR")
	if m.TmpDir == "" {
		m.TmpDir = "/var/tmp"
	}
	if space, err := volume.SpaceAt(root); err == nil {
		m.RootFree = space.Free
	}
	if space, err := volume.SpaceAt(volume.Existing(s.HostPath(m.TmpDir))); err == nil {
		m.TmpFree = space.Free
	}
}

// ImplicitFlags are the flags that packages have without naming them: Portage's IUSE_EFFECTIVE.
func ImplicitFlags(s *portage.Settings) map[string]bool {
	flags := wordSet(s.Get("IUSE_IMPLICIT"))
	implicit := strings.Fields(s.Get("USE_EXPAND_IMPLICIT"))
	unprefixed, expand := strings.Fields(s.Get("USE_EXPAND_UNPREFIXED")),
		strings.Fields(s.Get("USE_EXPAND"))
	for _, v := range implicit {
		for w := range strings.FieldsSeq(s.Get("USE_EXPAND_VALUES_" + v)) {
			if slices.Contains(unprefixed, v) {
				flags[w] = true
			}
			if slices.Contains(expand, v) {
				flags[strings.ToLower(v)+"_"+w] = true
			}
		}
	}
	return flags
}

// userFile is where a line for one of Portage's files package.* belongs.
func (m *Machine) userFile(name string) string {
	if f := m.files[name]; f != "" {
		return f
	}
	return path.Join("/etc/portage", name)
}
