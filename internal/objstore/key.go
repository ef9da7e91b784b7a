package objstore

import (
	"net/url"
	"strings"
)

// KeyOf gives back the key that a store made a URL of, false if the URL names nothing in it. Folders escape what a URL may not
// hold; buckets do not.
func KeyOf(s Store, location string) (string, bool) {
	rest, ok := strings.CutPrefix(location, strings.TrimSuffix(s.URL(""), "/")+"/")
	if !ok {
		return "", false
	}
	keys := []string{rest}
	if plain, err := url.PathUnescape(rest); err == nil {
		keys = append(keys, plain)
	}
	for _, key := range keys {
		if CheckKey(key) == nil && s.URL(key) == location {
			return key, true
		}
	}
	return "", false
}
