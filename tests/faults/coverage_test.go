package faults

import (
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/spillwaydb/spillway/internal/fault"
)

// coverage counts the walks that ended well.
type coverage struct {
	mu    sync.Mutex
	count map[shot]int
	ways  map[way]int
	rows  int
}

func newCoverage() *coverage { return &coverage{count: map[shot]int{}, ways: map[way]int{}} }

func (c *coverage) add(w walk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[w.shot]++
	c.ways[w.way]++
	c.rows += rows
}

// of is how often a point was reached.
func (c *coverage) of(p fault.Point) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s, k := range c.count {
		if s.Point == p {
			n += k
		}
	}
	return n
}

// print writes the table: walks by point and kind.
func (c *coverage) print(t *testing.T) {
	kinds := []kind{fail, deny, lie, hang, crashBefore, crashAfter, cut, lost, write, alter}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-16s", "point")
	for _, k := range kinds {
		fmt.Fprintf(&b, " %12s", k)
	}
	total := 0
	for _, p := range fault.Points() {
		fmt.Fprintf(&b, "\n%-16s", p)
		if where := elsewhere[p]; where != "" && c.of(p) == 0 {
			fmt.Fprintf(&b, " see %s", where)
			continue
		}
		for _, k := range kinds {
			cell := "-"
			if n := c.count[shot{p, k}]; n > 0 {
				cell = fmt.Sprint(n)
				total += n
			}
			fmt.Fprintf(&b, " %12s", cell)
		}
	}
	fmt.Fprintf(&b, "\n%d walks, %d rows in their tables, none lost or doubled;", total, c.rows)
	for _, w := range []way{retry, restart, kill, woken, terminate} {
		fmt.Fprintf(&b, " %s %d", w, c.ways[w])
	}
	t.Log(b.String())
}

func runFlag() string {
	f := flag.Lookup("test.run")
	if f == nil {
		return ""
	}
	return f.Value.String()
}
