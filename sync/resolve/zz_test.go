package resolve

import (
	"testing"
	"time"
)

func TestZZ(t *testing.T) {
	in := large(1808, 2111)
	s, _ := newStock(&in)
	x := &excluder{st: s, seed: map[*pkg]mask{}, refusals: make(map[*pkg]Refusal), soft: make(map[string]bool)}
	for r := 0; r < 100; r++ {
		t0 := time.Now()
		out := x.predict(true, maxRounds)
		d := time.Since(t0)
		n := len(x.names)
		g := false
		if out.ok {
			g = x.guard(&out)
		}
		t.Log(r, d, "tries", out.tries, out.ok, out.trouble(), len(out.g.lacks), len(out.seen), len(out.left), g, x.names[n:])
		if out.ok && !g {
			break
		}
		if !out.ok && !x.cure(&out) {
			break
		}
	}
}
