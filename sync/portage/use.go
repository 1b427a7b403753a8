package portage

import (
	"maps"
	"slices"
	"strings"
)

// defaultUseOrder is the order of USE's sources, highest first, where make.globals does not set it.
const defaultUseOrder = "env:pkg:conf:defaults:pkginternal:features:repo:env.d"

// useState is the computation of USE, and of the variables that are expanded into it.
type useState struct {
	expand     []string // USE_EXPAND
	unprefixed []string // USE_EXPAND_UNPREFIXED
	on         map[string]bool
}

// use computes USE as Portage does for no package in particular: USE and the USE_EXPAND variables
// of each source in USE_ORDER, then use.force and ARCH, without use.mask; the USE_EXPAND variables
// then hold the flags of USE.
func (t *stacker) use() {
	u := &useState{
		expand:     strings.Fields(t.values["USE_EXPAND"]),
		unprefixed: strings.Fields(t.values["USE_EXPAND_UNPREFIXED"]),
		on:         map[string]bool{},
	}
	order, ok := t.values["USE_ORDER"]
	if !ok {
		order = defaultUseOrder
		t.values["USE_ORDER"] = order
	}
	sources := strings.Split(order, ":")
	slices.Reverse(sources)
	for _, name := range sources {
		switch name {
		case "env":
			u.apply(t.layers.environ.values, false)
		case "conf":
			u.apply(t.layers.conf.values, false)
		case "defaults":
			defaults := maps.Clone(t.layers.defaults.values)
			defaults["USE"] = t.profileUse(u)
			u.apply(defaults, true)
		case "features":
			if t.testing() {
				u.on["test"] = true
			}
		case "env.d":
			u.apply(t.layers.envd.values, false)
		case "globals":
			u.apply(t.layers.globals.values, false)
		}
	}
	for f := range t.profile.forced {
		u.on[f] = true
	}
	if arch := t.layers.defaults.values["ARCH"]; arch != "" {
		u.on[arch] = true
	}
	for f := range t.profile.masked {
		delete(u.on, f)
	}
	t.useResult(u)
}

func (t *stacker) testing() bool {
	return slices.Contains(strings.Fields(t.values["FEATURES"]), "test")
}

// profileUse turns the make.defaults of the chain into flags, each with its USE_EXPAND variables,
// so that a child's "-flag" takes away what a parent's variable gave.
func (t *stacker) profileUse(u *useState) string {
	var all []string
	for _, values := range t.profile.defaults {
		for _, k := range u.unprefixed {
			all = append(all, strings.Fields(values[k])...)
		}
		for _, k := range u.expand {
			if _, set := t.values[k]; !set {
				continue
			}
			prefix := strings.ToLower(k) + "_"
			for _, w := range strings.Fields(values[k]) {
				if off, isOff := strings.CutPrefix(w, "-"); isOff {
					all = append(all, "-"+prefix+off)
				} else {
					all = append(all, prefix+w)
				}
			}
		}
		all = append(all, strings.Fields(values["USE"])...)
	}
	return strings.Join(all, " ")
}

// apply adds one source. If the source is the profile, its USE_EXPAND variables are in its USE
// already.
func (u *useState) apply(values map[string]string, profile bool) {
	for _, k := range u.unprefixed {
		for _, w := range strings.Fields(values[k]) {
			if off, isOff := strings.CutPrefix(w, "-"); isOff {
				delete(u.on, off)
			} else {
				u.on[w] = true
			}
		}
	}
	for _, w := range strings.Fields(values["USE"]) {
		u.flag(strings.TrimPrefix(w, "+"))
	}
	if profile {
		return
	}
	for _, k := range u.expand {
		if v, ok := values[k]; ok {
			u.variable(k, strings.Fields(v))
		}
	}
}

// flag applies one word of USE.
func (u *useState) flag(w string) {
	off, isOff := strings.CutPrefix(w, "-")
	switch {
	case w == "":
	case w == "-*":
		clear(u.on)
	case isOff:
		if prefix, all := strings.CutSuffix(off, "_*"); all {
			u.drop(prefix + "_")
		}
		delete(u.on, off)
	default:
		u.on[w] = true
	}
}

func (u *useState) drop(prefix string) {
	for f := range u.on {
		if strings.HasPrefix(f, prefix) {
			delete(u.on, f)
		}
	}
}

// variable applies a USE_EXPAND variable of make.conf or the environment: it replaces what was set
// before, so neither "+" nor "-" belongs there.
func (u *useState) variable(key string, words []string) {
	prefix := strings.ToLower(key) + "_"
	incremental := isIncremental(key)
	if !incremental {
		u.drop(prefix)
	}
	for _, w := range words {
		sign := w[0] == '+' || w[0] == '-'
		switch {
		case sign && !incremental:
		case w[0] == '-':
			delete(u.on, prefix+w[1:])
		default:
			u.on[prefix+strings.TrimPrefix(w, "+")] = true
		}
	}
}

// useResult stores USE, and makes the expanded variables agree with it.
func (t *stacker) useResult(u *useState) {
	t.values["USE"] = strings.Join(slices.Sorted(maps.Keys(u.on)), " ")
	for _, k := range u.expand {
		prefix := strings.ToLower(k) + "_"
		rest := map[string]bool{}
		for f := range u.on {
			if name, ok := strings.CutPrefix(f, prefix); ok {
				rest[name] = true
			}
		}
		old, set := t.values[k]
		var words []string
		for _, w := range strings.Fields(old) {
			if rest[w] {
				words = append(words, w)
			}
		}
		for _, w := range words {
			delete(rest, w)
		}
		if words = append(words, slices.Sorted(maps.Keys(rest))...); set || len(words) > 0 {
			t.values[k] = strings.Join(words, " ")
		}
	}
	for _, k := range u.unprefixed {
		if old, set := t.values[k]; set {
			words := slices.DeleteFunc(strings.Fields(old), func(w string) bool { return !u.on[w] })
			t.values[k] = strings.Join(words, " ")
		}
	}
}
