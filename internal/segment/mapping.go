package segment

import (
	"github.com/parquet-go/parquet-go"
)

// OIDs of PostgreSQL's own types, which never change.
const (
	oidBool        = 16
	oidBytea       = 17
	oidChar        = 18
	oidName        = 19
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidOID         = 26
	oidJSON        = 114
	oidFloat4      = 700
	oidFloat8      = 701
	oidBPChar      = 1042
	oidVarchar     = 1043
	oidDate        = 1082
	oidTime        = 1083
	oidTimestamp   = 1114
	oidTimestampTZ = 1184
	oidNumeric     = 1700
	oidUUID        = 2950
	oidJSONB       = 3802
)

// kind is how a column's values come in the stream and lie in the file.
type kind uint8

const (
	kindText        kind = iota // STRING, the bytes as they come
	kindNumericText             // STRING, decoded from numeric's binary form
	kindBool
	kindInt16
	kindInt32
	kindInt64
	kindOID
	kindFloat32
	kindFloat64
	kindDecimal32
	kindDecimal64
	kindDecimal128
	kindBytes
	kindChar
	kindUUID
	kindDate
	kindTime
	kindTimestamp
	kindTimestampTZ
	kindJSON
	kindJSONB
	kindEnum
	kindList  // an array of one dimension
	kindGroup // a composite
	kindMap   // hstore
)

var kindOfOID = map[uint32]kind{
	oidBool:        kindBool,
	oidBytea:       kindBytes,
	oidChar:        kindChar,
	oidName:        kindText,
	oidInt8:        kindInt64,
	oidInt2:        kindInt16,
	oidInt4:        kindInt32,
	oidText:        kindText,
	oidOID:         kindOID,
	oidJSON:        kindJSON,
	oidFloat4:      kindFloat32,
	oidFloat8:      kindFloat64,
	oidBPChar:      kindText,
	oidVarchar:     kindText,
	oidDate:        kindDate,
	oidTime:        kindTime,
	oidTimestamp:   kindTimestamp,
	oidTimestampTZ: kindTimestampTZ,
	oidUUID:        kindUUID,
	oidJSONB:       kindJSONB,
}

// mapping is a column's way from the stream to the file.
type mapping struct {
	kind       kind
	asText     bool // the stream has to carry the type's output form
	precision  int  // of decimals
	scale      int
	comparable bool // byte order is an order that people expect: the ledger keeps min and max
}

// mappingOf chooses the mapping of a type by its base type. What has a part without a mapping of its own comes as text as a
// whole: PostgreSQL prints such parts only inside of the whole.
func mappingOf(t *Type) mapping {
	text := mapping{kind: kindText, asText: true}
	if t.base() == oidNumeric {
		return mappingOfNumeric(t.TypMod)
	}
	if k, ok := kindOfOID[t.base()]; ok {
		return mapping{kind: k, comparable: k != kindJSON && k != kindJSONB && k != kindBytes && k != kindChar}
	}
	switch {
	case t.Elem != nil:
		if mappingOf(t.Elem).asText {
			return text
		}
		return mapping{kind: kindList}
	case t.TypeKind == "c" && len(t.Attributes) > 0: // Parquet has no group without fields
		for i := range t.Attributes {
			if mappingOf(&t.Attributes[i].Type).asText {
				return text
			}
		}
		return mapping{kind: kindGroup}
	case t.TypeKind == "e":
		return mapping{kind: kindEnum}
	case t.TypeName == "hstore" && t.Extension == "hstore":
		return mapping{kind: kindMap}
	}
	return text
}

const (
	maxDecimal32Precision  = 9
	maxDecimal64Precision  = 18
	maxDecimal128Precision = 38
)

// mappingOfNumeric reads precision and scale out of numeric's typmod. What Parquet's DECIMAL cannot say becomes exact text.
func mappingOfNumeric(typmod int32) mapping {
	const header = 4
	if typmod < header {
		return mapping{kind: kindNumericText}
	}
	t := typmod - header
	precision := int(t>>16) & 0xffff
	scale := (int(t&0x7ff) ^ 1024) - 1024 // eleven bits, signed
	m := mapping{precision: precision, scale: scale, comparable: true}
	switch {
	case precision < 1 || scale < 0 || scale > precision || precision > maxDecimal128Precision:
		return mapping{kind: kindNumericText}
	case precision <= maxDecimal32Precision:
		m.kind = kindDecimal32
	case precision <= maxDecimal64Precision:
		m.kind = kindDecimal64
	default:
		m.kind = kindDecimal128
	}
	return m
}

// node returns the Parquet node of the mapping, without the wrappers that one column of one file needs.
func (m mapping) node() parquet.Node {
	switch m.kind {
	case kindBool:
		return parquet.Leaf(parquet.BooleanType)
	case kindInt16:
		return parquet.Int(16)
	case kindInt32:
		return parquet.Int(32)
	case kindInt64, kindOID:
		return parquet.Int(64)
	case kindFloat32:
		return parquet.Leaf(parquet.FloatType)
	case kindFloat64:
		return parquet.Leaf(parquet.DoubleType)
	case kindDecimal32:
		return parquet.Decimal(m.scale, m.precision, parquet.Int32Type)
	case kindDecimal64:
		return parquet.Decimal(m.scale, m.precision, parquet.Int64Type)
	case kindDecimal128:
		return parquet.Decimal(m.scale, m.precision, parquet.FixedLenByteArrayType(16))
	case kindBytes, kindChar:
		return parquet.Leaf(parquet.ByteArrayType)
	case kindUUID:
		return parquet.UUID()
	case kindDate:
		return parquet.Date()
	case kindTime:
		return parquet.TimeAdjusted(parquet.Microsecond, false)
	case kindTimestamp:
		return parquet.TimestampAdjusted(parquet.Microsecond, false)
	case kindTimestampTZ:
		return parquet.TimestampAdjusted(parquet.Microsecond, true)
	case kindJSON, kindJSONB:
		return parquet.JSON()
	case kindEnum:
		return parquet.Enum()
	default:
		return parquet.String()
	}
}

// varlen reports whether values have no fixed length, so that their bounds have to be cut.
func (m mapping) varlen() bool {
	switch m.kind {
	case kindText, kindNumericText, kindBytes, kindChar, kindJSON, kindJSONB, kindEnum:
		return true
	}
	return false
}

// text reports whether values are stored as they come and have to be valid UTF-8.
func (m mapping) text() bool {
	switch m.kind {
	case kindText, kindJSON, kindJSONB, kindEnum:
		return true
	}
	return false
}
