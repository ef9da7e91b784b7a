package parse

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// fold lower-cases the ASCII letters, as PostgreSQL folds unquoted names.
func fold(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// decodeName returns the name that a word or quoted identifier spells.
func decodeName(text string) (string, bool) {
	body := bodyStart(text)
	if body == 0 {
		return fold(text), true
	}
	escape, ok := byte(0), true
	if body > 1 {
		text, escape, ok = cutEscape(text)
	}
	name := strings.ReplaceAll(text[body:len(text)-1], `""`, `"`)
	if body > 1 && ok {
		return decodeUnicode(name, escape)
	}
	return name, ok
}

// decodeString returns the value of a string token. False: an escape is broken, or the kind (bits, a constant over
// several lines) has no place in our statements.
func decodeString(text string, backslash bool) (string, bool) {
	if text[0] == '$' {
		n := strings.IndexByte(text[1:], '$') + 2
		return text[n : len(text)-n], true
	}
	body := bodyStart(text)
	escape := byte(0)
	if text[0] == 'u' || text[0] == 'U' {
		var ok bool
		if text, escape, ok = cutEscape(text); !ok {
			return "", false
		}
	}
	if !singleQuoted(text, body, backslash) {
		return "", false
	}
	inner := text[body : len(text)-1]
	switch text[0] {
	case '\'', 'n', 'N':
		if backslash {
			return decodeEscapes(inner)
		}
		return strings.ReplaceAll(inner, `''`, `'`), true
	case 'e', 'E':
		return decodeEscapes(inner)
	case 'u', 'U':
		return decodeUnicode(strings.ReplaceAll(inner, `''`, `'`), escape)
	}
	return "", false
}

// singleQuoted reports whether the constant closes only at its end, that is, does not go on after a line break.
func singleQuoted(text string, body int, backslash bool) bool {
	escapes := text[0] == 'e' || text[0] == 'E' || backslash
	for i := body; i < len(text)-1; i++ {
		switch {
		case text[i] == '\\' && escapes:
			i++
		case text[i] == '\'' && text[i+1] != '\'':
			return false
		case text[i] == '\'':
			i++
		}
	}
	return true
}

func decodeEscapes(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\'': // doubled
			b.WriteByte('\'')
			i++
		case s[i] != '\\':
			b.WriteByte(s[i])
		case i+1 >= len(s):
			return "", false
		default:
			n, ok := decodeEscape(&b, s[i+1:])
			if !ok {
				return "", false
			}
			i += n
		}
	}
	return b.String(), utf8.ValidString(b.String())
}

// decodeEscape writes what the escape after a backslash means, and returns its length.
func decodeEscape(b *strings.Builder, s string) (int, bool) {
	switch c := s[0]; {
	case strings.IndexByte("bfnrt", c) >= 0:
		b.WriteByte("\b\f\n\r\t"[strings.IndexByte("bfnrt", c)])
		return 1, true
	case c == 'u' || c == 'U':
		n := 4
		if c == 'U' {
			n = 8
		}
		return n + 1, writeRune(b, s[1:], n)
	case c == 'x':
		n := run(s[1:], 2, "0123456789abcdefABCDEF")
		if n == 0 {
			b.WriteByte('x')
			return 1, true
		}
		return n + 1, writeByte(b, s[1:1+n], 16)
	case c >= '0' && c <= '7':
		n := run(s, 3, "01234567")
		return n, writeByte(b, s[:n], 8)
	}
	b.WriteByte(s[0])
	return 1, true
}

func run(s string, most int, set string) int {
	n := 0
	for n < len(s) && n < most && strings.IndexByte(set, s[n]) >= 0 {
		n++
	}
	return n
}

func writeByte(b *strings.Builder, digits string, base int) bool {
	v, err := strconv.ParseUint(digits, base, 16)
	if err != nil || v == 0 {
		return false
	}
	b.WriteByte(byte(v))
	return true
}

func writeRune(b *strings.Builder, s string, n int) bool {
	if len(s) < n {
		return false
	}
	v, err := strconv.ParseUint(s[:n], 16, 32)
	if err != nil || v == 0 || !utf8.ValidRune(rune(v)) {
		return false
	}
	b.WriteRune(rune(v))
	return true
}

// cutEscape cuts UESCAPE '…' off a U& token, and returns the character that escapes in it. False: PostgreSQL refuses that character.
func cutEscape(text string) (quoted string, escape byte, ok bool) {
	quote, end := text[2], 3
	for text[end] != quote || end+1 < len(text) && text[end+1] == quote {
		if text[end] == quote {
			end++ // doubled
		}
		end++
	}
	end++
	rest := text[end:]
	if rest == "" || quote == '\'' && continued(text, end) >= 0 {
		return text, '\\', true
	}
	n := len(rest)
	escape = rest[n-2]
	if rest[n-3] != '\'' || rest[n-4] == '\'' || isSpace(escape) || strings.IndexByte(`+'"0123456789abcdefABCDEF`, escape) >= 0 {
		return text[:end], 0, false
	}
	return text[:end], escape, true
}

// decodeUnicode resolves the escapes of U& constants, for which \ stands here: \XXXX, \+XXXXXX and \\.
func decodeUnicode(s string, escape byte) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != escape {
			b.WriteByte(s[i])
			i++
			continue
		}
		if i+1 < len(s) && s[i+1] == escape {
			b.WriteByte(escape)
			i += 2
			continue
		}
		r, n := unicodeEscape(s[i+1:])
		i += 1 + n
		if utf16.IsSurrogate(r) && i < len(s) && s[i] == escape { // half of a character, whose other half follows
			low, m := unicodeEscape(s[i+1:])
			i += 1 + m
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				return "", false
			}
		}
		if r == 0 || !utf8.ValidRune(r) {
			return "", false
		}
		b.WriteRune(r)
	}
	return b.String(), true
}

// unicodeEscape reads XXXX or +XXXXXX, and returns its length. The code point is 0 if neither is there.
func unicodeEscape(s string) (rune, int) {
	begin, end := 0, 4
	if strings.HasPrefix(s, "+") {
		begin, end = 1, 7
	}
	if len(s) < end {
		return 0, 0
	}
	v, err := strconv.ParseUint(s[begin:end], 16, 32)
	if err != nil {
		return 0, 0
	}
	return rune(v), end
}

// QuoteName spells a name so that it reads back as itself, with quotes only where they are needed.
func QuoteName(s string) string {
	if isPlainName(s) {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

// quoteString spells a string constant that reads the same whatever standard_conforming_strings says.
func quoteString(s string) string {
	q := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return "E" + strings.ReplaceAll(q, `\`, `\\`)
	}
	return q
}

func isPlainName(s string) bool {
	if s == "" || isDigit(s[0]) || s[0] == '$' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '_' && !isDigit(c) && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
