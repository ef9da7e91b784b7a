package words

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		word, want string
		names      []string
	}{
		{"app.evnts", "app.events", []string{"app.clicks", "app.events", "spill.events"}},
		{"app.evetns", "app.events", []string{"app.events"}}, // a swap is one edit
		{"APP.EVENTS", "app.events", []string{"app.events"}},
		{"--storge", "--storage", []string{"--slots", "--storage"}},
		{"app.event", "app.events or app.event2", []string{"app.events", "app.event2", "app.event3"}},
		{"flush:app.events:01a2", "flush:app.events:01a21add-c910", []string{"restore:app.events:01a2", "flush:app.events:01a21add-c910"}},
		{"a", "", []string{"xyz", "a"}},
		{"", "", []string{"events"}},
		{"日本後", "日本語", []string{"日本語"}},
		{"nothing.like", "", []string{"app.events"}},
	} {
		if got := strings.Join(Nearest(c.word, c.names), " or "); got != c.want {
			t.Errorf("nearest(%q) = %q, want %q", c.word, got, c.want)
		}
	}
}
