package hot

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Scan is a look at the rows of one table itself. An empty predicate matches all of them.
type Scan struct {
	Schema, Table string
	Predicate     string // in PostgreSQL's own deparsed form
}

// Estimate is what PostgreSQL's planner expects of a scan.
type Estimate struct {
	Rows  int64
	Scan  string  // how it would read the table: "Seq Scan", "Index Scan", …
	Index string  // the index that it would use, or ""
	Cost  float64 // in PostgreSQL's units
	Empty bool    // the constraints of the table, such as the bounds of a partition, prove that no row matches
}

// How the planner may look for rows. All ways are those of one process, as a DELETE is.
type How int

const (
	AnyWay   How = iota // as the planner sees fit
	ByBlocks            // without an index
	ByIndex             // by an index if any can serve
)

// forEstimates are the settings of each way. With constraint_exclusion the planner says which scans cannot find a row.
var forEstimates = map[How]map[string]string{
	AnyWay:   {},
	ByBlocks: {"enable_indexscan": "off", "enable_bitmapscan": "off"},
	ByIndex:  {"enable_seqscan": "off"},
}

// scansAtOnce is how many scans one statement is about: enough to make round trips few, and few enough for the lock table of a
// server with default settings, which has to hold each table and each of its indexes.
const scansAtOnce = 100

// Estimates asks the planner about any number of scans, one statement for a hundred of them. Nothing is read but statistics.
func (db *DB) Estimates(ctx context.Context, how How, scans []Scan) ([]Estimate, error) {
	out := make([]Estimate, 0, len(scans))
	for group := range slices.Chunk(scans, scansAtOnce) {
		some, err := db.estimateGroup(ctx, how, group)
		if err != nil {
			return nil, fmt.Errorf("estimate rows: %w", err)
		}
		out = append(out, some...)
	}
	return out, nil
}

func (db *DB) estimateGroup(ctx context.Context, how How, scans []Scan) ([]Estimate, error) {
	// A DELETE has to visit its rows, so what an index alone could tell is no measure.
	settings := map[string]string{"max_parallel_workers_per_gather": "0", "constraint_exclusion": "on", "enable_indexonlyscan": "off"}
	maps.Copy(settings, forEstimates[how])
	raw, err := db.withSettings(ctx, settings, explainSQL(scans))
	if err != nil {
		return nil, err
	}
	return readPlans(raw, len(scans))
}

// withSettings runs a statement that answers with one value, under settings that end with it.
func (db *DB) withSettings(ctx context.Context, settings map[string]string, sql string) ([]byte, error) {
	var set []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		set = append(set, fmt.Sprintf("pg_catalog.set_config('%s', '%s', true)", name, settings[name]))
	}
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return nil, connectError(err)
	}
	defer conn.Release()
	// One message, and so one transaction: the settings end with it.
	results, err := conn.Conn().PgConn().Exec(ctx, "SELECT "+strings.Join(set, ", ")+"; "+sql).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) != 2 || len(results[1].Rows) != 1 || len(results[1].Rows[0]) != 1 {
		return nil, fmt.Errorf("%d results, expected 2", len(results))
	}
	return results[1].Rows[0][0], nil
}

// countsAtOnce is how many tables one statement counts: it locks them all, in the weakest mode, while it reads.
const countsAtOnce = 20

// CountAll counts the rows that match in any number of scans together. A scan that the constraints of its table show to be empty
// reads nothing.
func (db *DB) CountAll(ctx context.Context, scans []Scan) (total int64, err error) {
	for group := range slices.Chunk(scans, countsAtOnce) {
		var b strings.Builder
		b.WriteString("SELECT pg_catalog.sum(n)::bigint FROM (")
		for i, s := range group {
			if i > 0 {
				b.WriteString(" UNION ALL ")
			}
			b.WriteString("SELECT pg_catalog.count(*) AS n FROM ONLY " + from(s.Schema, s.Table, s.Predicate))
		}
		b.WriteString(") AS spillway_counts")
		raw, err := db.withSettings(ctx, map[string]string{"constraint_exclusion": "on"}, b.String())
		if err != nil {
			return 0, fmt.Errorf("count rows: %w", err)
		}
		n, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("count rows: %w", err)
		}
		total += n
	}
	return total, nil
}

// explainSQL asks about all scans in one statement. Each says its number, by which its part of the plan is found.
func explainSQL(scans []Scan) string {
	var b strings.Builder
	b.WriteString("EXPLAIN (FORMAT JSON, VERBOSE)")
	for i, s := range scans {
		if i > 0 {
			b.WriteString(" UNION ALL")
		}
		fmt.Fprintf(&b, " SELECT %d FROM ONLY %s", i, from(s.Schema, s.Table, s.Predicate))
	}
	return b.String()
}

// planNode is a node of EXPLAIN (FORMAT JSON, VERBOSE).
type planNode struct {
	Type   string     `json:"Node Type"`
	Rows   float64    `json:"Plan Rows"`
	Cost   float64    `json:"Total Cost"`
	Index  string     `json:"Index Name"`
	Filter string     `json:"One-Time Filter"`
	Output []string   `json:"Output"`
	Plans  []planNode `json:"Plans"`
}

// index is the first index on the way down.
func (n *planNode) index() string {
	if n.Index != "" {
		return n.Index
	}
	for i := range n.Plans {
		if name := n.Plans[i].index(); name != "" {
			return name
		}
	}
	return ""
}

// readPlans finds the part of each scan. A scan without a part was left out, for it can find nothing.
func readPlans(raw []byte, n int) ([]Estimate, error) {
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal(raw, &plans); err != nil {
		return nil, fmt.Errorf("unexpected plan: %w", err)
	}
	if len(plans) != 1 {
		return nil, fmt.Errorf("%d plans", len(plans))
	}
	out := make([]Estimate, n)
	for i := range out {
		out[i] = Estimate{Scan: "Result", Empty: true}
	}
	if err := plans[0].Plan.read(out); err != nil {
		return nil, err
	}
	return out, nil
}

func (n *planNode) read(out []Estimate) error {
	if n.Type == "Append" {
		for i := range n.Plans {
			if err := n.Plans[i].read(out); err != nil {
				return err
			}
		}
		return nil
	}
	if n.Type == "Result" && len(n.Plans) == 0 && n.Filter == "false" {
		return nil // nothing is left of the scan, or of all
	}
	if len(n.Output) != 1 {
		return fmt.Errorf("unexpected plan: a %s puts out %q", n.Type, n.Output)
	}
	i, err := strconv.Atoi(strings.Trim(n.Output[0], "()"))
	if err != nil || i < 0 || i >= len(out) {
		return fmt.Errorf("unexpected plan: a %s puts out %q", n.Type, n.Output[0])
	}
	out[i] = Estimate{Rows: int64(n.Rows), Scan: n.Type, Index: n.index(), Cost: n.Cost}
	return nil
}
