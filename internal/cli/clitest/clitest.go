// Package clitest helps the tests of what the command line consists of.
package clitest

import (
	"strings"
	"testing"
)

// Contains fails the test unless text holds every part.
func Contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is missing in:\n%s", p, text)
		}
	}
}
