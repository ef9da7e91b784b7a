package objstore

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// The client repeats a request this often before the flush, which has a patience of its own, hears of it.
const (
	s3Attempts   = 4
	s3MaxBackoff = 2 * time.Second
)

// openS3 makes a client. It reads the environment and the files that the storage or Amazon's own rules name, and connects to
// nothing.
func openS3(ctx context.Context, bucket string, s *settings) (driver, error) {
	load := []func(*config.LoadOptions) error{
		// Amazon's own kind of client, which knows AWS_CA_BUNDLE.
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { tune(t, s.timeout) })),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = s3Attempts, s3MaxBackoff })
		}),
		// Checksums that not every server knows: ours are Content-MD5 and the signature over the content.
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
	}
	if s.region != "" {
		load = append(load, config.WithRegion(s.region))
	}
	switch {
	case s.accessKeyEnv != "":
		load = append(load, config.WithCredentialsProvider(envKeys(s)))
	case s.credentialsFile != "":
		if f, err := os.Open(s.credentialsFile); err != nil {
			return nil, fmt.Errorf("%w: credentials_file: %w", ErrForbidden, err)
		} else if err := f.Close(); err != nil {
			return nil, err
		}
		profile := s.profile
		if profile == "" {
			profile = "default" // named, or the environment would come first
		}
		load = append(load, config.WithSharedCredentialsFiles([]string{s.credentialsFile}), config.WithSharedConfigProfile(profile))
	case s.profile != "":
		load = append(load, config.WithSharedConfigProfile(s.profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("%w: read the configuration of Amazon's client: %w", ErrForbidden, err)
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		if s.endpoint != "" {
			o.BaseEndpoint = &s.endpoint
		}
		// Servers other than Amazon's rarely have a host name for each bucket.
		own := o.BaseEndpoint != nil
		o.UsePathStyle = own
		if s.pathStyle != nil {
			o.UsePathStyle = *s.pathStyle
		}
		if o.Region == "" && own {
			o.Region = "us-east-1" // for the signature; such servers mostly do not care
		}
	})
	if client.Options().Region == "" {
		return nil, fmt.Errorf("%w: no region is known for the bucket: give the storage WITH (region = '…'), or set AWS_REGION where the workers run", ErrForbidden)
	}
	return &s3Driver{client: client, bucket: bucket, conditional: s.putIfAbsent, partSize: s.partSize}, nil
}

// envKeys reads the keys from the environment each time that they are needed, and keeps them nowhere else.
func envKeys(s *settings) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		c := aws.Credentials{Source: "environment"}
		var err error
		if c.AccessKeyID, err = fromEnv(s.accessKeyEnv); err != nil {
			return c, err
		}
		if c.SecretAccessKey, err = fromEnv(s.secretKeyEnv); err != nil {
			return c, err
		}
		if s.sessionTokenEnv != "" {
			c.SessionToken, err = fromEnv(s.sessionTokenEnv)
		}
		return c, err
	})
}
