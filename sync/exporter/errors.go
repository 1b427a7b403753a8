package exporter

import (
	"fmt"

	"pkgsneak/manifest"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
)

// RenewedError reports that the origin of a name goes on under another one.
type RenewedError struct {
	Name, Now string
}

func (e *RenewedError) Error() string {
	return fmt.Sprintf("origin %q was renewed, and goes on as %q", e.Name, e.Now)
}

// Class is that of no particular error.
func (e *RenewedError) Class() fault.Class { return fault.Failed }

// Hints name the flag, and the variable that may have set it.
func (e *RenewedError) Hints(drive string) []string {
	return []string{fmt.Sprintf("without --name %s, and without it in PKGSNEAK_NAME and /etc/conf.d/pkgsneak: pkgsneak export %s --name %s", fault.Quote(e.Name), drive, fault.Quote(e.Now))}
}

// NothingError reports that neither PKGDIR nor DISTDIR holds anything that could be exported, that
// no ebuild repository is to be carried, and that the drive has no generation yet.
type NothingError struct {
	Notices []string // why that may be, and what to do
	For     string   // the client that the drive is for, "" for all
	// InTransit: all that clients lack is on its way on other drives.
	InTransit bool
}

func (e *NothingError) Error() string {
	switch {
	case e.InTransit:
		return "all that clients lack is on its way on other drives"
	case e.For != "":
		return fmt.Sprintf("there is nothing that %q is known to need and this machine has", e.For)
	}
	return "there is nothing to export"
}

// Class is that of a machine that has nothing to export.
func (e *NothingError) Class() fault.Class { return fault.Nothing }

// Hints are the reasons, with what to do.
func (e *NothingError) Hints(drive string) []string {
	switch {
	case e.InTransit:
		again := "to carry it all the same: pkgsneak export " + drive + " --again"
		if e.For != "" {
			again += " --for " + fault.Quote(e.For)
		}
		return append([]string{again}, e.Notices...)
	case e.For == "":
		return e.Notices
	}
	return append([]string{"what it has and lacks, if it has asked: pkgsneak clients " +
		fault.Quote(e.For), "what this machine has: pkgsneak export " + drive}, e.Notices...)
}

// ShrinkError reports that the host lost so many files that taking it for a deletion would be
// reckless.
type ShrinkError struct {
	Kind          payload.Kind
	Dir           string
	Before, After int // files on the drive and on the host
}

func (e *ShrinkError) Error() string {
	return fmt.Sprintf("%q holds %d %ss, and the drive has %d of them: not taken for a deletion",
		e.Dir, e.After, e.Kind, e.Before)
}

// Class is that of no particular error.
func (e *ShrinkError) Class() fault.Class { return fault.Failed }

// Hints name the directory to look at.
func (e *ShrinkError) Hints(string) []string {
	return []string{fmt.Sprintf("look at %s; if the files are meant to be gone: --allow-shrink",
		fault.Quote(e.Dir))}
}

// NameTakenError reports that an origin's name stands for another PKGDIR of this machine.
type NameTakenError struct {
	Name         string
	PKGDIR, Have string // the one to be exported, the one that has the name
}

func (e *NameTakenError) Error() string {
	return fmt.Sprintf("origin %q exports %q, not %q", e.Name, e.Have, e.PKGDIR)
}

// Class is that of no particular error.
func (e *NameTakenError) Class() fault.Class { return fault.Failed }

// Hints name the flag.
func (e *NameTakenError) Hints(drive string) []string {
	return []string{fmt.Sprintf("give this PKGDIR a name of its own: pkgsneak export %s --name NAME", drive)}
}

// KeyEndedError reports that the signing key cannot sign the next generation: it has expired, or is
// revoked.
type KeyEndedError struct {
	Key  manifest.Fingerprint
	File string // the private key
	Err  error
}

func (e *KeyEndedError) Error() string { return "export: " + e.Err.Error() }

// Unwrap gives the reason.
func (e *KeyEndedError) Unwrap() error { return e.Err }

// Class is that of a key that nobody believes.
func (e *KeyEndedError) Class() fault.Class { return fault.Untrusted }

// Hints name the ways to a key that signs.
func (e *KeyEndedError) Hints(string) []string {
	return []string{
		fmt.Sprintf("a key that has expired is prolonged so: gpg --import %s; gpg --quick-set-expire %s 2y; gpg --armor --export-secret-keys %s >FILE; pkgsneak key import FILE",
			fault.Quote(e.File), e.Key, e.Key),
		"else a new one takes its place: pkgsneak key rotate",
	}
}

// CatalogueSizeError reports that the origin has more packages than one index can name.
type CatalogueSizeError struct {
	Packages int
	Err      error
}

func (e *CatalogueSizeError) Error() string {
	return fmt.Sprintf("the index of %d packages cannot be written: %v", e.Packages, e.Err)
}

// Unwrap gives the limit.
func (e *CatalogueSizeError) Unwrap() error { return e.Err }

// Class is that of no particular error.
func (e *CatalogueSizeError) Class() fault.Class { return fault.Failed }

// Hints tell how there are fewer.
func (e *CatalogueSizeError) Hints(string) []string {
	return []string{"remove packages that nobody needs: eclean-pkg; or divide PKGDIR into several: --pkgdir DIR --name NAME"}
}
