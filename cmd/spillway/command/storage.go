package command

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/sqlfront/parse"
)

func newStorage(env *Env) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "storage",
		Short: "Name places for segments: folders and buckets",
		Example: `  spillway storage create archive --location s3://bucket/cold --option region=eu-central-1
  spillway storage list
  spillway flush app.events --with storage=archive
  spillway storage drop archive`,
	})
	cmd.AddCommand(newStorageCreate(env), newStorageList(env), newStorageDrop(env), newStorageAdopt(env))
	return cmd
}

func newStorageCreate(env *Env) *cobra.Command {
	var o clientOptions
	var location string
	var options []string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a storage; a worker tries it first",
		Long: `Create a storage. A worker writes, reads and deletes an object there first. Keys are never given here: --option names
environment variables or files that the workers have.`,
		Example: `  spillway storage create archive --location s3://bucket/cold --option region=eu-central-1 --option profile=spillway
  spillway storage create minio --location s3://cold/app --option endpoint=https://minio.example.org:9000 \
    --option access_key_env=SPILLWAY_STORAGE_KEY --option secret_key_env=SPILLWAY_STORAGE_SECRET`,
		Args: args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			statement, err := createStorage(given[0], location, options)
			if err != nil {
				return err
			}
			return o.send(cmd, env, statement)
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&location, "location", "", "a folder of the workers' machines, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix")
	cmd.Flags().StringArrayVar(&options, "option", nil, "name=value, as often as needed: docs/storages.md lists them")
	return cmd
}

// createStorage renders CREATE STORAGE.
func createStorage(name, location string, options []string) (string, error) {
	if location == "" {
		return "", &fail.Usage{Msg: "--location is missing", Todo: "a folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"}
	}
	var list []string
	for _, o := range options {
		key, value, ok := strings.Cut(o, "=")
		if !ok || key == "" {
			return "", &fail.Usage{Msg: "--option takes name=value", Todo: "for example --option region=eu-central-1"}
		}
		list = append(list, parse.QuoteName(key)+" = "+sqlclient.Literal(value))
	}
	statement := "CREATE STORAGE " + parse.QuoteName(name) + " LOCATION " + sqlclient.Literal(location)
	if len(list) > 0 {
		statement += " WITH (" + strings.Join(list, ", ") + ")"
	}
	return statement, nil
}

// send runs one statement and prints its rows.
func (o *clientOptions) send(cmd *cobra.Command, env *Env, statement string) error {
	c, err := o.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Run(cmd.Context(), statement, newSink(cmd, env))
}

func newStorageList(env *Env) *cobra.Command {
	var o clientOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List storages, the default one first, with what they hold",
		Args:  args(),
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.send(cmd, env, "SHOW STORAGES") },
	}
	o.flags(cmd)
	return cmd
}

func newStorageDrop(env *Env) *cobra.Command {
	var o clientOptions
	cmd := &cobra.Command{
		Use:   "drop NAME",
		Short: "Forget a storage that nothing uses; what is there stays there",
		Args:  args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.send(cmd, env, "DROP STORAGE "+parse.QuoteName(given[0]))
		},
	}
	o.flags(cmd)
	return cmd
}

func newStorageAdopt(env *Env) *cobra.Command {
	var o clientOptions
	var server serverOptions
	cmd := &cobra.Command{
		Use:   "adopt NAME",
		Short: "Take over a storage that is marked as another database's",
		Long: `Take over a storage that is marked as another database's: after a restore, a clone, or a promoted standby. The former owner is
locked out when it next opens the storage, so stop it first. With --database-url this command does it itself, for a default storage
that keeps 'spillway up' from starting; then it needs the keys that the workers have. Without, a worker does it.`,
		Example: `  spillway storage adopt default --database-url postgres://spillway@db/app
  spillway storage adopt archive`,
		Args: args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if server.databaseURL == "" {
				return o.send(cmd, env, "ALTER STORAGE "+parse.QuoteName(given[0])+" ADOPT")
			}
			return adoptStorage(cmd.Context(), env, &server, given[0])
		},
	}
	o.flags(cmd)
	server.databaseFlags(cmd, " (default: ask the running 'spillway up')")
	return cmd
}

// adoptStorage adopts a storage in this process.
func adoptStorage(ctx context.Context, env *Env, o *serverOptions, name string) error {
	db, err := hot.Open(ctx, o.databaseURL, &hot.Options{Reserved: []string{o.ledgerSchema, o.systemSchema}})
	if err != nil {
		return err
	}
	defer db.Close()
	l := ledger.New(db.Pool(), &ledger.Options{Schema: o.ledgerSchema, SystemSchema: o.systemSchema})
	if err := l.Migrate(ctx); err != nil {
		return err
	}
	checker, err := coldstore.NewChecker(l, slog.New(slog.NewTextHandler(env.Stderr, nil)))
	if err != nil {
		return err
	}
	if err := checker.CheckStorage(ctx, name, true); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "storage %s belongs to this database now\n", name)
	return nil
}
