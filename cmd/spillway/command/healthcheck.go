package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
)

type healthOptions struct {
	address string
	timeout time.Duration
}

func newHealthcheck(env *Env) *cobra.Command {
	var o healthOptions
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a spillway process on this machine whether it can do its work",
		Long: `Ask the /readyz of a spillway process on this machine. Exit code 0: it can do its work; 1: not now, it says why; 3: nobody
answers. It is made for containers, which have nothing else in them to ask with: given the same environment as the process, it finds it.`,
		Example: `  spillway healthcheck
  spillway healthcheck --metrics-listen 0.0.0.0:9466`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runHealthcheck(cmd.Context(), env, &o) },
	}
	cmd.Flags().StringVar(&o.address, metricsFlag, upMetrics, "the address that the process was given: up has "+upMetrics+", front "+frontMetrics+", worker "+workerMetrics)
	cmd.Flags().DurationVar(&o.timeout, "timeout", 5*time.Second, "how long to wait for the answer")
	return cmd
}

func runHealthcheck(ctx context.Context, env *Env, o *healthOptions) error {
	if _, port, err := hostPort(metricsFlag, o.address); err != nil {
		return err
	} else if port == 0 {
		return &fail.Usage{Msg: "--" + metricsFlag + " " + o.address + ": port 0 names no process", Todo: "give the process a port of its own, and name it here"}
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+reachable(o.address)+"/readyz", nil)
	if err != nil {
		return fail.Usagef("--%s %s: %v", metricsFlag, o.address, err)
	}
	client := http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}} // never through HTTP_PROXY
	resp, err := client.Do(req)
	if err != nil {
		return &fail.Unreachable{
			What: "no answer from a spillway at " + reachable(o.address), Err: errors.Unwrap(err),
			Todo: "check that it runs, and that --" + metricsFlag + " names its address",
		}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return &fail.Unreachable{What: "no whole answer from " + reachable(o.address), Err: err}
	}
	answer := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return errors.New(answer)
	}
	_, err = fmt.Fprintln(env.Stdout, answer)
	return err
}
