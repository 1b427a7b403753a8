package resolve

import "maps"

// outcome is how a resolution ended: the last walk, and whether emerge would end with 0.
type outcome struct {
	g       *walker
	ok      bool
	verdict verdict
	left    [][]*pkg // slot conflicts that remain
	useOnly bool     // they could be settled by other USE flags
	tries   int
	seen    map[*pkg]*need // candidates that lacked something in any walk, and what
}

// predict walks as emerge does, learns from what fails, and walks again.
//
// With a seed, of candidates that must not be chosen, it is a search of our own: all lacks and
// conflicts of a walk are learned at once, and as often as it takes: the end is the same, but
// emerge would have given up on the way where there are many. It serves to find what has to be
// excluded.
func (s *stock) predict(seed map[*pkg]mask, limit int) outcome {
	batch := seed != nil
	known := make(map[*pkg]mask)
	if batch {
		maps.Copy(known, seed)
		s.hopeless(known)
	}
	t := newTree(known)
	var out outcome
	seen := make(map[*pkg]*need)
	for tries := 0; len(t.open) > 0; tries++ {
		g := newWalker(s, t.next())
		g.batch = batch
		out = g.resolve()
		out.tries, out.seen = tries, seen
		for _, d := range g.lesson.missing {
			if p := d.owner.p; seen[p] == nil {
				seen[p] = d
			}
		}
		for p := range g.passed {
			if m := g.state.masks[p]; m.missing && seen[p] == nil {
				seen[p] = m.lack
			}
		}
		if out.ok || tries >= limit || s.spent || g.failed == errTooMuch {
			break
		}
		if !(batch && len(g.lesson.missing) > 0) && g.useWouldSettle() {
			out.useOnly = true
			return out
		}
		if g.restart && !g.noReturn {
			t.learn(&g.lesson, batch)
			if n := len(t.open); batch && n > 0 {
				s.hopeless(t.open[n-1].masks)
			}
		}
	}
	if !out.ok && out.tries > 0 && !s.spent && out.g.failed != errTooMuch {
		g := newWalker(s, t.best())
		g.final = true
		last := g.resolve()
		if last.ok {
			last.tries, last.seen = out.tries, seen
			return last
		}
	}
	return out
}

// resolve makes one walk and settles what it left open.
func (g *walker) resolve() outcome {
	out := outcome{g: g}
	if !g.walkRoots() || g.batch && (len(g.lesson.missing) > 0 || len(g.lacks) > 0) ||
		!g.completeGraph() || !g.solveConflicts() {
		return out
	}
	out.verdict = g.judgeBlockers()
	for _, c := range g.conflicts() {
		g.learnConflict(c)
	}
	if !g.final {
		g.triggerReplacements()
	}
	out.left = g.conflicts()
	if len(out.verdict.unsolved) > 0 || len(out.left) > 0 || g.restart || g.failed != nil {
		return out
	}
	out.ok = true
	return out
}

// completeGraph makes sure that the sets' atoms are still satisfied once an installed package
// changes. From then on only what is in the graph, or stays, is chosen.
func (g *walker) completeGraph() bool {
	if !g.complete && !g.changesInstalled() && (g.final || len(g.conflicts()) == 0) {
		return true
	}
	g.complete, g.tolerateLack = true, true
	defer func() { g.tolerateLack = false }()
	g.forgetAll()
	for i := range g.st.roots {
		r := &g.st.roots[i]
		for _, a := range r.atoms {
			if _, ok := g.addNeedOf(owner{set: r}, a, nil); !ok {
				return false
			}
		}
	}
	if !g.run() {
		return false
	}
	for len(g.unsatisfied) > 0 {
		n := len(g.unsatisfied) - 1
		d := g.unsatisfied[n]
		g.unsatisfied = g.unsatisfied[:n]
		if len(d.a.installed) == 0 {
			continue
		}
		g.addPkg(d.a.installed[0], d.owner, d.a)
		if !g.run() {
			return false
		}
	}
	return true
}

// changesInstalled reports whether an installed package gets another version, slot or USE.
func (g *graph) changesInstalled() bool {
	for _, p := range g.order {
		if p.installed {
			continue
		}
		sameSlot, sameSub, any := false, false, false
		for _, q := range p.shelf.installed {
			any = true
			if q.slotKey == p.slotKey {
				sameSlot = true
				if q.compare(p) != 0 || q.Sub != p.Sub || useWithin(p) != useWithin(q) {
					return true
				}
			}
			sameSub = sameSub || q.Slot == p.Slot && q.Sub == p.Sub
		}
		_ = sameSlot
		if any && !sameSub {
			return true
		}
	}
	return false
}
