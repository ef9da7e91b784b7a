package flush

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// DefaultPath is the template of the directory of a table's segments.
const DefaultPath = "{namespace}/{table}/{partition}"

// pathVars are the variables that a template may use.
var pathVars = []string{"namespace", "table", "partition", "yyyy", "mm", "dd", "job"}

// PathError is a template that cannot be used.
type PathError struct {
	Template string
	Msg      string
}

func (e *PathError) Error() string { return fmt.Sprintf("path template %q: %s", e.Template, e.Msg) }

// ExpandPath substitutes the variables of a template, once and from left to right: what a value brings is never read as a
// variable again. Every value is escaped so that it stays one name within its directory; a part that comes out empty is
// left out. vars must hold every variable of pathVars.
func ExpandPath(template string, vars map[string]string) (string, error) {
	var parts []string
	for _, part := range strings.Split(template, "/") {
		out, err := expandPart(template, part, vars)
		if err != nil {
			return "", err
		}
		switch out {
		case "":
			continue
		case ".", "..":
			return "", &PathError{template, fmt.Sprintf("%q is not a directory name", out)}
		}
		parts = append(parts, out)
	}
	if len(parts) == 0 {
		return "", &PathError{template, "no directory is left"}
	}
	return strings.Join(parts, "/"), nil
}

func expandPart(template, part string, vars map[string]string) (string, error) {
	var b strings.Builder
	for part != "" {
		open := strings.IndexAny(part, "{}")
		if open < 0 {
			b.WriteString(escapePath(part, true))
			break
		}
		if part[open] == '}' {
			return "", &PathError{template, "} without {"}
		}
		b.WriteString(escapePath(part[:open], true))
		end := strings.IndexByte(part, '}')
		if end < 0 {
			return "", &PathError{template, "{ without }"}
		}
		name := part[open+1 : end]
		value, ok := vars[name]
		if !ok {
			return "", &PathError{template, fmt.Sprintf("unknown variable {%s}; known: {%s}", name, strings.Join(pathVars, "} {"))}
		}
		b.WriteString(short(escapePath(value, false)))
		part = part[end+1:]
	}
	return b.String(), nil
}

// maxValueBytes bounds a value in a path: file systems take names of 255 bytes.
const maxValueBytes = 120

// short cuts an escaped value that is too long for a name, and ends it with a hash of the whole, so that two long values stay
// apart.
func short(escaped string) string {
	if len(escaped) <= maxValueBytes {
		return escaped
	}
	sum := sha256.Sum256([]byte(escaped))
	cut := maxValueBytes - 2*8 - 1
	for i := cut - 2; i < cut; i++ { // not in the middle of %XX
		if escaped[i] == '%' {
			cut = i
		}
	}
	return escaped[:cut] + "~" + hex.EncodeToString(sum[:8])
}

// escapePath percent-encodes every byte but letters, digits, _ and -; a literal of the template may also hold = and dots,
// which a value may hold only inside, so that no value is "." or "..", a hidden file or ends like one of our files.
func escapePath(s string, literal bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		plain := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
		if plain || literal && (c == '.' || c == '=') {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

// objectPrefix is what the keys of all objects of an attempt start with: directory, time, job, chunk and attempt.
func objectPrefix(dir string, at time.Time, job uuid.UUID, chunk int, attempt uuid.UUID) string {
	return fmt.Sprintf("%s/%s-%s-%05d-%s", dir, at.UTC().Format("2006-01-02T15-04-05.000Z"), job, chunk, attempt)
}

// objectKey is the key of the only object of an attempt.
func objectKey(prefix string) string { return prefix + ".parquet" }
