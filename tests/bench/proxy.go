package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

const proxySeconds = 8

// measureProxy lets pgbench read through the front-end and directly, in turn.
func measureProxy(ctx context.Context, u *upChild, rep *report) error {
	b := u.b
	if _, err := b.pgbench(ctx, b.ownerURL(), "-i", "-s", "10", "-q"); err != nil {
		return err
	}
	read := []string{"-n", "-S", "-c", "8", "-j", "2", "-M", "prepared", "-T", strconv.Itoa(proxySeconds)}
	f := &figure{Name: "front-end as a proxy, pgbench -S -c 8", Unit: "tps", PeerIs: "direct"}
	for round := range b.cfg.rounds {
		order := []string{u.front, b.ownerURL()}
		if round%2 == 1 {
			order[0], order[1] = order[1], order[0]
		}
		tps := map[string]float64{}
		for _, url := range order {
			v, err := b.tps(ctx, url, read)
			if err != nil {
				return err
			}
			tps[url] = v
		}
		f.Samples, f.Peer = append(f.Samples, tps[u.front]), append(f.Peer, tps[b.ownerURL()])
		f.Ratios = append(f.Ratios, tps[u.front]/tps[b.ownerURL()])
	}
	f.Shown = median(f.Samples)
	rep.add(f.judge(atLeast(0.5, "×"), atLeast(0.7, "×")))
	return execAll(ctx, b.super, "DROP TABLE app.pgbench_accounts, app.pgbench_branches, app.pgbench_tellers, app.pgbench_history")
}

var tpsLine = regexp.MustCompile(`tps = ([0-9.]+)`)

func (b *bed) tps(ctx context.Context, url string, args []string) (float64, error) {
	out, err := b.pgbench(ctx, url, args...)
	if err != nil {
		return 0, err
	}
	m := tpsLine.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("pgbench did not tell its speed: %s", out)
	}
	return strconv.ParseFloat(m[1], 64)
}

func (b *bed) pgbench(ctx context.Context, url string, args ...string) (string, error) {
	path := filepath.Join(b.srv.Binaries().Dir, "pgbench")
	out, err := exec.CommandContext(ctx, path, append(args, url)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("pgbench: %w: %s", err, out)
	}
	return string(out), nil
}
