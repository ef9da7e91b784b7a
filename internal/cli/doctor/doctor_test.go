package doctor

import (
	"strings"
	"testing"
	"time"

	sdk "go.temporal.io/sdk/client"
)

func TestClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for skew, want := range map[time.Duration]string{
		0: OK, time.Second: OK, -1500 * time.Millisecond: OK, 5 * time.Second: Warn, -2 * time.Hour: Fail,
	} {
		var d doctor
		d.examineClock(now.Add(skew), now.Add(-10*time.Millisecond), now.Add(10*time.Millisecond))
		if got := d.findings[0].Status; got != want {
			t.Errorf("skew %s: %s, want %s", skew, got, want)
		}
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	for days, want := range map[time.Duration]string{1: Warn, 3: OK, 7: OK, 30: OK, 90: Warn} {
		d := &doctor{o: &Options{Retention: 30 * 24 * time.Hour}}
		d.examineRetention(sdk.Options{Namespace: "n", HostPort: "h:1"}, days*24*time.Hour)
		if got := d.findings[0]; got.Status != want || want == Warn && !strings.Contains(got.Todo, "namespace update --namespace n --retention 168h --address h:1") {
			t.Errorf("%d days: %+v", days, got)
		}
	}
}
