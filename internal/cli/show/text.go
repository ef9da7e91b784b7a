package show

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Printable shows a value on one line and keeps control characters from the terminal.
func Printable(v []byte) string {
	s := string(v)
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
		return s
	}
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// Width counts the cells of a terminal that a text takes.
func Width(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case r < 0x300:
			n++
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf): // drawn upon the one before, or not at all
		case unicode.Is(wide, r):
			n += 2
		default:
			n++
		}
	}
	return n
}

// wide are the characters that take two cells: East Asian scripts and pictographs.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115f, Stride: 1}, {Lo: 0x2e80, Hi: 0x303e, Stride: 1}, {Lo: 0x3041, Hi: 0x33ff, Stride: 1},
		{Lo: 0x3400, Hi: 0x4dbf, Stride: 1}, {Lo: 0x4e00, Hi: 0xa4cf, Stride: 1}, {Lo: 0xac00, Hi: 0xd7a3, Stride: 1},
		{Lo: 0xf900, Hi: 0xfaff, Stride: 1}, {Lo: 0xfe30, Hi: 0xfe6f, Stride: 1}, {Lo: 0xff00, Hi: 0xff60, Stride: 1},
		{Lo: 0xffe0, Hi: 0xffe6, Stride: 1},
	},
	R32: []unicode.Range32{{Lo: 0x1f300, Hi: 0x1f64f, Stride: 1}, {Lo: 0x1f900, Hi: 0x1f9ff, Stride: 1}, {Lo: 0x20000, Hi: 0x3fffd, Stride: 1}},
}

// Bar draws the done share of something, 0 to 1, with so many signs between its ends.
func Bar(share float64, width int) string {
	full := int(share * float64(width))
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]"
}

// Groups writes an integer with a space between thousands; other texts stay.
func Groups(n string) string {
	if n == "" {
		return "0"
	}
	digits := strings.TrimPrefix(n, "-")
	if strings.Trim(digits, "0123456789") != "" {
		return n
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return n[:len(n)-len(strings.TrimPrefix(n, "-"))] + digits
}

// Bytes writes a number of bytes for people, in powers of 1000.
func Bytes(n string) string {
	v, err := strconv.ParseFloat(n, 64)
	if err != nil {
		return "0 B"
	}
	unit := 0
	units := []string{"B", "kB", "MB", "GB", "TB"}
	for v >= 1000 && unit < len(units)-1 {
		v /= 1000
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%.0f B", v)
	}
	return fmt.Sprintf("%.1f %s", v, units[unit])
}

// Wrap cuts a text into pieces of at most so many cells.
func Wrap(text string, width int) []string {
	var out []string
	for Width(text) > width {
		cut, w := 0, 0
		for i, r := range text {
			if w += Width(string(r)); w > width {
				break
			}
			cut = i + len(string(r))
		}
		out, text = append(out, text[:cut]), text[cut:]
	}
	return append(out, text)
}

// Clip cuts a text that is wider than width, and marks that it did.
func Clip(text string, width int) string {
	if Width(text) <= width {
		return text
	}
	if width <= 1 {
		return strings.Repeat("…", max(0, width))
	}
	return Wrap(text, width-1)[0] + "…"
}
