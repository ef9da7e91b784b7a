package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// bound is what a figure must reach or aims at: a ratio or a value, at most or at least.
type bound struct {
	limit   float64
	atLeast bool
	unit    string // "×" for ratios, "ms", "MB"
}

func (b *bound) String() string {
	if b == nil {
		return ""
	}
	sign := "≤"
	if b.atLeast {
		sign = "≥"
	}
	return fmt.Sprintf("%s %g%s", sign, b.limit, spaced(b.unit))
}

func (b *bound) holds(v float64) bool {
	if b.atLeast {
		return v >= b.limit
	}
	return v <= b.limit
}

func spaced(unit string) string {
	if unit == "×" || unit == "" {
		return unit
	}
	return " " + unit
}

func atMost(v float64, unit string) *bound  { return &bound{limit: v, unit: unit} }
func atLeast(v float64, unit string) *bound { return &bound{limit: v, atLeast: true, unit: unit} }

// figure is one line of the table. Samples and Peer hold every single measurement.
type figure struct {
	Name    string    `json:"name"`
	Unit    string    `json:"unit"`
	Samples []float64 `json:"samples,omitempty"`
	Shown   float64   `json:"value"` // the median, or the percentile that the name says
	PeerIs  string    `json:"peer_is,omitempty"`
	Peer    []float64 `json:"peer,omitempty"`
	Ratios  []float64 `json:"ratios,omitempty"`
	// CPURatios compare the processor time of all involved, PostgreSQL included: neighbours disturb it less than times.
	CPURatios []float64 `json:"cpu_ratios,omitempty"`
	Rates     []float64 `json:"rows_per_second,omitempty"`
	PeerRates []float64 `json:"peer_rows_per_second,omitempty"`
	// Disk is what the table takes up after each round, with its indexes and TOAST.
	Disk     []float64 `json:"table_mb_after,omitempty"`
	PeerDisk []float64 `json:"peer_table_mb_after,omitempty"`
	Note     string    `json:"note,omitempty"`
	Missing  string    `json:"missing,omitempty"` // why there is no value
	Must     string    `json:"must_reach,omitempty"`
	Aim      string    `json:"aim,omitempty"`
	Verdict  string    `json:"verdict,omitempty"`
}

// judge sets the bounds and the verdict: over the ratio where there is one, else over the value shown. A nil bound is none.
func (f *figure) judge(must, aim *bound) *figure {
	if f == nil {
		return nil
	}
	f.Must, f.Aim = must.String(), aim.String()
	v := f.Shown
	if len(f.Ratios) > 0 {
		v = median(f.Ratios)
	}
	switch {
	case f.Missing != "":
	case aim != nil && aim.holds(v):
		f.Verdict = "aim reached"
	case must == nil:
		f.Verdict = "aim not reached"
	case must.holds(v):
		f.Verdict = "reached"
	default:
		f.Verdict = "MISSED"
	}
	return f
}

// rate says how many rows a second that is, of n in each round.
func (f *figure) rate(n int64) *figure {
	if f == nil || f.Missing != "" {
		return f
	}
	per := func(seconds []float64) (out []float64) {
		for _, s := range seconds {
			out = append(out, float64(n)/s)
		}
		return out
	}
	f.Rates, f.PeerRates = per(f.Samples), per(f.Peer)
	f.note("%d rows: %s, %s %s", n, spread(median(f.Rates), f.Rates, "rows/s"), f.PeerIs, spread(median(f.PeerRates), f.PeerRates, "rows/s"))
	return f
}

// note adds to what is said below the table.
func (f *figure) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if f.Note != "" {
		text = f.Note + "; " + text
	}
	f.Note = text
}

// missing is a figure that could not be measured.
func missing(name string, err error) *figure {
	text := strings.ReplaceAll(err.Error(), "\n", " ")
	if !errors.Is(err, errNotAvailable) {
		text = "failed: " + text
	}
	return &figure{Name: name, Missing: text}
}

// report collects figures.
type report struct {
	At          time.Time         `json:"at"`
	Command     string            `json:"command"`
	Rows        int64             `json:"rows"`
	Table       string            `json:"table"`
	Parallelism int               `json:"parallelism"`
	Rounds      int               `json:"rounds"`
	ChunkBytes  int64             `json:"chunk_bytes"`
	Settings    map[string]string `json:"postgresql_settings"`
	Machine     *machine          `json:"machine"`
	Figures     []*figure         `json:"figures"`
}

func newReport(_ context.Context, b *bed) *report {
	return &report{
		At: time.Now().UTC(), Command: "bench " + strings.Join(os.Args[1:], " "), Rows: b.cfg.rows, Table: b.cfg.table, Parallelism: b.cfg.parallelism,
		Rounds: b.cfg.rounds, ChunkBytes: b.cfg.chunkBytes, Settings: settings(), Machine: describeMachine(b.srv.Binaries().Version),
	}
}

func (r *report) add(f *figure) {
	if f != nil {
		r.Figures = append(r.Figures, f)
	}
}

// write prints the table and writes the JSON file.
func (r *report) write(w io.Writer, jsonPath string) error {
	fmt.Fprintf(w, "\n%d rows of %s, parallelism %d, %d rounds\n%s\n\n", r.Rows, r.Table, r.Parallelism, r.Rounds, r.Machine)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "figure\tmeasured\tbeside it\tratio\tmust reach\taim\t")
	for _, f := range r.Figures {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Name, f.measured(), f.beside(), f.ratio(), f.Must, f.Aim, f.Verdict)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, f := range r.Figures {
		if about := strings.TrimSpace(f.Missing + " " + f.Note); about != "" {
			fmt.Fprintf(w, "\n%s: %s", f.Name, about)
		}
	}
	fmt.Fprintln(w)
	if jsonPath == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(jsonPath, append(text, '\n'), 0o644)
}

func (f *figure) measured() string {
	if f.Missing != "" {
		return "—"
	}
	return spread(f.Shown, f.Samples, f.Unit)
}

func (f *figure) beside() string {
	if len(f.Peer) == 0 {
		return ""
	}
	return f.PeerIs + " " + spread(median(f.Peer), f.Peer, f.Unit)
}

func (f *figure) ratio() string {
	if len(f.Ratios) == 0 {
		return ""
	}
	return spread(median(f.Ratios), f.Ratios, "×")
}

// spread is a value with the lowest and the highest.
func spread(v float64, all []float64, unit string) string {
	s := number(v) + spaced(unit)
	if len(all) > 1 {
		s += " (" + number(percentile(all, 0)) + "–" + number(percentile(all, 100)) + ")"
	}
	return s
}

// number has three digits that count.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
