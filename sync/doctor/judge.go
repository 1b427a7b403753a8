package doctor

import (
	"path"
	"strconv"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/pkgindex"
)

// judge judges packages by the rules of an import and of emerge.
type judge struct {
	*forecast.Judge
	machine *forecast.Machine
}

// judged reads this machine for judgements, once.
func (e *facts) judged() (*judge, error) {
	if e.judge == nil && e.judgeErr == nil {
		m, err := forecast.ReadMachine(e.s, e.o.CPUInfo)
		if err != nil {
			e.judgeErr = err
		} else {
			e.judge = &judge{forecast.NewJudge(m, forecast.GateOptions{}), m}
		}
	}
	return e.judge, e.judgeErr
}

// unreadable are packages that the installed Portage cannot read.
type unreadable struct {
	eapi, gpkg []string
	newest     int // EAPI
}

func (j *judge) unreadable(entries []pkgindex.Entry) (u unreadable) {
	for _, entry := range entries {
		if j.Readable(&forecast.Candidate{Entry: entry}).Kind == 0 {
			continue
		}
		if format, _ := binpkg.FormatOf(path.Base(entry.Path())); j.machine.NoGPKG &&
			format == binpkg.GPKG {
			u.gpkg = append(u.gpkg, entry.CPV())
			continue
		}
		u.eapi = append(u.eapi, entry.CPV())
		if n, err := strconv.Atoi(entry.Get("EAPI")); err == nil {
			u.newest = max(u.newest, n)
		}
	}
	return u
}

// eapiFinding reports what is to be done about packages of a newer EAPI; where is whose they are.
func (u *unreadable) eapiFinding(where string) Finding {
	return Finding{Topic: "eapi", Weight: Broken, Role: Client, Names: u.eapi,
		What: plural(len(u.eapi), "package") + " of " + where +
			" with an EAPI that this machine's Portage does not know (" +
			strconv.Itoa(u.newest) + ")",
		Why: "emerge masks them until Portage itself is newer",
		Fix: []Fix{run("emerge -1auK sys-apps/portage")}}
}

// formatFinding reports what is to be done about GPKG packages that cannot be read.
func (u *unreadable) formatFinding(where string) Finding {
	return Finding{Topic: "format", Weight: Broken, Role: Client, Names: u.gpkg,
		What: plural(len(u.gpkg), "package") + " of " + where +
			" in the GPKG format, which this machine's Portage cannot read",
		Why: "there is no portage/gpkg.py here (Portage 3.0.31 and later have it): emerge drops such packages from the index",
		Fix: []Fix{{Do: "install a newer Portage here, or on the host, in make.conf, and build the packages again", Lines: []string{assign("BINPKG_FORMAT", "xpak")}}}}
}
