package pgwire

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Type OIDs of our columns.
const (
	oidBool        = 16
	oidName        = 19
	oidInt8        = 20
	oidText        = 25
	oidFloat8      = 701
	oidUnknown     = 705
	oidBpchar      = 1042
	oidVarchar     = 1043
	oidTimestamptz = 1184
)

func (t Type) oid() (oid uint32, size int16) {
	switch t {
	case Int8:
		return oidInt8, 8
	case Float8:
		return oidFloat8, 8
	case Bool:
		return oidBool, 1
	case Timestamptz:
		return oidTimestamptz, 8
	}
	return oidText, -1
}

// format returns the format code of column i: none means text for all, one is for all.
func format(codes []int16, i int) int16 {
	switch {
	case len(codes) == 1:
		return codes[0]
	case i < len(codes):
		return codes[i]
	}
	return 0
}

func rowDescription(cols []Column, formats []int16) *pgproto3.RowDescription {
	m := &pgproto3.RowDescription{Fields: make([]pgproto3.FieldDescription, len(cols))}
	for i, col := range cols {
		oid, size := col.Type.oid()
		m.Fields[i] = pgproto3.FieldDescription{
			Name: []byte(col.Name), DataTypeOID: oid, DataTypeSize: size, TypeModifier: -1, Format: format(formats, i),
		}
	}
	return m
}

// sendRows sends rows and, if tag is not empty, the end of the command.
func (c *conn) sendRows(cols []Column, formats []int16, rows [][]any, tag string) error {
	zone := c.zone()
	for _, row := range rows {
		m := &pgproto3.DataRow{Values: make([][]byte, len(cols))}
		for i := range cols {
			if i < len(row) && row[i] != nil {
				m.Values[i] = encode(row[i], format(formats, i), zone)
			}
		}
		if err := c.send(m); err != nil {
			return err
		}
	}
	if tag == "" {
		return nil
	}
	return c.send(&pgproto3.CommandComplete{CommandTag: []byte(tag)})
}

// zone is the client's TimeZone, or UTC if this machine does not know it. Either is right: each moment comes with its offset.
func (c *conn) zone() *time.Location {
	name := c.setting("TimeZone")
	if name == "" {
		return time.UTC
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC
	}
	return zone
}

// encode returns a value in PostgreSQL's text or binary form.
func encode(v any, format int16, zone *time.Location) []byte {
	binaryForm := format == 1
	switch v := v.(type) {
	case string:
		return []byte(v)
	case int64:
		if binaryForm {
			return binary.BigEndian.AppendUint64(nil, uint64(v))
		}
		return strconv.AppendInt(nil, v, 10)
	case float64:
		if binaryForm {
			return binary.BigEndian.AppendUint64(nil, math.Float64bits(v))
		}
		return strconv.AppendFloat(nil, v, 'g', -1, 64)
	case bool:
		if binaryForm {
			return []byte{map[bool]byte{true: 1}[v]}
		}
		return []byte(map[bool]string{true: "t", false: "f"}[v])
	case time.Time:
		if binaryForm {
			return binary.BigEndian.AppendUint64(nil, uint64(v.UnixMicro()-epoch2000))
		}
		v = v.In(zone)
		if _, offset := v.Zone(); offset%3600 != 0 {
			return v.AppendFormat(nil, "2006-01-02 15:04:05.999999-07:00")
		}
		return v.AppendFormat(nil, "2006-01-02 15:04:05.999999-07")
	}
	return nil
}

// epoch2000 is PostgreSQL's zero, in microseconds of Unix time.
const epoch2000 = 946_684_800_000_000
