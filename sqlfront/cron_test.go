package sqlfront

import (
	"errors"
	"testing"
	"time"
)

// A46: a bad cron expression is an error with a place.
func TestCron(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
	for _, good := range []string{
		"* * * * *", "0 3 * * *", " */5  0-6/2,9 1,15 jan-mar mon-fri ", "0 0 29 2 *", "0 0 * * 7", "0 0 * * 5-7", "0 3 * * SUN 2030", "*/10 * * * * * *", "0 0 3 * * * 2026-2030", "@daily", "@weekly",
		"5/15 * * * *", "0 0 29 2 mon",
	} {
		if err := checkCron(good, now); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, at := range map[string]int{
		"": 0, "x": 0, "0 3 * *": 0, "60 * * * *": 0, "0 24 * * *": 2, "0  3 0 * *": 5, "0 3 * 13 *": 6, "0 3 * * 8": 8, "0 3 * * mon-fry": 8, "0 3 1,32 * *": 6, "0 3 */0 * *": 4, "5-1 * * * *": 0,
		"1-2-3 * * * *": 0, "1/2/3 * * * *": 0, "-1 * * * *": 0, "+1 * * * *": 0, "0 3 30 2 *": 0, "0 3 * * * 2020": 0, "0 3 * * * 1999": 10, "@every 1h": 0, "  @dayly": 2, "TZ=UTC 0 3 * * *": 0,
		"CRON_TZ=UTC 0 3 * * *": 0, "0 3 * ja *": 6, "0 3 * * m": 8, "0 3 ? * *": 4, "0 3 L * *": 4, "ä 3 ö * *": 0, "0 3 * * 1 * * *": 0, "0 3 * * , ": 8, "99999999999999999999 * * * *": 0,
	} {
		err := checkCron(bad, now)
		var e *cronError
		if !errors.As(err, &e) || e.at != at || e.msg == "" || e.hint == "" {
			t.Errorf("%q: %#v, want an error at %d", bad, err, at)
		}
	}
}
