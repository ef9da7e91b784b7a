package policy

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// What is stored is read back as it was, and what a newer build wrote is not taken for something else.
func TestStoredForm(t *testing.T) {
	t.Parallel()
	for _, p := range []Policy{
		{Interval: time.Hour + 1500*time.Millisecond, Rows: 5, Bytes: 1 << 40, MinRows: 3, Flush: map[string]string{"storage": "a", "where": "(x > 1)"}},
		{Rows: 1, MinRows: 1},
	} {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var got Policy
		if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{`{"rows": 1, "moon": "full"}`, `"x"`, `{"interval": "a while"}`, `{"rows": "many"}`} {
		var p Policy
		if err := json.Unmarshal([]byte(text), &p); err == nil {
			t.Errorf("%s was read as %+v", text, p)
		}
	}
}
