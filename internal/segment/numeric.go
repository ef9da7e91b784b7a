package segment

import (
	"encoding/binary"
	"math/bits"
	"strconv"
)

// PostgreSQL sends numeric as a header of four 16-bit words (digits, weight, sign, display scale) and base-10000 digits.
const (
	numericHeader   = 8
	numericPositive = 0x0000
	numericNegative = 0x4000
	numericNaN      = 0xc000
	numericPosInf   = 0xd000
	numericNegInf   = 0xf000
	numericBase     = 10000
	maxNumericScale = 0x3fff
)

type numeric struct {
	digits []byte // two bytes each
	weight int    // of the first digit, in powers of 10000
	sign   uint16
	scale  int // decimal digits that are shown after the point
}

// parseNumeric checks a numeric's binary form. A digit beyond 9999 is found by those who walk the digits.
func parseNumeric(b []byte) (numeric, bool) {
	if len(b) < numericHeader {
		return numeric{}, false
	}
	n := numeric{
		digits: b[numericHeader:],
		weight: int(int16(binary.BigEndian.Uint16(b[2:]))),
		sign:   binary.BigEndian.Uint16(b[4:]),
		scale:  int(binary.BigEndian.Uint16(b[6:])),
	}
	if len(n.digits) != 2*int(binary.BigEndian.Uint16(b)) || n.scale > maxNumericScale {
		return numeric{}, false
	}
	switch n.sign {
	case numericPositive, numericNegative, numericNaN, numericPosInf, numericNegInf:
		return n, true
	}
	return numeric{}, false
}

func (n numeric) len() int { return len(n.digits) / 2 }

// digit returns the digit at i, zero beyond either end.
func (n numeric) digit(i int) int {
	if i < 0 || i >= n.len() {
		return 0
	}
	return int(binary.BigEndian.Uint16(n.digits[2*i:]))
}

// special returns the name of a value that is not a number of digits.
func (n numeric) special() string {
	switch n.sign {
	case numericNaN:
		return "NaN"
	case numericPosInf:
		return "Infinity"
	case numericNegInf:
		return "-Infinity"
	}
	return ""
}

// appendText prints n as numeric_out does.
func (n numeric) appendText(dst []byte) ([]byte, bool) {
	if s := n.special(); s != "" {
		return append(dst, s...), true
	}
	for i := range n.len() {
		if n.digit(i) >= numericBase {
			return dst, false
		}
	}
	if n.sign == numericNegative {
		dst = append(dst, '-')
	}
	if n.weight < 0 {
		dst = append(dst, '0')
	} else {
		dst = strconv.AppendInt(dst, int64(n.digit(0)), 10)
		for i := 1; i <= n.weight; i++ {
			dst = appendDigits4(dst, n.digit(i))
		}
	}
	if n.scale == 0 {
		return dst, true
	}
	dst = append(dst, '.')
	end := len(dst) + n.scale
	for i := n.weight + 1; len(dst) < end; i++ {
		dst = appendDigits4(dst, n.digit(i))
	}
	return dst[:end], true
}

func appendDigits4(dst []byte, d int) []byte {
	return append(dst, byte('0'+d/1000), byte('0'+d/100%10), byte('0'+d/10%10), byte('0'+d%10))
}

var pow10 = [...]uint64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
}

const (
	reasonMalformedNumeric = "malformed numeric"
	reasonTooManyDigits    = "more digits than the type declares"
)

// decimal64 returns n times 10^scale if that is a whole number of at most precision digits, precision being 18 at most; else
// it says why not.
func (n numeric) decimal64(precision, scale int) (int64, string) {
	if s := n.special(); s != "" {
		return 0, s + " has no DECIMAL"
	}
	limit := pow10[precision]
	acc, exp, ok := uint64(0), 0, true
	for i := range n.len() {
		d := uint64(n.digit(i))
		if d >= numericBase {
			return 0, reasonMalformedNumeric
		}
		switch exp = 4*(n.weight-i) + scale; {
		case exp >= 0:
			acc, ok = mulAdd64(acc, numericBase, d)
		case exp > -4 && d%pow10[-exp] == 0:
			acc, ok = mulAdd64(acc, pow10[4+exp], d/pow10[-exp])
			exp = 0
		case d != 0:
			ok = false
		default:
			exp = 0
		}
		if !ok {
			return 0, reasonTooManyDigits
		}
	}
	if acc != 0 && exp > 0 {
		if exp >= len(pow10) {
			return 0, reasonTooManyDigits
		}
		if acc, ok = mulAdd64(acc, pow10[exp], 0); !ok {
			return 0, reasonTooManyDigits
		}
	}
	if acc >= limit {
		return 0, reasonTooManyDigits
	}
	if n.sign == numericNegative {
		return -int64(acc), ""
	}
	return int64(acc), ""
}

// mulAdd64 returns u*m+a, and whether it fits.
func mulAdd64(u, m, a uint64) (uint64, bool) {
	hi, lo := bits.Mul64(u, m)
	sum, c := bits.Add64(lo, a, 0)
	return sum, hi == 0 && c == 0
}

