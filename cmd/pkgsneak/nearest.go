package main

import (
	"slices"
	"strings"
)

// nearest gives the candidate that word begins, if there is one alone; else the one that differs
// from it by at most two letters and half of them, the closest first; or "".
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

// editDistance is Levenshtein's, in which two letters that changed places are one difference.
func editDistance(a, b string) int {
	var before []int // the row above the one above
	above := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := above[j]
			if a[i] != b[j] {
				cost++
			}
			row[j+1] = min(cost, row[j]+1, above[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}

// meant is the hint that a word is spelled wrong which is no command by itself.
func meant(word string) string { return "is " + word + " meant?" }
