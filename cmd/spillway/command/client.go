package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/datadir"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

// clientOptions say where the front-end is.
type clientOptions struct {
	sqlURL  string
	dataDir string
}

func (o *clientOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.sqlURL, "sql-url", "", "address of the SQL front-end, postgres://user@host:7432/database (default: that of a running 'spillway up')")
	cmd.Flags().StringVar(&o.dataDir, "data-dir", datadir.Default, "data directory of the running 'spillway up'")
}

// connect opens a connection to the front-end that the flags name.
func (o *clientOptions) connect(ctx context.Context) (*sqlclient.Client, error) {
	url := o.sqlURL
	if url == "" {
		up, err := datadir.FindUp(o.dataDir)
		if err != nil {
			return nil, err
		}
		url = up.SQLURL
	}
	return sqlclient.Dial(ctx, url)
}
