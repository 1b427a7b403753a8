package watch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestSettle(t *testing.T) {
	const quiet, most = 10 * time.Second, time.Minute
	at := func(seconds ...int) []int { return seconds }
	every := func(step, end int) (s []int) {
		for n := 0; n <= end; n += step {
			s = append(s, n)
		}
		return s
	}
	tests := []struct {
		name    string
		most    time.Duration
		changes []int // seconds
		want    []int
	}{
		{"nothing", most, nil, nil},
		{"one change", most, at(0), at(10)},
		{"changes in a row are one", most, at(0, 5, 9), at(19)},
		{"two that are far apart", most, at(0, 30), at(10, 40)},
		{"changes that do not stop", most, every(5, 100), at(60, 110)},
		{"changes that do not stop, without a limit", 0, every(5, 100), at(110)},
		{"the limit begins anew", most, append(every(5, 50), 80), at(60, 90)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				changes := make(chan struct{})
				start := time.Now()
				settled := Settle(ctx, changes, quiet, tt.most)
				var got []int
				done := make(chan struct{})
				go func() {
					defer close(done)
					for range settled {
						got = append(got, int(time.Since(start)/time.Second))
					}
				}()
				for _, s := range tt.changes {
					time.Sleep(time.Until(start.Add(time.Duration(s) * time.Second)))
					changes <- struct{}{}
				}
				time.Sleep(time.Hour)
				cancel()
				<-done
				if !equal(got, tt.want) {
					t.Errorf("settled at %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