// uint128 is an unsigned number of 128 bits.
type uint128 struct{ hi, lo uint64 }

// limit128 is 10^38, which every DECIMAL stays below; a number below it times 10 fits.
var limit128 = uint128{hi: 0x4b3b4ca85a86c47a, lo: 0x098a224000000000}

func (u uint128) less(v uint128) bool { return u.hi < v.hi || u.hi == v.hi && u.lo < v.lo }

// mulAdd returns u*m+a, and whether it fits.
func (u uint128) mulAdd(m, a uint64) (uint128, bool) {
	h1, l1 := bits.Mul64(u.lo, m)
	h2, l2 := bits.Mul64(u.hi, m)
	lo, c := bits.Add64(l1, a, 0)
	hi, c := bits.Add64(l2, h1, c)
	return uint128{hi: hi, lo: lo}, h2 == 0 && c == 0
}

// neg returns the two's complement.
func (u uint128) neg() uint128 {
	lo, c := bits.Add64(^u.lo, 1, 0)
	hi, _ := bits.Add64(^u.hi, 0, c)
	return uint128{hi: hi, lo: lo}
}

// divMod10e19 divides by 10^19.
func (u uint128) divMod10e19() (uint128, uint64) {
	const d = 1e19
	qhi, r := u.hi/d, u.hi%d
	qlo, r := bits.Div64(r, u.lo, d)
	return uint128{hi: qhi, lo: qlo}, r
}

// pow10of128 returns 10^n for n up to 38.
func pow10of128(n int) uint128 {
	if n < len(pow10) {
		return uint128{lo: pow10[n]}
	}
	hi, lo := bits.Mul64(1e19, pow10[n-19])
	return uint128{hi: hi, lo: lo}
}

// decimal128 is decimal64 for precisions up to 38; the result is two's complement.
func (n numeric) decimal128(precision, scale int) (uint128, string) {
	if s := n.special(); s != "" {
		return uint128{}, s + " has no DECIMAL"
	}
	acc, exp, ok := uint128{}, 0, true
	for i := range n.len() {
		d := uint64(n.digit(i))
		if d >= numericBase {
			return uint128{}, reasonMalformedNumeric
		}
		switch exp = 4*(n.weight-i) + scale; {
		case exp >= 0:
			acc, ok = acc.mulAdd(numericBase, d)
		case exp > -4 && d%pow10[-exp] == 0:
			acc, ok = acc.mulAdd(pow10[4+exp], d/pow10[-exp])
			exp = 0
		case d != 0:
			ok = false
		default:
			exp = 0
		}
		if !ok || !acc.less(limit128) {
			return uint128{}, reasonTooManyDigits
		}
	}
	for acc != (uint128{}) && exp > 0 {
		if acc, ok = acc.mulAdd(10, 0); !ok || !acc.less(limit128) {
			return uint128{}, reasonTooManyDigits
		}
		exp--
	}
	if !acc.less(pow10of128(precision)) {
		return uint128{}, reasonTooManyDigits
	}
	if n.sign == numericNegative {
		return acc.neg(), ""
	}
	return acc, ""
}

// appendDecimal prints v times 10^-scale.
func appendDecimal(dst []byte, v int64, scale int) []byte {
	u := uint64(v)
	if v < 0 {
		u = -u
	}
	return appendDecimalDigits(dst, v < 0, 0, u, scale)
}

// appendDecimal128 prints the two's complement u times 10^-scale.
func appendDecimal128(dst []byte, u uint128, scale int) []byte {
	negative := u.hi>>63 != 0
	if negative {
		u = u.neg()
	}
	q, low := u.divMod10e19()
	q, middle := q.divMod10e19()
	if q != (uint128{}) { // beyond 38 digits: not a value that we wrote
		dst = strconv.AppendUint(dst, q.lo, 10)
	}
	return appendDecimalDigits(dst, negative, middle, low, scale)
}

// appendDecimalDigits prints high*10^19+low times 10^-scale.
func appendDecimalDigits(dst []byte, negative bool, high, low uint64, scale int) []byte {
	var tmp [48]byte
	digits := tmp[:0]
	if high != 0 {
		digits = strconv.AppendUint(digits, high, 10)
		var part [20]byte
		p := strconv.AppendUint(part[:0], low, 10)
		for range 19 - len(p) {
			digits = append(digits, '0')
		}
		digits = append(digits, p...)
	} else {
		digits = strconv.AppendUint(digits, low, 10)
	}
	if negative {
		dst = append(dst, '-')
	}
	whole := len(digits) - scale
	if whole <= 0 {
		dst = append(dst, '0')
	} else {
		dst = append(dst, digits[:whole]...)
	}
	if scale == 0 {
		return dst
	}
	dst = append(dst, '.')
	for ; whole < 0; whole++ {
		dst = append(dst, '0')
	}
	return append(dst, digits[whole:]...)
}
