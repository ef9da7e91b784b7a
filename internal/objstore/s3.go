package objstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// tokenKey is the object's metadata that says by which write it was made.
const tokenKey = "spillway-write"

// maxS3Parts is S3's limit per object.
const maxS3Parts = 10_000

// s3Driver speaks S3, to Amazon or to anybody else who does.
type s3Driver struct {
	client *s3.Client
	bucket string
	// conditional says that the server keeps If-None-Match. Without it, a name is looked at before it is written, and two
	// writers of one name at one time are not told apart.
	conditional bool
	partSize    int
}

var _ driver = (*s3Driver)(nil)

func (d *s3Driver) absent(ctx context.Context, name string) (*string, error) {
	if d.conditional {
		return aws.String("*"), nil
	}
	_, err := d.head(ctx, name)
	if err == nil {
		return nil, errTaken
	}
	if !errors.Is(d.kind(err), ErrNotExist) {
		return nil, err
	}
	return nil, nil
}

func (d *s3Driver) put(ctx context.Context, name, token string, data []byte, absent bool) error {
	in := &s3.PutObjectInput{
		Bucket: &d.bucket, Key: &name, Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))), ContentMD5: contentMD5(data),
		Metadata: map[string]string{tokenKey: token},
	}
	if absent {
		var err error
		if in.IfNoneMatch, err = d.absent(ctx, name); err != nil {
			return err
		}
	}
	_, err := d.client.PutObject(ctx, in)
	return taken(err)
}

// contentMD5 lets the server refuse what was damaged on the way. Every server knows it, and buckets with object lock ask for it.
func contentMD5(data []byte) *string {
	sum := md5.Sum(data)
	return aws.String(base64.StdEncoding.EncodeToString(sum[:]))
}

type s3Upload struct {
	d        *s3Driver
	name, id string
	parts    []types.CompletedPart
}

func (d *s3Driver) begin(ctx context.Context, name, token string) (upload, error) {
	out, err := d.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &d.bucket, Key: &name, Metadata: map[string]string{tokenKey: token}})
	if err != nil {
		return nil, err
	}
	return &s3Upload{d: d, name: name, id: aws.ToString(out.UploadId)}, nil
}

func (u *s3Upload) part(ctx context.Context, data []byte) error {
	n := int32(len(u.parts) + 1)
	if n > maxS3Parts {
		return fmt.Errorf("the object has more than %d parts of %d bytes, which is S3's limit: the storage's option part_size makes them larger", maxS3Parts, u.d.partSize)
	}
	out, err := u.d.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &u.d.bucket, Key: &u.name, UploadId: &u.id, PartNumber: &n,
		Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))), ContentMD5: contentMD5(data),
	})
	if err != nil {
		return err
	}
	u.parts = append(u.parts, types.CompletedPart{ETag: out.ETag, PartNumber: &n})
	return nil
}

func (u *s3Upload) complete(ctx context.Context) error {
	condition, err := u.d.absent(ctx, u.name)
	if err != nil {
		return err
	}
	_, err = u.d.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &u.d.bucket, Key: &u.name, UploadId: &u.id, IfNoneMatch: condition, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
	})
	return taken(err)
}

func (u *s3Upload) abort(ctx context.Context) error {
	_, err := u.d.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.d.bucket, Key: &u.name, UploadId: &u.id})
	if isCode(err, "NoSuchUpload") {
		return nil // completed by a request whose answer was lost, or swept
	}
	return err
}

func (d *s3Driver) head(ctx context.Context, name string) (attrs, error) {
	out, err := d.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &d.bucket, Key: &name})
	if err != nil {
		return attrs{}, err
	}
	return attrs{
		name: name, size: aws.ToInt64(out.ContentLength), modTime: aws.ToTime(out.LastModified), version: aws.ToString(out.ETag), token: out.Metadata[tokenKey],
	}, nil
}

