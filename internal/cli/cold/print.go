package cold

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/segment"
)

// Print hands the rows of segments to out, under the columns of all of them.
func Print(ctx context.Context, files []Segment, out show.Sink) error {
	var cols []show.Column
	nested := map[string]*segment.Type{}
	for _, f := range files {
		err := withFooter(ctx, f, func(found []segment.Column) {
			for _, c := range found {
				i := slices.IndexFunc(cols, func(k show.Column) bool { return k.Name == c.Name })
				if i < 0 {
					cols = append(cols, show.Column{Name: c.Name, OID: c.BaseOID})
					if c.Nested() {
						nested[c.Name] = c.Type()
					}
				} else {
					cols[i].OID = commonType(cols[i].OID, c.BaseOID)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	if j, ok := out.(*show.JSON); ok {
		j.Nested = nested
	}
	if err := out.Begin(cols); err != nil {
		return err
	}
	row := make([][]byte, len(cols))
	for _, f := range files {
		var place []int // of each column of the segment, in row
		err := readSegment(ctx, f, func(found []segment.Column) error {
			clear(row)
			for _, c := range found {
				place = append(place, slices.IndexFunc(cols, func(k show.Column) bool { return k.Name == c.Name }))
			}
			return nil
		}, func(values []segment.Value) error {
			for i, v := range values {
				row[place[i]] = v.Text
				if !v.Null && v.Text == nil {
					row[place[i]] = []byte{}
				}
			}
			return out.Row(row)
		})
		if err != nil {
			return err
		}
	}
	return out.End("")
}

// commonType is the type under which values of two types of one column, from segments of different versions, are shown:
// numbers stay numbers, and what is not of one kind is text.
func commonType(a, b uint32) uint32 {
	switch {
	case a == b:
		return a
	case show.Numeric(a) && show.Numeric(b):
		return pgtype.NumericOID
	}
	return pgtype.TextOID
}
