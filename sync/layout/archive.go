package layout

import (
	"fmt"
	"strconv"
	"strings"
	"time"
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

// Tree is an ebuild repository as a drive carries it: one file, which package ebuilds packs and
// unpacks.
type Tree struct {
	File  string `json:"file"`  // below repos
	Bytes int64  `json:"bytes"` // of all files in it, unpacked
	Count int    `json:"count"` // files and directories
	// of names and contents, whatever their times: BLAKE2B-512 in hex
	Digest    string    `json:"digest"`
	Revision  string    `json:"revision,omitempty"` // of the tree that was packed
	Timestamp time.Time `json:"timestamp,omitzero"` // of the tree that was packed
	Masters   []string  `json:"masters,omitempty"`  // repositories on which it stands
	HasCache  bool      `json:"has_cache"`          // it has metadata/md5-cache
	EAPI      string    `json:"eapi,omitempty"`     // the highest of its profiles
}

// CheckRepoName reports why a repository of that name cannot be carried, "" if it can: PMS 3.1.5
// allows letters, digits, hyphens and underscores.
func CheckRepoName(name string) string {
	switch {
	case name == "" || len(name) > MaxRepoName:
		return fmt.Sprintf("its name is empty or longer than %d bytes", MaxRepoName)
	case name[0] == '-' || strings.ContainsFunc(name, notInRepoName):
		return "its name has other characters than letters, digits, hyphens and underscores"
	}
	return ""
}

const repoNameBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

func notInRepoName(r rune) bool { return !strings.ContainsRune(repoNameBytes, r) }

// ArchiveName is the name of a packed repository below repos. n only has to be another one each
// time.
func ArchiveName(name string, n int64) string {
	return name + "-" + strconv.FormatInt(n, 10) + ArchiveSuffix
}

// CheckArchive reports why a name below repos is not one of ArchiveName, "" if it is.
func CheckArchive(name string) string {
	stem, ok := strings.CutSuffix(name, ArchiveSuffix)
	cut := max(strings.LastIndexByte(stem, '-'), 0)
	repo, digits := stem[:cut], strings.TrimPrefix(stem[cut:], "-")
	switch {
	case !ok || digits == "" || len(digits) > 19 || strings.Trim(digits, "0123456789") != "":
		return fmt.Sprintf("%q is no name of a packed repository", name)
	case CheckRepoName(repo) != "":
		return fmt.Sprintf("%q: %s", name, CheckRepoName(repo))
	}
	return ""
}
