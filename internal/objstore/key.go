package objstore

import (
	"net/url"
	"strings"
)

// KeyOf gives back the key that a store made a URL of, false if the URL names nothing in it.
func KeyOf(s Store, location string) (string, bool) {
	rest, ok := strings.CutPrefix(location, strings.TrimSuffix(s.URL(""), "/")+"/")
	if !ok {
		return "", false
	}
	key, err := url.PathUnescape(rest)
	if err != nil || CheckKey(key) != nil || s.URL(key) != location {
		return "", false
	}
	return key, true
}
