package objstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

const (
	azureTokenKey   = "spillwaywrite" // a hyphen is not allowed there
	maxAzureBlocks  = 50_000
	azureBlockIDLen = 18 // all of a blob's are equally long
)

// azureDriver speaks Azure Blob Storage's own protocol. Blocks that no upload committed cannot be listed by themselves, and
// vanish a week after the last of them.
type azureDriver struct {
	container *container.Client
	partSize  int
}

var _ driver = (*azureDriver)(nil)

func openAzure(_ context.Context, bucket string, s *settings) (driver, error) {
	base := s.endpoint
	switch {
	case base == "" && s.account == "":
		return nil, fmt.Errorf("%w: no storage account is known for the container: give the storage WITH (account = '…')", ErrForbidden)
	case base == "":
		base = "https://" + s.account + ".blob.core.windows.net"
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	tune(transport, s.timeout)
	options := &container.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: &http.Client{Transport: transport}, Retry: policy.RetryOptions{MaxRetries: s3Attempts - 1, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: s3MaxBackoff},
	}}
	client, err := azureClient(base+"/"+bucket, s, options)
	if err != nil {
		return nil, err
	}
	return &azureDriver{container: client, partSize: s.partSize}, nil
}

func azureClient(url string, s *settings, options *container.ClientOptions) (*container.Client, error) {
	if s.secretKeyEnv == "" {
		credential, err := azidentity.NewDefaultAzureCredential(nil)
		if err != nil {
			return nil, fmt.Errorf("%w: Azure's credentials: %w", ErrForbidden, err)
		}
		return container.NewClient(url, credential, options)
	}
	if s.account == "" {
		return nil, fmt.Errorf("%w: a key is of a storage account: give the storage WITH (account = '…')", ErrForbidden)
	}
	key, err := fromEnv(s.secretKeyEnv)
	if err != nil {
		return nil, err
	}
	credential, err := container.NewSharedKeyCredential(s.account, key)
	if err != nil { // it may repeat the key
		return nil, fmt.Errorf("%w: the environment variable %s holds no key of a storage account", ErrForbidden, s.secretKeyEnv)
	}
	return container.NewClientWithSharedKeyCredential(url, credential, options)
}

func azureToken(token string) map[string]*string { return map[string]*string{azureTokenKey: &token} }

// azureAbsent is the condition that the name is free.
func azureAbsent() *blob.AccessConditions {
	anything := azcore.ETagAny
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &anything}}
}

func (d *azureDriver) put(ctx context.Context, name, token string, data []byte, absent bool) error {
	options := &blockblob.UploadOptions{Metadata: azureToken(token)}
	if absent {
		options.AccessConditions = azureAbsent()
	}
	_, err := d.container.NewBlockBlobClient(name).Upload(ctx, streaming.NopCloser(bytes.NewReader(data)), options)
	return azureTaken(err)
}

type azureUpload struct {
	d           *azureDriver
	client      *blockblob.Client
	token, base string
	blocks      []string
}

func (d *azureDriver) begin(_ context.Context, name, token string) (upload, error) {
	// Blocks of all writers of a name lie together: each writer's are called differently.
	return &azureUpload{d: d, client: d.container.NewBlockBlobClient(name), token: token, base: rand.Text()[:azureBlockIDLen-6]}, nil
}

func (u *azureUpload) part(ctx context.Context, data []byte) error {
	if len(u.blocks) == maxAzureBlocks {
		return fmt.Errorf("the object has more than %d blocks of %d bytes, which is Azure's limit: the storage's option part_size makes them larger", maxAzureBlocks, u.d.partSize)
	}
	id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s%06d", u.base, len(u.blocks)))
	if _, err := u.client.StageBlock(ctx, id, streaming.NopCloser(bytes.NewReader(data)), nil); err != nil {
		return err
	}
	u.blocks = append(u.blocks, id)
	return nil
}

func (u *azureUpload) complete(ctx context.Context) error {
	_, err := u.client.CommitBlockList(ctx, u.blocks, &blockblob.CommitBlockListOptions{Metadata: azureToken(u.token), AccessConditions: azureAbsent()})
	return azureTaken(err)
}

