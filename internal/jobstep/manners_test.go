package jobstep

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestPaceHoldsItsRate moves chunks of random sizes through lanes, by a clock of its own, and compares every two beginnings.
func TestPaceHoldsItsRate(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		rate, lanes := int64(1+r.IntN(5000)), 1+r.IntN(4)
		type chunk struct {
			began, lands time.Time
			charge       Charge
			rows         int64
			landed       bool
		}
		var p Pace
		now := time.Unix(1_000_000, 0)
		var all []*chunk
		inFlight := 0
		for len(all) < 60 {
			for inFlight < lanes && p.Wait(now) == 0 {
				c := &chunk{began: now, rows: int64(r.IntN(2000)), charge: p.Begin(now, rate, 500)}
				c.lands = now.Add(time.Duration(r.IntN(3000)) * time.Millisecond)
				all = append(all, c)
				inFlight++
				for i, first := range all {
					var rows, extra int64
					for _, b := range all[:i] {
						if !b.landed || b.lands.After(first.began) {
							extra += b.charge.Rows
						}
					}
					for _, b := range all[i : len(all)-1] {
						if b.landed {
							rows += b.rows
						}
					}
					if took := now.Sub(first.began); float64(rows-extra) > float64(rate)*took.Seconds()+1 {
						t.Fatalf("seed %d: %d rows in %s at a rate of %d", seed, rows, took, rate)
					}
				}
			}
			next := now.Add(max(p.Wait(now), time.Millisecond)) // on to what comes next
			var land *chunk
			for _, c := range all {
				if !c.landed && (land == nil || c.lands.Before(land.lands)) {
					land = c
				}
			}
			if land != nil && (inFlight == lanes || land.lands.Before(next)) {
				if land.lands.After(now) {
					now = land.lands
				}
				land.landed = true
				inFlight--
				p.Landed(rate, land.charge, land.rows, true)
				continue
			}
			now = next
		}
	}
}

func TestSizing(t *testing.T) {
	t.Parallel()
	m := func(size int64) *Manners {
		return &Manners{ChunkTime: 5 * time.Second, ChunkBytes: size, CutBytes: size, MostChunkBytes: 64 << 20}
	}
	for _, c := range []struct {
		name  string
		m     *Manners
		took  []time.Duration
		left  int
		lanes int
		want  int64 // after the last
	}{
		{"as it should be", m(64 << 20), []time.Duration{4e9, 6e9, 5e9, 7e9}, 50, 2, 0},
		{"too slow", m(64 << 20), []time.Duration{10e9, 10e9, 10e9}, 50, 2, 32 << 20},
		{"not yet sure", m(64 << 20), []time.Duration{10e9, 10e9}, 50, 2, 0},
		{"very much too slow", m(64 << 20), []time.Duration{20e9}, 50, 2, 16 << 20},
		{"too few left to matter", m(64 << 20), []time.Duration{20e9}, 1, 2, 0},
		{"fast, but as large as was asked for", m(64 << 20), []time.Duration{1e8, 1e8, 1e8}, 50, 2, 0},
		{"fast again", m(4 << 20), []time.Duration{1e9, 1e9, 1e9}, 50, 2, 20 << 20},
		{"never beyond what was asked for", m(4 << 20), []time.Duration{1e6, 1e6, 1e6}, 50, 2, 64 << 20},
		{"no smaller than the smallest", m(MinChunkBytes), []time.Duration{1e12}, 50, 2, 0},
		{"down to the smallest", m(1 << 20), []time.Duration{1e12}, 50, 2, MinChunkBytes},
		{"off", &Manners{ChunkBytes: 1 << 20, CutBytes: 1 << 20, MostChunkBytes: 1 << 20}, []time.Duration{1e12}, 50, 2, 0},
		{"an old plan", nil, []time.Duration{1e12}, 50, 2, 0},
	} {
		var s Sizing
		var got int64
		for _, d := range c.took {
			got = s.See(c.m, d, c.left, c.lanes)
		}
		if got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	var s Sizing
	for range maxCuts {
		if s.See(m(64<<20), time.Hour, 50, 2) == 0 {
			t.Error("not cut")
		}
		s.Cut()
	}
	if s.See(m(64<<20), time.Hour, 50, 2) != 0 {
		t.Error("a job is cut anew without end")
	}
}

func TestLoadPhase(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		load Load
		want string
	}{
		{Load{}, ""}, {Load{LagBytes: 512 << 20}, "waiting: replication lag 512 MB"}, {Load{LagBytes: 300}, "waiting: replication lag 300 B"},
		{Load{LagTime: 95 * time.Second}, "waiting: replication lag 95 s"}, {Load{LockWaiters: 3}, "waiting: 3 sessions wait for locks"},
	} {
		if got := c.load.Phase(); got != c.want || c.load.Calm() != (c.want == "") {
			t.Errorf("%+v: %q", c.load, got)
		}
	}
}
