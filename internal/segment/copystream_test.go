package segment

import (
	"encoding/binary"
	"math"
	"strings"
)

// copyStream builds a binary COPY stream by hand.
type copyStream struct{ b []byte }

func newCopyStream() *copyStream {
	s := &copyStream{b: []byte(copySignature)}
	s.b = append(s.b, 0, 0, 0, 0, 0, 0, 0, 0)
	return s
}

// row appends a tuple; a nil value is NULL.
func (s *copyStream) row(vals ...[]byte) *copyStream {
	s.b = binary.BigEndian.AppendUint16(s.b, uint16(len(vals)))
	for _, v := range vals {
		if v == nil {
			s.b = binary.BigEndian.AppendUint32(s.b, math.MaxUint32)
			continue
		}
		s.b = binary.BigEndian.AppendUint32(s.b, uint32(len(v)))
		s.b = append(s.b, v...)
	}
	return s
}

func (s *copyStream) end() []byte { return binary.BigEndian.AppendUint16(s.b, math.MaxUint16) }

func be16(v int16) []byte  { return binary.BigEndian.AppendUint16(nil, uint16(v)) }
func be32(v int32) []byte  { return binary.BigEndian.AppendUint32(nil, uint32(v)) }
func be64(v int64) []byte  { return binary.BigEndian.AppendUint64(nil, uint64(v)) }
func f32(v float32) []byte { return binary.BigEndian.AppendUint32(nil, math.Float32bits(v)) }
func f64(v float64) []byte { return binary.BigEndian.AppendUint64(nil, math.Float64bits(v)) }
func tid(b uint32, o uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(nil, b), o)
}

// num encodes a decimal number as numeric_send does.
func num(s string) []byte {
	header := func(n, weight int, sign, scale uint16) []byte {
		b := be16(int16(n))
		b = append(b, be16(int16(weight))...)
		b = binary.BigEndian.AppendUint16(b, sign)
		return binary.BigEndian.AppendUint16(b, scale)
	}
	switch s {
	case "NaN":
		return header(0, 0, numericNaN, 0)
	case "Infinity":
		return header(0, 0, numericPosInf, 32)
	case "-Infinity":
		return header(0, 0, numericNegInf, 32)
	}
	sign := uint16(numericPositive)
	if strings.HasPrefix(s, "-") {
		sign, s = numericNegative, s[1:]
	}
	whole, frac, _ := strings.Cut(s, ".")
	scale := len(frac)
	for len(whole)%4 != 0 {
		whole = "0" + whole
	}
	for len(frac)%4 != 0 {
		frac += "0"
	}
	all := whole + frac
	weight := len(whole)/4 - 1
	for strings.HasPrefix(all, "0000") {
		all, weight = all[4:], weight-1
	}
	for strings.HasSuffix(all, "0000") {
		all = all[:len(all)-4]
	}
	if all == "" {
		return header(0, 0, numericPositive, uint16(scale))
	}
	b := header(len(all)/4, weight, sign, uint16(scale))
	for i := 0; i < len(all); i += 4 {
		d := 0
		for _, c := range all[i : i+4] {
			d = d*10 + int(c-'0')
		}
		b = append(b, be16(int16(d))...)
	}
	return b
}

func numericTypmod(precision, scale int) int32 { return int32(precision<<16|scale&0x7ff) + 4 }
