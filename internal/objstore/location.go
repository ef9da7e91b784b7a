package objstore

import (
	"context"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Open is OpenWith without options.
func Open(ctx context.Context, location string) (Store, error) { return OpenWith(ctx, location, nil) }

// OpenWith opens the store at a location: a folder, as a path or as file:///path, which is made if it is absent; or a bucket
// with a prefix, as s3://bucket/prefix, gs://bucket/prefix or az://container/prefix, which is not looked at yet. The error is
// *LocationError for a location that no store understands, *OptionError for an option.
func OpenWith(ctx context.Context, location string, options map[string]string) (Store, error) {
	p, err := parseLocation(location)
	if err != nil {
		return nil, err
	}
	s, err := readOptions(p.scheme, options)
	if err != nil {
		return nil, err
	}
	if p.scheme == "file" {
		return openLocal(ctx, p.prefix)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b := &bucket{base: p.scheme + "://" + p.bucket, prefix: p.prefix, partSize: s.partSize, slashes: p.scheme == "az"}
	if b.driver, err = drivers[p.scheme](ctx, p.bucket, &s); err != nil {
		return nil, &Error{Op: "open", URL: b.URL(""), Kind: openKind(err), Err: err}
	}
	return b, nil
}

// drivers open buckets, by scheme.
var drivers = map[string]func(ctx context.Context, bucket string, s *settings) (driver, error){
	"s3": openS3,
	"gs": openGCS,
	"az": openAzure,
}

// Check says whether a location and its options can be those of a storage, without looking at any, and how a store at that
// location will name itself. Errors: *LocationError, *OptionError.
func Check(location string, options map[string]string) (canonical string, err error) {
	p, err := parseLocation(location)
	if err != nil {
		return "", err
	}
	if _, err := readOptions(p.scheme, options); err != nil {
		return "", err
	}
	return p.String(), nil
}

// SplitOptions takes the options out of a location that carries them as a query, s3://bucket/prefix?region=eu-central-1, as a
// command line does. Secrets have no place there, and are no options.
func SplitOptions(location string) (bare string, options map[string]string, err error) {
	scheme, _, isURL := strings.Cut(location, "://")
	bare, query, has := strings.Cut(location, "?")
	if !isURL || strings.EqualFold(scheme, "file") || !has {
		return location, nil, nil
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", nil, &LocationError{scheme + "://…", "has a query that cannot be read"}
	}
	options = map[string]string{}
	for name, v := range values {
		if len(v) != 1 {
			return "", nil, &OptionError{Option: name, Msg: "option " + name + " is given twice"}
		}
		options[name] = v[0]
	}
	return bare, options, nil
}

// Overlap reports whether two canonical locations are the same or one is inside of the other. Endpoints do not count: two
// names may mean one server, and the ledger knows objects by their URLs alone.
func Overlap(a, b string) bool {
	return a == b || strings.HasPrefix(a+"/", strings.TrimSuffix(b, "/")+"/") || strings.HasPrefix(b+"/", strings.TrimSuffix(a, "/")+"/")
}

// place is a location, taken apart.
type place struct {
	scheme string // file, s3, gs or az
	bucket string // "" for a folder
	prefix string // with a slash at its end, or ""; the absolute path of a folder
}

func (p place) String() string {
	if p.scheme == "file" {
		return (&url.URL{Scheme: "file", Path: p.prefix}).String()
	}
	return strings.TrimSuffix(p.scheme+"://"+p.bucket+"/"+p.prefix, "/")
}

var bucketName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,221}[A-Za-z0-9]$`)

func parseLocation(location string) (place, error) {
	scheme, rest, isURL := strings.Cut(location, "://")
	scheme = strings.ToLower(scheme)
	if !isURL || scheme == "file" {
		dir, err := folderOf(location)
		return place{scheme: "file", prefix: dir}, err
	}
	if !slices.Contains([]string{"s3", "gs", "az"}, scheme) {
		return place{}, &LocationError{scheme + "://…", "no storage is of this kind: name a folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"}
	}
	hidden := scheme + "://…" // what is refused here may hold a secret
	bucket, prefix, _ := strings.Cut(rest, "/")
	switch {
	case strings.ContainsRune(bucket, '@'):
		return place{}, &LocationError{hidden, "holds a user or a password: keys come from the environment or files of the workers, and are never part of a location"}
	case strings.ContainsAny(rest, "?#"):
		return place{}, &LocationError{hidden, "has a query or a fragment, which may hold a secret: options are given by WITH (…)"}
	case !bucketName.MatchString(bucket):
		return place{}, &LocationError{hidden, "does not begin with the name of a bucket: " + scheme + "://bucket/prefix"}
	}
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix == "" {
		return place{scheme: scheme, bucket: bucket}, nil
	}
	if err := CheckKey(prefix); err != nil {
		return place{}, &LocationError{location, "has a prefix that no object can have: " + err.Error()}
	}
	if len(prefix) > maxPrefix {
		return place{}, &LocationError{location, "has a prefix longer than 300 bytes"}
	}
	return place{scheme: scheme, bucket: bucket, prefix: prefix + "/"}, nil
}

// Path gives the path of a file from the URL that a local store made of its key, false for other URLs.
func Path(location string) (string, bool) {
	if !strings.HasPrefix(location, "file:") {
		return "", false
	}
	dir, err := folderOf(location)
	return dir, err == nil
}

// folderOf gives the absolute path that a location names.
func folderOf(location string) (string, error) {
	scheme, _, isURL := strings.Cut(location, "://")
	switch {
	case location == "":
		return "", &LocationError{location, "is empty: name a folder, or a bucket as s3://bucket/prefix"}
	case strings.ContainsRune(location, 0):
		return "", &LocationError{location, "holds a NUL character"}
	case isURL && strings.EqualFold(scheme, "file"):
		return folderOfURL(location)
	case strings.HasPrefix(location, "file:"):
		return "", &LocationError{location, "a file URL has three slashes: file:///path"}
	}
	dir, err := filepath.Abs(location)
	if err != nil {
		return "", &LocationError{location, err.Error()}
	}
	return dir, nil
}

func folderOfURL(location string) (string, error) {
	u, err := url.Parse(location)
	switch {
	case err != nil:
		return "", &LocationError{location, "is no URL"}
	case u.User != nil:
		return "", &LocationError{"file://…", "holds a user or a password"}
	case u.Host != "" && u.Host != "localhost":
		return "", &LocationError{location, "names the host " + u.Host + ": a file URL has three slashes, file:///path"}
	case u.RawQuery != "" || u.Fragment != "":
		return "", &LocationError{location, "has a query or fragment: write ? as %3F and # as %23"}
	case !filepath.IsAbs(u.Path):
		return "", &LocationError{location, "has no absolute path"}
	}
	return filepath.Clean(u.Path), nil
}
