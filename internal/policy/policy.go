package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Policy says when and what a table flushes by itself. It fires when Interval has passed since the last flush, or when so
// many rows or bytes that it would move are hot, whichever comes first. Its JSON form is spillway.tables.policy.
type Policy struct {
	Interval time.Duration // since the last flush; 0: no interval; a multiple of a millisecond
	Rows     int64         // hot rows that a flush would move; 0: no threshold
	Bytes    int64         // size of these rows in the table; 0: no threshold
	MinRows  int64         // fewer rows than this are left alone, whatever else is due; at least 1

	// Flush are the parameters of the flush that it starts, as in jobmanager.JobSpec.Params: where, older_than, age_column,
	// time_zone, keep_rows, and the options of FLUSH.
	Flush map[string]string
}

// stored is the JSON form, for people who read system.tables.
type stored struct {
	Interval string            `json:"interval,omitempty"` // as time.Duration prints it
	Rows     int64             `json:"rows,omitempty"`
	Bytes    int64             `json:"bytes,omitempty"`
	MinRows  int64             `json:"min_rows,omitempty"`
	Flush    map[string]string `json:"flush,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (p Policy) MarshalJSON() ([]byte, error) {
	s := stored{Rows: p.Rows, Bytes: p.Bytes, MinRows: p.MinRows, Flush: p.Flush}
	if p.Interval > 0 {
		s.Interval = p.Interval.String()
	}
	if s.MinRows <= 1 {
		s.MinRows = 0
	}
	return json.Marshal(s)
}

// UnmarshalJSON implements json.Unmarshaler. A key that is not known is an error: whoever wrote it meant something by it.
func (p *Policy) UnmarshalJSON(text []byte) error {
	var s stored
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return fmt.Errorf("read flush policy: %w", err)
	}
	*p = Policy{Rows: s.Rows, Bytes: s.Bytes, MinRows: max(s.MinRows, 1), Flush: s.Flush}
	if s.Interval != "" {
		var err error
		if p.Interval, err = time.ParseDuration(s.Interval); err != nil {
			return fmt.Errorf("read flush policy: %w", err)
		}
	}
	return nil
}
