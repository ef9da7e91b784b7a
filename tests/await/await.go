// Package await lets tests wait for what no event tells of: it asks again and again.
package await

import (
	"testing"
	"time"
)

// Patience is how long anything may take before a test gives up. It is no measure of speed.
const Patience = 90 * time.Second

// Until polls cond until it holds, and fails the test when that takes longer than Patience. what says what is waited for.
func Until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !Within(Patience, cond) {
		t.Fatalf("waited in vain: %s", what)
	}
}

// Within polls cond until it holds, and reports whether it did before the limit.
func Within(limit time.Duration, cond func() bool) bool {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}
