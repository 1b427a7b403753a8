package layout

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"pkgsneak/manifest"
)

// ArchiveSuffix ends the name of a packed ebuild repository: repos/NAME-N.tar.zst.
const ArchiveSuffix = ".tar.zst"

// Limits of an ebuild repository that is carried. Gentoo's has 120,000 files of 250 MiB.
const (
	MaxRepoName    = 100
	MaxTreeEntries = 500_000 // files and directories
	MaxTreeBytes   = 4 << 30 // of the files in it
	MaxArchive     = 2 << 30 // bytes packed
	maxMasters     = 100
)

// Tree is an ebuild repository as a drive carries it: one file, which package ebuilds packs and unpacks.
type Tree struct {
	File      string    `json:"file"`               // below repos
	Bytes     int64     `json:"bytes"`              // of all files in it, unpacked
	Count     int       `json:"count"`              // files and directories
	Digest    string    `json:"digest"`             // of names and contents, whatever their times: BLAKE2B-512 in hex
	Revision  string    `json:"revision,omitempty"` // of the tree that was packed
	Timestamp time.Time `json:"timestamp,omitzero"` // of the tree that was packed
	Masters   []string  `json:"masters,omitempty"`  // repositories on which it stands
	HasCache  bool      `json:"has_cache"`          // it has metadata/md5-cache
	EAPI      string    `json:"eapi,omitempty"`     // the highest of its profiles
}

// fault says what is wrong with what a record says of a tree, "" if nothing is.
func (t *Tree) fault(name string) string {
	if t == nil {
		return ""
	}
	if reason := CheckRepoName(name); reason != "" {
		return fmt.Sprintf("the repository %q: %s", name, reason)
	}
	reason := CheckArchive(t.File)
	switch {
	case reason != "":
	case !strings.HasPrefix(t.File, name+"-"):
		reason = fmt.Sprintf("its file is %q", t.File)
	case t.Bytes < 0 || t.Bytes > MaxTreeBytes || t.Count < 0 || t.Count > MaxTreeEntries:
		reason = fmt.Sprintf("%d entries of %d bytes", t.Count, t.Bytes)
	case len(t.Masters) > maxMasters:
		reason = fmt.Sprintf("more than %d masters", maxMasters)
	default:
		if _, err := manifest.ParseDigest(t.Digest); err != nil {
			reason = err.Error()
		}
	}
	for _, master := range t.Masters {
		if reason == "" && CheckRepoName(master) != "" {
			reason = fmt.Sprintf("its master %q: %s", master, CheckRepoName(master))
		}
	}
	if reason == "" {
		reason = textFault(t.Revision + t.EAPI)
	}
	if reason == "" {
		return ""
	}
	return fmt.Sprintf("the repository %q: %s", name, reason)
}

// CheckRepoName says why a repository of that name cannot be carried, "" if it can: PMS 3.1.5 allows
// letters, digits, hyphens and underscores.
func CheckRepoName(name string) string {
	switch {
	case name == "" || len(name) > MaxRepoName:
		return fmt.Sprintf("its name is empty or longer than %d bytes", MaxRepoName)
	case name[0] == '-' || strings.ContainsFunc(name, notInRepoName):
		return "its name has other characters than letters, digits, hyphens and underscores"
	case nameFault(name) != "":
		return nameFault(name)
	}
	return ""
}

const repoNameBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

func notInRepoName(r rune) bool { return !strings.ContainsRune(repoNameBytes, r) }

// ArchiveName is the name of a packed repository below repos. n only has to be another one each time.
func ArchiveName(name string, n int64) string {
	return name + "-" + strconv.FormatInt(n, 10) + ArchiveSuffix
}

// CheckArchive says why a name below repos is not one of ArchiveName, "" if it is.
func CheckArchive(name string) string {
	stem, ok := strings.CutSuffix(name, ArchiveSuffix)
	repo, digits, found := cutLast(stem, "-")
	switch {
	case !ok || !found || !allDigits(digits) || len(digits) > 19:
		return fmt.Sprintf("%q is no name of a packed repository", name)
	case CheckRepoName(repo) != "":
		return fmt.Sprintf("%q: %s", name, CheckRepoName(repo))
	}
	return ""
}
