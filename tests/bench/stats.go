package main

import (
	"math"
	"slices"
	"time"
)

// median, lowest and highest of some values; NaN of none.
func median(v []float64) float64 { return percentile(v, 50) }

// percentile is the smallest value that p per cent of all do not exceed; the median of an even number is their middle.
func percentile(v []float64, p float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(v))
	if p == 50 && len(s)%2 == 0 {
		return (s[len(s)/2-1] + s[len(s)/2]) / 2
	}
	return s[max(0, int(math.Ceil(p/100*float64(len(s))))-1)]
}

// seconds are the times of the rounds that ran.
func (s series) seconds() []float64 {
	var out []float64
	for _, l := range s {
		if l.took > 0 {
			out = append(out, l.took.Seconds())
		}
	}
	return out
}

// disks are what the table took up after each round that ran, in MB.
func (s series) disks() []float64 {
	var out []float64
	for _, l := range s {
		if l.took > 0 {
			out = append(out, l.disk)
		}
	}
	return out
}

// ratios divides times round by round.
func (s series) ratios(by series) []float64 {
	return s.divide(by, func(l lap) float64 { return l.took.Seconds() })
}

// cpuRatios divides processor seconds round by round.
func (s series) cpuRatios(by series) []float64 {
	return s.divide(by, func(l lap) float64 { return l.cpu })
}

func (s series) divide(by series, value func(lap) float64) []float64 {
	var out []float64
	for i := range s {
		if i < len(by) && value(s[i]) > 0 && value(by[i]) > 0 {
			out = append(out, value(s[i])/value(by[i]))
		}
	}
	return out
}

func milliseconds(ds []time.Duration) []float64 {
	out := make([]float64, len(ds))
	for i, d := range ds {
		out[i] = float64(d) / float64(time.Millisecond)
	}
	return out
}
