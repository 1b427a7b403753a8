package portage

import (
	"maps"
	"slices"
	"strings"
)

// defaultUseOrder is the order of USE's sources, highest first, where make.globals does not say it.
const defaultUseOrder = "env:pkg:conf:defaults:pkginternal:features:repo:env.d"

// useState is the computation of USE, and of the variables that are expanded into it.
type useState struct {
	expand     []string // USE_EXPAND
	unprefixed []string // USE_EXPAND_UNPREFIXED
	on         map[string]bool
}

// use computes USE as Portage does for no package in particular: USE and the USE_EXPAND variables of each source in
// USE_ORDER, then use.force and ARCH, without use.mask; the USE_EXPAND variables then say what USE says.
func (l *loader) use() {
	u := &useState{
		expand:     strings.Fields(l.s.Values["USE_EXPAND"]),
		unprefixed: strings.Fields(l.s.Values["USE_EXPAND_UNPREFIXED"]),
		on:         map[string]bool{},
	}
	order, ok := l.s.Values["USE_ORDER"]
	if !ok {
		order = defaultUseOrder
		l.s.Values["USE_ORDER"] = order
	}
	sources := strings.Split(order, ":")
	slices.Reverse(sources)
	for _, name := range sources {
		switch name {
		case "env":
			u.apply(l.environ.values, false)
		case "conf":
			u.apply(l.conf.values, false)
		case "defaults":
			defaults := maps.Clone(l.defaults.values)
			defaults["USE"] = l.profileUse(u)
			u.apply(defaults, true)
		case "features":
			if l.testing() {
				u.on["test"] = true
			}
		case "env.d":
			u.apply(l.envd.values, false)
		case "globals":
			u.apply(l.globals.values, false)
		}
	}
	for f := range l.flags("use.force") {
		u.on[f] = true
	}
	if arch := l.defaults.values["ARCH"]; arch != "" {
		u.on[arch] = true
	}
	for f := range l.flags("use.mask") {
		delete(u.on, f)
	}
	l.useResult(u)
}

func (l *loader) testing() bool {
	return slices.Contains(strings.Fields(l.s.Values["FEATURES"]), "test")
}

// profileUse turns the make.defaults of the chain into flags, each with its USE_EXPAND variables, so that a child's
// "-flag" takes away what a parent's variable gave.
func (l *loader) profileUse(u *useState) string {
	var all []string
	for _, values := range l.nodeConfs {
		for _, k := range u.unprefixed {
			all = append(all, strings.Fields(values[k])...)
		}
		for _, k := range u.expand {
			if _, set := l.s.Values[k]; !set {
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

// apply adds one source. Where the source is the profile, its USE_EXPAND variables are in its USE already.
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

// variable applies a USE_EXPAND variable of make.conf or the environment: it replaces what was said before, so
// neither "+" nor "-" belongs there.
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
func (l *loader) useResult(u *useState) {
	l.s.Values["USE"] = strings.Join(slices.Sorted(maps.Keys(u.on)), " ")
	for _, k := range u.expand {
		prefix := strings.ToLower(k) + "_"
		rest := map[string]bool{}
		for f := range u.on {
			if name, ok := strings.CutPrefix(f, prefix); ok {
				rest[name] = true
			}
		}
		old, set := l.s.Values[k]
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
			l.s.Values[k] = strings.Join(words, " ")
		}
	}
	for _, k := range u.unprefixed {
		if old, set := l.s.Values[k]; set {
			words := slices.DeleteFunc(strings.Fields(old), func(w string) bool { return !u.on[w] })
			l.s.Values[k] = strings.Join(words, " ")
		}
	}
}
