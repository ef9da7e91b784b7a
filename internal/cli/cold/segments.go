package cold

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/segment"
)

// Files returns a table's registered segments, oldest first. Those in buckets are read by this process, with the options
// that their storages have and the keys that are here.
func Files(ctx context.Context, c *sqlclient.Client, table string) ([]Segment, error) {
	rows, err := c.Rows(ctx, "SHOW COLD TABLE "+table)
	if err != nil {
		return nil, err
	}
	opened := map[string]objstore.Store{}
	var files []Segment
	for _, r := range rows {
		if path, ok := objstore.Path(r["location"]); ok {
			files = append(files, Segment{Name: path})
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
		files = append(files, Segment{Name: r["location"], store: store, key: key})
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

// Segment is a file of this machine, or an object of a store.
type Segment struct {
	Name string // its path or URL

	store objstore.Store // nil: a file
	key   string
}

// open opens the segment and hands it to use.
func (s Segment) open(ctx context.Context, use func(f io.ReaderAt, size int64) error) error {
	var f objstore.Object
	var err error
	if s.store != nil {
		f, err = s.store.Open(ctx, s.key)
	} else {
		f, err = openFile(s.Name)
	}
	if err != nil {
		return fmt.Errorf("read segment: %w", err)
	}
	defer f.Close()
	if err := use(f, f.Size()); err != nil {
		return fmt.Errorf("read segment %s: %w", s.Name, err)
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

// withFooter hands the columns of a segment to use.
func withFooter(ctx context.Context, file Segment, use func([]segment.Column)) error {
	return file.open(ctx, func(f io.ReaderAt, size int64) error {
		footer, err := segment.ReadFooter(f, size)
		if err == nil {
			use(footer.Columns)
		}
		return err
	})
}

// readSegment hands the columns of a segment to head, if it is not nil, and then each row to each.
func readSegment(ctx context.Context, file Segment, head func([]segment.Column) error, each func([]segment.Value) error) error {
	return file.open(ctx, func(f io.ReaderAt, size int64) error {
		r, err := segment.OpenReader(f, size)
		if err != nil {
			return err
		}
		defer r.Close()
		if head != nil {
			if err := head(r.Columns()); err != nil {
				return err
			}
		}
		for n := 0; r.Next(); n++ {
			if n%1000 == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := each(r.Row()); err != nil {
				return err
			}
		}
		return r.Err()
	})
}
