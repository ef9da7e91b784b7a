package segment

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
)

// The functions here print values as PostgreSQL prints them with DateStyle ISO, TimeZone UTC, extra_float_digits 1 and
// bytea_output hex.

// appendInteger prints a value of a kind that Parquet keeps as an integer.
func (m mapping) appendInteger(dst []byte, v int64) []byte {
	switch m.kind {
	case kindDecimal32, kindDecimal64:
		return appendDecimal(dst, v, m.scale)
	case kindDate:
		dst, bc := appendDate(dst, v)
		if bc {
			dst = append(dst, " BC"...)
		}
		return dst
	case kindTime:
		return appendTime(dst, v)
	case kindTimestamp:
		return appendTimestamp(dst, v, false)
	case kindTimestampTZ:
		return appendTimestamp(dst, v, true)
	case kindBool:
		return appendBool(dst, v != 0)
	default:
		return strconv.AppendInt(dst, v, 10)
	}
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 't')
	}
	return append(dst, 'f')
}

// appendBytes prints a value that Parquet keeps as bytes.
func (m mapping) appendBytes(dst, b []byte, octalChar bool) []byte {
	switch m.kind {
	case kindBytes:
		return hex.AppendEncode(append(dst, `\x`...), b)
	case kindChar:
		return appendChar(dst, b, octalChar)
	case kindUUID:
		return appendUUID(dst, b)
	case kindDecimal128:
		return appendDecimal128(dst, uint128Of(b), m.scale)
	default:
		return append(dst, b...)
	}
}

// appendChar prints a value of type "char": nothing for a zero byte, and from PostgreSQL 15 on octal for a high one.
func appendChar(dst, b []byte, octal bool) []byte {
	switch {
	case len(b) != 1 || b[0] == 0:
		return dst
	case b[0] >= 0x80 && octal:
		return append(dst, '\\', '0'+b[0]>>6, '0'+b[0]>>3&7, '0'+b[0]&7)
	}
	return append(dst, b[0])
}

func appendUUID(dst, b []byte) []byte {
	for i, part := range [...][]byte{b[0:4], b[4:6], b[6:8], b[8:10], b[10:16]} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, part)
	}
	return dst
}

func uint128Of(b []byte) uint128 {
	return uint128{hi: binary.BigEndian.Uint64(b), lo: binary.BigEndian.Uint64(b[8:])}
}

// appendFloat prints the shortest digits that give v back, as float4out and float8out do. They change to exponents where the
// digits that the type always keeps end: at 10^6 for 32 bits, at 10^15 for 64.
func appendFloat(dst []byte, v float64, bitSize int) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, "NaN"...)
	case math.IsInf(v, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(v, -1):
		return append(dst, "-Infinity"...)
	case v == 0:
		return strconv.AppendFloat(dst, v, 'f', -1, bitSize)
	}
	limit := 15
	if bitSize == 32 {
		limit = 6
	}
	at := len(dst)
	dst = strconv.AppendFloat(dst, v, 'e', -1, bitSize)
	exp := exponentOf(dst[at:])
	if exp < -4 || exp >= limit {
		if mayBeHalfway(v, bitSize) {
			return appendInside(dst[:at], dst[at:], v, bitSize)
		}
		return dst
	}
	return strconv.AppendFloat(dst[:at], v, 'f', -1, bitSize)
}

// exponentOf reads the exponent of a number that strconv printed in form 'e'.
func exponentOf(b []byte) int {
	i := len(b) - 1
	for i > 0 && b[i] != 'e' {
		i--
	}
	exp := 0
	for _, c := range b[min(i+2, len(b)):] {
		exp = exp*10 + int(c-'0')
	}
	if i+1 < len(b) && b[i+1] == '-' {
		return -exp
	}
	return exp
}

// streamText prints a value of the stream, where it can.
func (m mapping) streamText(b []byte) ([]byte, bool) {
	switch m.kind {
	case kindDecimal32, kindDecimal64, kindDecimal128, kindNumericText:
		n, ok := parseNumeric(b)
		if !ok {
			return nil, false
		}
		return n.appendText(nil)
	case kindFloat32:
		if len(b) != 4 {
			return nil, false
		}
		return appendFloat(nil, float64(math.Float32frombits(binary.BigEndian.Uint32(b))), 32), true
	case kindFloat64:
		if len(b) != 8 {
			return nil, false
		}
		return appendFloat(nil, math.Float64frombits(binary.BigEndian.Uint64(b)), 64), true
	case kindUUID:
		if len(b) != 16 {
			return nil, false
		}
		return appendUUID(nil, b), true
	case kindJSONB:
		if len(b) == 0 {
			return nil, false
		}
		return b[1:], true
	}
	if m.varlen() {
		return m.appendBytes(nil, b, true), true
	}
	return m.streamInteger(b)
}

// streamInteger prints a value of the stream of a kind that Parquet keeps as an integer.
func (m mapping) streamInteger(b []byte) ([]byte, bool) {
	var v int64
	switch len(b) {
	case 1:
		v = int64(b[0])
	case 2:
		v = int64(int16(binary.BigEndian.Uint16(b)))
	case 4:
		v = int64(int32(binary.BigEndian.Uint32(b)))
	case 8:
		v = int64(binary.BigEndian.Uint64(b))
	default:
		return nil, false
	}
	var reason string
	switch m.kind {
	case kindOID:
		v = int64(uint32(v))
	case kindDate:
		var d int32
		d, reason = parquetDate(int32(v))
		v = int64(d)
	case kindTimestamp, kindTimestampTZ:
		v, reason = parquetTimestamp(v)
	}
	if reason != "" {
		return []byte("infinity"), true
	}
	return m.appendInteger(nil, v), true
}
