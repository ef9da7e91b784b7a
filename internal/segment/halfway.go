package segment

import (
	"math"
	"math/big"
	"strconv"
)

// A decimal may lie exactly between two floats, and read back as the one with the even mantissa. Go takes such a decimal when
// it is the shortest; PostgreSQL does not, and prints 1e23 as 9.999999999999999e+22.

// mayBeHalfway reports whether v's shortest decimal can lie between v and a neighbour. Few digits can do so only where floats
// are whole numbers or nearly so, and where the halfway point has no more powers of five than a mantissa can hold.
func mayBeHalfway(v float64, bitSize int) bool {
	a := math.Abs(v)
	if bitSize == 32 {
		return a >= 1<<21 && a <= 1e20 && math.Float32bits(float32(v))&1 == 0
	}
	return a >= 1<<52 && a <= 1e41 && math.Float64bits(v)&1 == 0
}

// appendInside prints the shortest decimal that lies strictly between the halfway points around v. shortest is Go's.
func appendInside(dst, shortest []byte, v float64, bitSize int) []byte {
	text := string(shortest)
	for digits := countDigits(text); digits <= 17 && isHalfway(text, v, bitSize); digits++ {
		text = strconv.FormatFloat(v, 'e', digits, bitSize) // one digit more: the first one is not counted
	}
	return append(dst, text...)
}

// countDigits counts the digits of a number in form 'e'.
func countDigits(s string) int {
	n := 0
	for _, c := range s {
		if c == 'e' {
			break
		}
		if c >= '0' && c <= '9' {
			n++
		}
	}
	return n
}

// isHalfway reports whether text is exactly between v and a neighbour, or does not read back as v.
func isHalfway(text string, v float64, bitSize int) bool {
	back, err := strconv.ParseFloat(text, bitSize)
	if err != nil || back != v {
		return true
	}
	decimal, ok := new(big.Rat).SetString(text)
	if !ok {
		return false
	}
	exact := new(big.Rat).SetFloat64(v)
	for _, to := range []float64{math.Inf(1), math.Inf(-1)} {
		next := math.Nextafter(v, to)
		if bitSize == 32 {
			next = float64(math.Nextafter32(float32(v), float32(to)))
		}
		sum := new(big.Rat).SetFloat64(next)
		sum.Add(sum, exact)
		if sum.Quo(sum, big.NewRat(2, 1)).Cmp(decimal) == 0 {
			return true
		}
	}
	return false
}
