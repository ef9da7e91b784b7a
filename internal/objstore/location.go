package objstore

import (
	"context"
	"net/url"
	"path/filepath"
	"strings"
)

// Open opens the store at a location: a folder, as a path or as file:///path. The folder is made if it is absent. The
// error is *LocationError for a location of another kind.
func Open(ctx context.Context, location string) (Store, error) {
	dir, err := folderOf(location)
	if err != nil {
		return nil, err
	}
	return openLocal(ctx, dir)
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
		return "", &LocationError{location, "is empty: name a folder"}
	case strings.ContainsRune(location, 0):
		return "", &LocationError{location, "holds a NUL character"}
	case isURL && strings.EqualFold(scheme, "file"):
		return folderOfURL(location)
	case isURL:
		return "", &LocationError{location, "storage of the kind " + scheme + ":// is not supported yet: name a folder"}
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
	case u.Host != "" && u.Host != "localhost":
		return "", &LocationError{location, "names the host " + u.Host + ": a file URL has three slashes, file:///path"}
	case u.RawQuery != "" || u.Fragment != "":
		return "", &LocationError{location, "has a query or fragment: write ? as %3F and # as %23"}
	case !filepath.IsAbs(u.Path):
		return "", &LocationError{location, "has no absolute path"}
	}
	return filepath.Clean(u.Path), nil
}
