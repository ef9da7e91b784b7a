package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/storage"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	htransport "google.golang.org/api/transport/http"
)

// gcsGrain is what the pieces of an upload are multiples of, but for the last.
const gcsGrain = googleapi.MinUploadChunkSize

// gcsDriver speaks Google Cloud Storage's own protocol. Its uploads in parts are invisible, cannot be listed, and vanish a
// week after their last part.
type gcsDriver struct {
	bucket   *storage.BucketHandle
	partSize int
}

var _ driver = (*gcsDriver)(nil)

func openGCS(ctx context.Context, bucket string, s *settings) (driver, error) {
	var opts []option.ClientOption
	emulator := strings.HasPrefix(s.endpoint, "http://")
	if s.endpoint != "" {
		opts = append(opts, option.WithEndpoint(s.endpoint+"/storage/v1/"))
	}
	switch {
	case emulator: // what is not encrypted is no place for Google's credentials
		opts = append(opts, option.WithoutAuthentication())
	case s.credentialsFile != "":
		opts = append(opts, option.WithAuthCredentialsFile(option.ServiceAccount, s.credentialsFile), option.WithScopes(storage.ScopeReadWrite))
	default:
		opts = append(opts, option.WithScopes(storage.ScopeReadWrite))
	}
	base := http.DefaultTransport.(*http.Transport).Clone()
	tune(base, s.timeout)
	transport, err := htransport.NewTransport(ctx, base, opts...)
	if err != nil {
		return nil, fmt.Errorf("%w: Google's credentials: %w", ErrForbidden, err)
	}
	client := []option.ClientOption{option.WithHTTPClient(&http.Client{Transport: transport}), storage.WithJSONReads()}
	if s.endpoint != "" {
		client = append(client, option.WithEndpoint(s.endpoint+"/storage/v1/"))
	}
	c, err := storage.NewClient(context.WithoutCancel(ctx), client...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	c.SetRetry(storage.WithMaxAttempts(s3Attempts), storage.WithBackoff(gax.Backoff{Initial: 200 * time.Millisecond, Max: s3MaxBackoff, Multiplier: 2}))
	return &gcsDriver{bucket: c.Bucket(bucket), partSize: s.partSize}, nil
}

// writer begins an upload that sends pieces of at most size bytes, and keeps one to repeat it.
func (d *gcsDriver) writer(ctx context.Context, name, token string, size int, absent bool) *storage.Writer {
	o := d.bucket.Object(name)
	if absent {
		o = o.If(storage.Conditions{DoesNotExist: true})
	} else {
		o = o.Retryer(storage.WithPolicy(storage.RetryAlways)) // to replace twice by the same is no harm
	}
	w := o.NewWriter(ctx)
	w.ChunkSize = (size/gcsGrain + 1) * gcsGrain
	w.Metadata = map[string]string{tokenKey: token}
	return w
}

func (d *gcsDriver) put(ctx context.Context, name, token string, data []byte, absent bool) error {
	ctx, cancel := context.WithCancel(ctx) // an abandoned writer holds on until its context ends
	defer cancel()
	w := d.writer(ctx, name, token, len(data), absent)
	if _, err := w.Write(data); err != nil {
		return gcsTaken(err)
	}
	return gcsTaken(w.Close())
}

type gcsUpload struct {
	w   *storage.Writer
	end context.CancelFunc
}

func (d *gcsDriver) begin(ctx context.Context, name, token string) (upload, error) {
	ctx, cancel := context.WithCancel(ctx)
	return &gcsUpload{w: d.writer(ctx, name, token, d.partSize-1, true), end: cancel}, nil
}

func (u *gcsUpload) part(_ context.Context, data []byte) error {
	_, err := u.w.Write(data)
	return gcsTaken(err)
}

func (u *gcsUpload) complete(context.Context) error { return gcsTaken(u.w.Close()) }

func (u *gcsUpload) abort(context.Context) error {
	u.end()
	_ = u.w.Close() // waits until nothing is sent any more; that it was cut short is what was wanted
	return nil
}

func gcsTaken(err error) error {
	var api *googleapi.Error
	if errors.As(err, &api) && api.Code == http.StatusPreconditionFailed {
		return fmt.Errorf("%w: %w", errTaken, err)
	}
	return err
}

func gcsAttrs(a *storage.ObjectAttrs) attrs {
	return attrs{name: a.Name, size: a.Size, modTime: a.Updated, version: strconv.FormatInt(a.Generation, 10), token: a.Metadata[tokenKey]}
}

func (d *gcsDriver) head(ctx context.Context, name string) (attrs, error) {
	a, err := d.bucket.Object(name).Attrs(ctx)
	if err != nil {
		return attrs{}, err
	}
	return gcsAttrs(a), nil
}

func (d *gcsDriver) tail(ctx context.Context, name string, n int64) ([]byte, attrs, error) {
	r, err := d.bucket.Object(name).NewRangeReader(ctx, -n, -1)
	var api *googleapi.Error
	if errors.As(err, &api) && api.Code == http.StatusRequestedRangeNotSatisfiable { // an empty object has no last byte
		return tailByHead(ctx, d, name, n)
	}
	if err != nil {
		return nil, attrs{}, err
	}
	defer r.Close()
	a := attrs{name: name, size: r.Attrs.Size, modTime: r.Attrs.LastModified, version: strconv.FormatInt(r.Attrs.Generation, 10)}
	data := make([]byte, min(n, a.size))
	got, _ := io.ReadFull(r, data)
	for tries := 0; got < len(data); tries++ { // read on from where it ended, of the same version
		k, err := d.read(ctx, name, a, data[got:], a.size-int64(len(data)-got))
		got += k
		if err != nil && (!errors.Is(err, errTorn) || tries == maxReadTries) {
			return nil, attrs{}, err
		}
	}
	return data, a, nil
}

// tailByHead describes an object, then reads its end; again if it was replaced in between.
func tailByHead(ctx context.Context, d driver, name string, n int64) ([]byte, attrs, error) {
	for tries := 0; ; tries++ {
		a, err := d.head(ctx, name)
		if err != nil {
			return nil, attrs{}, err
		}
		data := make([]byte, min(n, a.size))
		for got := 0; got < len(data) && err == nil; {
			var k int
			k, err = d.read(ctx, name, a, data[got:], a.size-int64(len(data)-got))
			if got += k; k > 0 && errors.Is(err, errTorn) {
				err = nil
			}
		}
		if err == nil {
			return data, a, nil
		}
		if !errors.Is(err, ErrChanged) && !errors.Is(err, errTorn) || tries == maxReadTries {
			return nil, attrs{}, err
		}
	}
}

func (d *gcsDriver) read(ctx context.Context, name string, a attrs, p []byte, off int64) (int, error) {
	generation, err := strconv.ParseInt(a.version, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("generation of %s: %w", name, err)
	}
	r, err := d.bucket.Object(name).Generation(generation).NewRangeReader(ctx, off, int64(len(p)))
	if errors.Is(err, storage.ErrObjectNotExist) {
		return 0, fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if err != nil {
		return 0, err
	}
	defer r.Close()
	n, err := io.ReadFull(r, p)
	if err != nil {
		return n, fmt.Errorf("%w: %w", errTorn, err)
	}
	return n, nil
}

func (d *gcsDriver) list(ctx context.Context, prefix string) iter.Seq2[attrs, error] {
	return func(yield func(attrs, error) bool) {
		query := &storage.Query{Prefix: prefix}
		if err := query.SetAttrSelection([]string{"Name", "Size", "Updated", "Generation"}); err != nil {
			yield(attrs{}, err)
			return
		}
		objects := d.bucket.Objects(ctx, query)
		for {
			a, err := objects.Next()
			if errors.Is(err, iterator.Done) {
				return
			}
			if err != nil {
				yield(attrs{}, err)
				return
			}
			if !yield(gcsAttrs(a), nil) {
				return
			}
		}
	}
}

func (d *gcsDriver) remove(ctx context.Context, names []string) error {
	return removeEach(ctx, names, func(ctx context.Context, name string) error {
		err := d.bucket.Object(name).Retryer(storage.WithPolicy(storage.RetryAlways)).Delete(ctx)
		if errors.Is(err, storage.ErrObjectNotExist) {
			return nil
		}
		return err
	})
}

func (d *gcsDriver) sweep(context.Context, string) (int, error) { return 0, nil }

func (d *gcsDriver) kind(err error) error {
	var api *googleapi.Error
	switch {
	case errors.Is(err, storage.ErrBucketNotExist):
		return ErrNoBucket
	case errors.Is(err, storage.ErrObjectNotExist):
		return ErrNotExist
	case !errors.As(err, &api):
		return nil
	case api.Code == http.StatusNotFound && strings.Contains(api.Message, "bucket"):
		return ErrNoBucket
	}
	return kindOfStatus(api.Code)
}
