package show

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	t.Parallel()
	var p Pace
	at := time.Unix(0, 0)
	if p.PerSecond(at) != 0 {
		t.Error("a speed of nothing")
	}
	for i := range 100 {
		p.Add(at.Add(time.Duration(i)*time.Second), float64(i*50))
	}
	now := at.Add(99 * time.Second)
	if got := p.PerSecond(now); got != 50 {
		t.Errorf("%v per second", got)
	}
	if d, ok := p.Left(now, 99*50+100); !ok || d != 2*time.Second {
		t.Errorf("left: %s, %v", d, ok)
	}
	p.Add(now.Add(time.Second), 3) // planned again, or another run
	if got := p.PerSecond(now.Add(time.Second)); got != 0 {
		t.Errorf("after a new beginning: %v per second", got)
	}
	if _, ok := p.Left(now.Add(time.Second), 100); ok {
		t.Error("an end is known without a speed")
	}
	for in, want := range map[time.Duration]string{0: "0s", 45 * time.Second: "45s", 130 * time.Second: "2m 10s", 3*time.Hour + 5*time.Minute: "3h 5m", 52 * time.Hour: "2d 4h"} {
		if got := Span(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
