package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/segment"
)

type catOptions struct {
	clientOptions
	output string
}

func newCat(env *Env) *cobra.Command {
	var o catOptions
	cmd := &cobra.Command{
		Use:   "cat TABLE",
		Short: "Print the cold rows of a table from its registered segments",
		Long: `Print the cold rows of a table: exactly those of the segments that the ledger names. This command reads them itself, from files of
this machine or from buckets, for which it needs the keys that the workers have.

Values are as PostgreSQL prints them; as JSON, arrays are arrays, and composites and hstore objects. Where segments differ in their
columns, a row has NULL in those that it lacks; a column that was renamed is two, and one whose type changed is shown as a number if
both are, else as text.`,
		Example: `  spillway cat app.events > events.csv
  spillway cat app.events -o json | jq .kind`,
		Args: args("TABLE"),
		RunE: func(cmd *cobra.Command, given []string) error { return runCat(cmd.Context(), env, &o, given[0]) },
	}
	o.flags(cmd)
	cmd.Flags().StringVarP(&o.output, "output", "o", "csv", "csv (NULL and the empty string look the same), json, or table, which holds all rows in memory")
	cmd.Flags().Lookup("output").Annotations = map[string][]string{"forms": {"csv", "json", "table"}}
	return cmd
}

func runCat(ctx context.Context, env *Env, o *catOptions, table string) error {
	c, err := o.connect(ctx)
	if err != nil {
		return err
	}
	files, err := coldFiles(ctx, c, table)
	c.Close() // reading the files may take long
	if err != nil {
		return err
	}
	form := show.View{Form: o.output, Width: terminalWidth(env)}
	return catFiles(ctx, files, form.Sink(env.Stdout))
}

// coldFiles returns a table's registered segments, oldest first. Those in buckets are read by this process, with the options
// that their storages have and the keys that are here.
func coldFiles(ctx context.Context, c *sqlclient.Client, table string) ([]segmentFile, error) {
	rows, err := c.Rows(ctx, "SHOW COLD TABLE "+table)
	if err != nil {
		return nil, err
	}
	opened := map[string]objstore.Store{}
	var files []segmentFile
	for _, r := range rows {
		if path, ok := objstore.Path(r["location"]); ok {
			files = append(files, segmentFile{name: path})
			continue
		}
		if len(opened) == 0 {
			if opened, err = openBuckets(ctx, c); err != nil {
				return nil, err
			}
		}
		store := opened[r["storage"]]
		if store == nil {
			return nil, fmt.Errorf("segment %s is in the storage %q, which is not there any more", r["location"], r["storage"])
		}
		key, ok := objstore.KeyOf(store, r["location"])
		if !ok {
			return nil, fmt.Errorf("segment %s is not in its storage %q, %s", r["location"], r["storage"], store.URL(""))
		}
		files = append(files, segmentFile{name: r["location"], store: store, key: key})
	}
	return files, nil
}

// openBuckets opens the storages that are no folders, by name.
func openBuckets(ctx context.Context, c *sqlclient.Client) (map[string]objstore.Store, error) {
	rows, err := c.Rows(ctx, "SHOW STORAGES")
	if err != nil {
		return nil, err
	}
	stores := map[string]objstore.Store{}
	for _, r := range rows {
		if _, folder := objstore.Path(r["location"]); folder {
			continue
		}
		options := map[string]string{}
		if err := json.Unmarshal([]byte(r["options"]), &options); err != nil {
			return nil, fmt.Errorf("read the options of storage %s: %w", r["name"], err)
		}
		if stores[r["name"]], err = objstore.OpenWith(ctx, r["location"], options); err != nil {
			return nil, err
		}
	}
	return stores, nil
}

// segmentFile is a file of this machine, or an object of a store.
type segmentFile struct {
	name  string         // its path or URL
	store objstore.Store // nil: a file
	key   string
}

// open opens the segment and hands it to use.
func (s segmentFile) open(ctx context.Context, use func(f io.ReaderAt, size int64) error) error {
	var f objstore.Object
	var err error
	if s.store != nil {
		f, err = s.store.Open(ctx, s.key)
	} else {
		f, err = openFile(s.name)
	}
	if err != nil {
		return fmt.Errorf("read segment: %w", err)
	}
	defer f.Close()
	if err := use(f, f.Size()); err != nil {
		return fmt.Errorf("read segment %s: %w", s.name, err)
	}
	return nil
}

type localFile struct {
	*os.File
	size int64
}

func (f *localFile) Size() int64 { return f.size }

func openFile(path string) (objstore.Object, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &localFile{f, info.Size()}, nil
}

// catFiles hands the rows of segments to out, under the columns of all of them.
func catFiles(ctx context.Context, files []segmentFile, out show.Sink) error {
	var cols []show.Column
	nested := map[string]*segment.Type{}
	for _, f := range files {
		err := withFooter(ctx, f, func(found []segment.Column) {
			for _, c := range found {
				i := slices.IndexFunc(cols, func(k show.Column) bool { return k.Name == c.Name })
				if i < 0 {
					cols = append(cols, show.Column{Name: c.Name, OID: c.BaseOID})
					if c.Nested() {
						nested[c.Name] = c.Type()
					}
				} else {
					cols[i].OID = commonType(cols[i].OID, c.BaseOID)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	if j, ok := out.(*show.JSON); ok {
		j.Nested = nested
	}
	if err := out.Begin(cols); err != nil {
		return err
	}
	row := make([][]byte, len(cols))
	for _, f := range files {
		var place []int // of each column of the segment, in row
		err := readSegment(ctx, f, func(found []segment.Column) error {
			clear(row)
			for _, c := range found {
				place = append(place, slices.IndexFunc(cols, func(k show.Column) bool { return k.Name == c.Name }))
			}
			return nil
		}, func(values []segment.Value) error {
			for i, v := range values {
				row[place[i]] = v.Text
				if !v.Null && v.Text == nil {
					row[place[i]] = []byte{}
				}
			}
			return out.Row(row)
		})
		if err != nil {
			return err
		}
	}
	return out.End("")
}

// commonType is the type under which values of two types of one column, from segments of different versions, are shown:
// numbers stay numbers, and what is not of one kind is text.
func commonType(a, b uint32) uint32 {
	switch {
	case a == b:
		return a
	case show.Numeric(a) && show.Numeric(b):
		return pgtype.NumericOID
	}
	return pgtype.TextOID
}