func (u *azureUpload) abort(context.Context) error { return nil }

func azureTaken(err error) error {
	if bloberror.HasCode(err, bloberror.BlobAlreadyExists, bloberror.ConditionNotMet) {
		return fmt.Errorf("%w: %w", errTaken, err)
	}
	return err
}

func (d *azureDriver) head(ctx context.Context, name string) (attrs, error) {
	p, err := d.container.NewBlobClient(name).GetProperties(ctx, nil)
	if err != nil {
		return attrs{}, err
	}
	a := attrs{name: name, size: value(p.ContentLength), modTime: value(p.LastModified), version: string(value(p.ETag))}
	for key, v := range p.Metadata { // the case of keys is lost on the way
		if strings.EqualFold(key, azureTokenKey) {
			a.token = value(v)
		}
	}
	return a, nil
}

// value is what a pointer of the client points to, or nothing.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// tail reads a small object whole and at once, since Azure gives no last bytes without being told how many there are.
func (d *azureDriver) tail(ctx context.Context, name string, n int64) ([]byte, attrs, error) {
	out, err := d.container.NewBlobClient(name).DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Count: n}})
	if bloberror.HasCode(err, bloberror.InvalidRange) { // an empty object has no first byte
		return tailByHead(ctx, d, name, n)
	}
	if err != nil {
		return nil, attrs{}, err
	}
	defer out.Body.Close()
	_, total, _ := strings.Cut(value(out.ContentRange), "/") // bytes 0-9/10
	size, err := strconv.ParseInt(total, 10, 64)
	if err != nil || size > n {
		return tailByHead(ctx, d, name, n)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(out.Body, data); err != nil {
		return tailByHead(ctx, d, name, n)
	}
	return data, attrs{name: name, size: size, modTime: value(out.LastModified), version: string(value(out.ETag))}, nil
}

func (d *azureDriver) read(ctx context.Context, name string, a attrs, p []byte, off int64) (int, error) {
	version := azcore.ETag(a.version)
	out, err := d.container.NewBlobClient(name).DownloadStream(ctx, &blob.DownloadStreamOptions{
		Range:            blob.HTTPRange{Offset: off, Count: int64(len(p))},
		AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: &version}},
	})
	if bloberror.HasCode(err, bloberror.ConditionNotMet, bloberror.BlobNotFound, bloberror.InvalidRange) {
		return 0, fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if err != nil {
		return 0, err
	}
	defer out.Body.Close()
	n, err := io.ReadFull(out.Body, p)
	if err != nil {
		return n, fmt.Errorf("%w: %w", errTorn, err)
	}
	return n, nil
}

func (d *azureDriver) list(ctx context.Context, prefix string) iter.Seq2[attrs, error] {
	return func(yield func(attrs, error) bool) {
		pages := d.container.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix})
		for pages.More() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(attrs{}, err)
				return
			}
			for _, item := range page.Segment.BlobItems {
				a := attrs{name: value(item.Name)}
				if p := item.Properties; p != nil {
					a.size, a.modTime, a.version = value(p.ContentLength), value(p.LastModified), string(value(p.ETag))
				}
				if !yield(a, nil) {
					return
				}
			}
		}
	}
}

func (d *azureDriver) remove(ctx context.Context, names []string) error {
	return removeEach(ctx, names, func(ctx context.Context, name string) error {
		all := blob.DeleteSnapshotsOptionTypeInclude
		_, err := d.container.NewBlobClient(name).Delete(ctx, &blob.DeleteOptions{DeleteSnapshots: &all})
		if bloberror.HasCode(err, bloberror.BlobNotFound) {
			return nil
		}
		return err
	})
}

func (d *azureDriver) sweep(context.Context, string) (int, error) { return 0, nil }

func (d *azureDriver) kind(err error) error {
	var api *azcore.ResponseError
	var login *azidentity.AuthenticationFailedError
	switch {
	case bloberror.HasCode(err, bloberror.ContainerNotFound):
		return ErrNoBucket
	case errors.As(err, &login):
		return ErrForbidden
	case !errors.As(err, &api):
		return nil
	}
	return kindOfStatus(api.StatusCode)
}