func (d *s3Driver) tail(ctx context.Context, name string, n int64) ([]byte, attrs, error) {
	out, err := d.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &d.bucket, Key: &name, Range: aws.String("bytes=-" + strconv.FormatInt(n, 10))})
	if isCode(err, "InvalidRange") || statusOf(err) == 416 {
		a, err := d.head(ctx, name) // an empty object has no last byte
		if err == nil && a.size > 0 {
			err = fmt.Errorf("the server refused to read the last %d bytes of an object of %d", n, a.size)
		}
		return nil, a, err
	}
	if err != nil {
		return nil, attrs{}, err
	}
	defer out.Body.Close()
	a := attrs{name: name, size: aws.ToInt64(out.ContentLength), modTime: aws.ToTime(out.LastModified), version: aws.ToString(out.ETag)}
	length := a.size
	if out.ContentRange != nil { // bytes 5-9/10
		_, total, _ := strings.Cut(*out.ContentRange, "/")
		if a.size, err = strconv.ParseInt(total, 10, 64); err != nil || a.size < length {
			return nil, attrs{}, fmt.Errorf("the server answered with the odd Content-Range %q", *out.ContentRange)
		}
	}
	if length > n && length == a.size { // some servers send all of it
		if _, err := io.CopyN(io.Discard, out.Body, length-n); err != nil {
			return nil, attrs{}, fmt.Errorf("%w: %w", errTorn, err)
		}
		length = n
	}
	data := make([]byte, length)
	if got, err := io.ReadFull(out.Body, data); err != nil {
		// Read on from where it ended, of the same version.
		if err := d.rest(ctx, name, a, data, got); err != nil {
			return nil, attrs{}, err
		}
	}
	return data, a, nil
}

// rest reads what is missing of an object's last bytes, as often as an answer brings some of them.
func (d *s3Driver) rest(ctx context.Context, name string, a attrs, data []byte, got int) error {
	for tries := 0; got < len(data); tries++ {
		n, err := d.read(ctx, name, a, data[got:], a.size-int64(len(data)-got))
		got += n
		if err != nil && (!errors.Is(err, errTorn) || tries == maxReadTries) {
			return err
		}
	}
	return nil
}

func (d *s3Driver) read(ctx context.Context, name string, a attrs, p []byte, off int64) (int, error) {
	in := &s3.GetObjectInput{Bucket: &d.bucket, Key: &name, Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, off+int64(len(p))-1))}
	if a.version != "" {
		in.IfMatch = &a.version
	}
	out, err := d.client.GetObject(ctx, in)
	if statusOf(err) == 412 || statusOf(err) == 416 || errors.Is(d.kind(err), ErrNotExist) {
		return 0, fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if err != nil {
		return 0, err
	}
	defer out.Body.Close()
	if length := aws.ToInt64(out.ContentLength); length != int64(len(p)) {
		return 0, fmt.Errorf("the server answered with %d bytes where %d were asked for", length, len(p))
	}
	n, err := io.ReadFull(out.Body, p)
	if err != nil {
		return n, fmt.Errorf("%w: %w", errTorn, err)
	}
	return n, nil
}

func (d *s3Driver) list(ctx context.Context, prefix string) iter.Seq2[attrs, error] {
	return func(yield func(attrs, error) bool) {
		pages := s3.NewListObjectsV2Paginator(d.client, &s3.ListObjectsV2Input{Bucket: &d.bucket, Prefix: &prefix})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(attrs{}, err)
				return
			}
			for _, o := range page.Contents {
				a := attrs{name: aws.ToString(o.Key), size: aws.ToInt64(o.Size), modTime: aws.ToTime(o.LastModified), version: aws.ToString(o.ETag)}
				if !yield(a, nil) {
					return
				}
			}
		}
	}
}

func (d *s3Driver) remove(ctx context.Context, names []string) error {
	if len(names) == 1 {
		_, err := d.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &d.bucket, Key: &names[0]})
		if errors.Is(d.kind(err), ErrNotExist) {
			return nil
		}
		return err
	}
	objects := make([]types.ObjectIdentifier, len(names))
	for i := range names {
		objects[i].Key = &names[i]
	}
	out, err := d.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &d.bucket, Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)}})
	if err != nil {
		return err
	}
	for _, e := range out.Errors {
		if code := aws.ToString(e.Code); code != "NoSuchKey" {
			return &codeError{code: code, msg: aws.ToString(e.Message)}
		}
	}
	return nil
}

func (d *s3Driver) sweep(ctx context.Context, prefix string) (int, error) {
	n := 0
	pages := s3.NewListMultipartUploadsPaginator(d.client, &s3.ListMultipartUploadsInput{Bucket: &d.bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return n, err
		}
		for _, u := range page.Uploads {
			name := aws.ToString(u.Key)
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			if err := (&s3Upload{d: d, name: name, id: aws.ToString(u.UploadId)}).abort(ctx); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}
