package resolve

import "slices"

// overlap multiplies out the any-of groups that share a name, so that one package may serve several
// of them. It reports whether there were any; then the fewest new slots win.
func (s *search) overlap(list []alt) ([]alt, bool) {
	first, groups := sharing(list)
	if groups < 2 {
		return list, false
	}
	var out, joined []alt
	product := false
	for i := range list {
		if list[i].any == nil {
			out = append(out, list[i])
			continue
		}
		if first[i] != i {
			continue
		}
		if !s.g.st.charge((len(list) - i) / 8) {
			break
		}
		var same []alt // without those that are alike
		several := false
		for j := i; j < len(list); j++ {
			if !s.g.st.charge(len(same) / 8) {
				break
			}
			if list[j].any == nil || first[j] != i {
				continue
			}
			several = several || j > i
			if !slices.ContainsFunc(same, func(x alt) bool { return equalAlt(&x, &list[j]) }) {
				same = append(same, list[j])
			}
		}
		if len(same) == 1 {
			joined, product = append(joined, same[0]), product || several
			continue
		}
		if multiplied, ok := multiply(same); ok && s.g.st.charge(len(multiplied.any)) {
			joined, product = append(joined, multiplied), true
		} else {
			joined = append(joined, same...)
		}
	}
	return append(out, joined...), product
}

// sharing finds the any-of groups that share a name, with one another or by way of others: it gives
// for each place the first group that it belongs with, and how many groups there are.
func sharing(list []alt) (first []int, groups int) {
	byName := make(map[string][]int) // the groups that have a CP
	first = make([]int, len(list))
	for i := range list {
		first[i] = i
		if list[i].any == nil {
			continue
		}
		groups++
		names := make(map[string]bool)
		namesOf(list[i:i+1], names)
		for cp := range names {
			byName[cp] = append(byName[cp], i)
		}
	}
	find := func(i int) int {
		for first[i] != i {
			i = first[i]
		}
		return i
	}
	for _, members := range byName {
		for _, m := range members[1:] {
			a, b := find(members[0]), find(m)
			first[max(a, b)] = min(a, b)
		}
	}
	for i := range first {
		first[i] = find(i)
	}
	return first, groups
}

func namesOf(list []alt, names map[string]bool) {
	for i := range list {
		if w := list[i].w; w != nil && w.a.Block == 0 {
			names[w.a.CP] = true
		}
		namesOf(list[i].any, names)
		namesOf(list[i].all, names)
	}
}

func equalAlt(x, y *alt) bool {
	if (x.w == nil) != (y.w == nil) || x.w != nil && x.w.a != y.w.a || len(x.any) != len(y.any) ||
		len(x.all) != len(y.all) {
		return false
	}
	for i := range x.any {
		if !equalAlt(&x.any[i], &y.any[i]) {
			return false
		}
	}
	for i := range x.all {
		if !equalAlt(&x.all[i], &y.all[i]) {
			return false
		}
	}
	return true
}

// multiply makes one any-of group of several: each of its members takes one member of each group.
func multiply(groups []alt) (alt, bool) {
	n, longest := 1, 0
	for i := range groups {
		most := 1
		for j := range groups[i].any {
			most = max(most, len(groups[i].any[j].all))
		}
		longest += most
		if n *= len(groups[i].any); n > maxProduct || n*longest > maxMembers {
			return alt{}, false
		}
	}
	product := [][]alt{nil}
	for i := range groups {
		next := make([][]alt, 0, len(product)*len(groups[i].any))
		for _, sofar := range product {
			for _, member := range groups[i].any {
				row := slices.Clone(sofar)
				if member.all != nil {
					row = append(row, member.all...)
				} else {
					row = append(row, member)
				}
				next = append(next, row)
			}
		}
		product = next
	}
	out := alt{any: make([]alt, 0, len(product))}
	for _, row := range product {
		out.any = append(out.any, alt{all: row})
	}
	return out, true
}
