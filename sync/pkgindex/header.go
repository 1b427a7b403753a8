package pkgindex

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Header is the first block of an index: keys and values, with any keys. The zero value is empty
// and ready to use. A copy shares its content with the original, as maps do; Clone does not. Keys
// are named as in the file: REPO, not repository.
type Header struct {
	values map[string]string // by the names in the file; no empty values
}

// Get returns the value of key, "" if there is none.
func (h Header) Get(key string) string { return h.values[diskName(key)] }

// Set sets the value of key; an empty value deletes the key. Whether key and value can stand in an
// index is for Write to check.
func (h *Header) Set(key, value string) {
	key = diskName(key)
	if key == "CHOST" || key == "REPO" {
		value = trimBlanks(value)
	}
	if value == "" {
		delete(h.values, key)
		return
	}
	if h.values == nil {
		h.values = make(map[string]string)
	}
	h.values[key] = value
}

// Delete removes key.
func (h Header) Delete(key string) { delete(h.values, diskName(key)) }

// Keys returns the keys in the order of the file.
func (h Header) Keys() []string {
	return slices.SortedFunc(maps.Keys(h.values), func(a, b string) int {
		return strings.Compare(memoryName(a), memoryName(b))
	})
}

// Clone returns a copy of its own.
func (h Header) Clone() Header { return Header{values: maps.Clone(h.values)} }

// Supported reports whether Portage reads an index with this header: it counts one whose VERSION is
// not 0 as empty.
func (h Header) Supported() bool {
	n, ok := parseInt(h.Get("VERSION"))
	return ok && n <= 0
}

// Same reports whether two headers are the same, but for TIMESTAMP and PACKAGES.
func (h Header) Same(o Header) bool {
	h, o = h.Clone(), o.Clone()
	for _, c := range []Header{h, o} {
		c.Delete("TIMESTAMP")
		c.Delete("PACKAGES")
	}
	return maps.Equal(h.values, o.values)
}

// check refuses what could not be read back.
func (h Header) check() error {
	size := 0
	for key, value := range h.values {
		if key == "" || strings.Contains(key, ":") || trimBlanks(key) != key || !isText(key) {
			return &ValueError{Key: strconv.Quote(key), Value: value, Reason: "not a key"}
		}
		if !isText(value) {
			return &ValueError{Key: key, Value: value,
				Reason: "has control characters or is no UTF-8"}
		}
		n := lineLen(key, value)
		if n > MaxLine {
			return &ValueError{Key: key, Value: value, Reason: "too long"}
		}
		if size += n; size > MaxBlock {
			return &ValueError{Key: key, Value: value, Reason: "the header is too long with it"}
		}
	}
	return nil
}

// FreshHeader returns the header for a new index of a client whose packages come from an origin:
// the origin's, so that its USE and profile can be seen, without what would send Portage elsewhere
// (URI), delay it (TTL), speak of the origin's own builds (REPO_REVISIONS) or mask packages
// (CHOST), and without the writer's TIMESTAMP and PACKAGES.
func FreshHeader(origin Header) Header {
	h := origin.Clone()
	for _, key := range []string{"URI", "TTL", "REPO_REVISIONS", "CHOST", "DOWNLOAD_TIMESTAMP",
		"TIMESTAMP", "PACKAGES"} {
		h.Delete(key)
	}
	h.Set("VERSION", Version)
	return h
}

// headerVariables are the settings that Portage copies into a header.
var headerVariables = [...]string{
	"ACCEPT_KEYWORDS", "ACCEPT_LICENSE", "ACCEPT_PROPERTIES", "ACCEPT_RESTRICT", "CBUILD",
	"CONFIG_PROTECT", "CONFIG_PROTECT_MASK",
	"FEATURES", "GENTOO_MIRRORS", "INSTALL_MASK", "IUSE_IMPLICIT", "USE", "USE_EXPAND",
	"USE_EXPAND_HIDDEN",
	"USE_EXPAND_IMPLICIT", "USE_EXPAND_UNPREFIXED",
}

// UpdateHeader returns h as Portage brings it up to date when it writes an index: get gives the
// machine's settings ("" for none), profile the name of its profile below profiles/ or its path
// elsewhere. Without a profile, or where IUSE_IMPLICIT is not set, h only gets VERSION. CHOST is
// set if h has none. Other keys stay; a setting that is empty removes its key. Line breaks and
// control characters in a setting become blanks.
func UpdateHeader(h Header, get func(key string) string, profile string) Header {
	h = h.Clone()
	if h.Get("CHOST") == "" {
		h.Set("CHOST", oneLine(get("CHOST")))
	}
	if profile == "" || get("IUSE_IMPLICIT") == "" {
		if h.Get("VERSION") == "" {
			h.Set("VERSION", Version)
		}
		return h
	}
	h.Set("PROFILE", oneLine(profile))
	h.Set("VERSION", Version)
	h.Set("URI", oneLine(get("PORTAGE_BINHOST_HEADER_URI")))
	h.Set("TTL", oneLine(get("PORTAGE_BINHOST_TTL")))
	implicit := strings.Fields(get("USE_EXPAND_IMPLICIT"))
	for _, keys := range [][]string{headerVariables[:], implicit,
		strings.Fields(get("USE_EXPAND_UNPREFIXED"))} {
		for _, key := range keys {
			h.Set(key, oneLine(get(key)))
		}
	}
	for _, key := range implicit {
		key = "USE_EXPAND_VALUES_" + key
		h.Set(key, oneLine(get(key)))
	}
	return h
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
