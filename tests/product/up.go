package product

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Up is what up.json says of a running `spillway up`.
type Up struct {
	PID             int    `json:"pid"`
	SQLURL          string `json:"sql_url"`
	TemporalAddress string `json:"temporal_address"`
	Namespace       string `json:"temporal_namespace"`
	MetricsURL      string `json:"metrics_url"`
}

// ReadUp reads the up.json in a data directory. It is there when the process is ready.
func ReadUp(t testing.TB, dataDir string) (u Up) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dataDir, "up.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &u); err != nil {
		t.Fatalf("up.json: %v", err)
	}
	return u
}

var address = regexp.MustCompile(`postgres://[^\s']+`)

// Through returns a URL of the database, changed so that it leads through a front-end. front holds that one's URL: its
// sql_url in up.json, or the line that says that it is ready.
func Through(t testing.TB, direct, front string) string {
	t.Helper()
	d, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	f, err := url.Parse(address.FindString(front))
	if err != nil || f.Host == "" {
		t.Fatalf("no address of a front-end in %q: %v", front, err)
	}
	d.Host = f.Host
	return d.String()
}
