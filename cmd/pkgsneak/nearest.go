package main

import (
	"slices"
	"strings"
)

// nearest gives the candidate that word begins, if there is one alone; else the one that differs from it by at most two letters and half of them, the closest first; or "".
func nearest(word string, candidates []string) string {
	var begun []string
	for _, c := range candidates {
		if len(word) > 1 && strings.HasPrefix(c, word) {
			begun = append(begun, c)
		}
	}
	if len(begun) == 1 {
		return begun[0]
	}
	best, at := "", 3
	slices.Sort(candidates)
	for _, c := range candidates {
		if d := editDistance(word, c); d < at && 2*d <= len(word) {
			best, at = c, d
		}
	}
	return best
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
