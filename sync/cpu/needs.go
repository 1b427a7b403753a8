package cpu

import (
	"maps"
	"slices"
	"strings"
)

// Needs is what a package needs of an x86 CPU beyond what every 64-bit one has, as far as its flags
// state.
type Needs struct {
	// Hard are the features that a compiler uses without being asked for: on a CPU without them the
	// package ends with an illegal instruction. Sorted, as Linux names them.
	Hard []string
	// Soft are the others: only code that asks for them uses them, mostly after a look at the CPU.
	Soft []string
	// Native means that it was built for the build host's own CPU, whatever that is.
	Native bool
	// Odd are the names of CPUs that are not in the table.
	Odd []string
	// Said is how the flags name it, for people.
	Said []string
}

// hard are the features that compilers emit unasked; all of AVX-512 is hard as well.
var hard = []string{"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "pni", "popcnt",
	"sse4_1", "sse4_2", "ssse3"}

// isHard reports whether compilers use a feature without being asked for it.
func isHard(feature string) bool {
	return slices.Contains(hard, feature) || strings.HasPrefix(feature, "avx512")
}

// PackageNeeds reports what a package needs that was built with these CFLAGS, CXXFLAGS and
// RUSTFLAGS, and with these words of USE; of them cpu_flags_x86_* count. native are the features of
// the CPU it was built on, nil if that is unknown.
func PackageNeeds(cflags, cxxflags, rustflags, use string, native []string) Needs {
	var n Needs
	all := map[string]bool{}
	for _, flags := range []string{cflags, cxxflags, rustflags} {
		f := ParseFlags(flags, true)
		n.Native = n.Native || f.Native
		features, ok := f.Needs()
		if !ok && !slices.Contains(n.Odd, f.Name) {
			n.Odd = append(n.Odd, f.Name)
		}
		for _, w := range features {
			all[w] = true
		}
		for _, w := range f.Said() {
			if !slices.Contains(n.Said, w) {
				n.Said = append(n.Said, w)
			}
		}
	}
	if n.Native {
		n.Said = append(n.Said, "-march=native")
		for _, w := range native {
			if known[w] {
				all[w] = true
			}
		}
	}
	const prefix = "cpu_flags_x86_"
	for w := range strings.FieldsSeq(use) {
		if flag, ok := strings.CutPrefix(w, prefix); ok {
			for _, f := range FromUse([]string{flag}) {
				all[f] = true
			}
		}
	}
	base, _ := MarchFeatures("x86-64")
	for _, f := range slices.Sorted(maps.Keys(all)) {
		switch {
		case base[f]:
		case isHard(f):
			n.Hard = append(n.Hard, f)
		default:
			n.Soft = append(n.Soft, f)
		}
	}
	return n
}

// Judged returns those of a CPU's features that this package judges, sorted: what a build host
// tells of itself.
func Judged(have map[string]bool) []string {
	var list []string
	for f := range have {
		if known[f] {
			list = append(list, f)
		}
	}
	slices.Sort(list)
	return list
}
