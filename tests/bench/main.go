package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// config is what the flags say.
type config struct {
	rows        int64
	table       string
	parallelism int
	rounds      int
	chunkBytes  int64
	memoryRows  []int64
	kills       int
	starts      int
	schedules   int
	only        []string // names of figures
	jsonPath    string
	spillway    string
	dir         string
	profile     string
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	cfg, err := parseFlags(args)
	if err != nil {
		return err
	}
	b, err := openBed(ctx, cfg)
	if err != nil {
		return err
	}
	rep := newReport(ctx, b)
	err = measure(ctx, b, rep)
	err = errors.Join(err, b.close())
	rep.Machine.finish()
	if werr := rep.write(os.Stdout, cfg.jsonPath); werr != nil {
		err = errors.Join(err, werr)
	}
	return err
}

func parseFlags(args []string) (config, error) {
	var cfg config
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.Int64Var(&cfg.rows, "rows", 2_000_000, "rows of the table that is flushed")
	fs.StringVar(&cfg.table, "table", "events", "which table: "+strings.Join(tableNames(), ", "))
	fs.IntVar(&cfg.parallelism, "parallelism", 2, "chunks at once, for the flush and for its limit")
	fs.IntVar(&cfg.rounds, "rounds", 3, "how often each contestant runs")
	fs.Int64Var(&cfg.chunkBytes, "chunk-bytes", 64<<20, "bytes of heap per chunk, for the flush and for its limit")
	memory := fs.String("memory-rows", "1000000", "tables on which the memory is measured, by rows: 1000000,10000000")
	fs.IntVar(&cfg.kills, "kills", 30, "how many jobs are killed in mid-COPY")
	fs.IntVar(&cfg.starts, "starts", 200, "how many jobs are started to time the answer")
	fs.IntVar(&cfg.schedules, "schedules", 10_000, "how many schedules are created and listed")
	only := fs.String("only", "", "measure these alone: "+strings.Join(figureNames(), ", ")+" (default: "+strings.Join(byDefault(), ", ")+")")
	fs.StringVar(&cfg.jsonPath, "json", "", "write the figures and every single measurement to this file")
	fs.StringVar(&cfg.spillway, "spillway", "", "the spillway binary to measure (default: built from this tree)")
	fs.StringVar(&cfg.dir, "dir", "", "where the server and all files live (default: a temporary folder)")
	fs.StringVar(&cfg.profile, "profile", "", "write a CPU profile of the flush's steps to this file")
	if err := fs.Parse(args); err != nil {
		return config{}, err
	}
	if fs.NArg() > 0 {
		return config{}, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if cfg.rows < 1 || cfg.rounds < 1 || cfg.parallelism < 1 || cfg.chunkBytes < blockSize || cfg.kills < 1 || cfg.starts < 1 || cfg.schedules < 10 {
		return config{}, errors.New("schedules must be at least 10, rows, rounds, parallelism, kills and starts at least 1, and a chunk holds at least one block")
	}
	if !slices.Contains(tableNames(), cfg.table) {
		return config{}, fmt.Errorf("no such table %q: expected %s", cfg.table, strings.Join(tableNames(), ", "))
	}
	for _, text := range strings.Split(*memory, ",") {
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil || n < 1 {
			return config{}, fmt.Errorf("-memory-rows: %q is no number of rows", text)
		}
		cfg.memoryRows = append(cfg.memoryRows, n)
	}
	return cfg, cfg.setOnly(*only)
}

func (c *config) setOnly(text string) error {
	if text == "" {
		c.only = byDefault()
		return nil
	}
	for _, name := range strings.Split(text, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains(figureNames(), name) {
			return fmt.Errorf("-only: no figure is called %q: expected some of %s", name, strings.Join(figureNames(), ", "))
		}
		c.only = append(c.only, name)
	}
	return nil
}

func (c *config) wants(name string) bool { return slices.Contains(c.only, name) }
