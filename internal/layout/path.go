package layout

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// DefaultPath is the template of the directory of a table's segments.
const DefaultPath = "{namespace}/{table}/{partition}"

// ManifestName is the file beside a table's segments that lists them for readers without PostgreSQL.
const ManifestName = "manifest.json"

// pathVars are the variables that a template may use, beside {column:name}.
var pathVars = []string{"namespace", "table", "partition", "yyyy", "mm", "dd", "shard", "job"}

// Bounds of a template and of the directories that it gives. An object's key has at most 1024 bytes, and its name takes about
// 150 of them.
const (
	maxTemplateBytes = 300
	maxTemplateParts = 16
	maxDirBytes      = 720
	maxNameBytes     = 200 // of one part, by objstore.CheckKey
	maxValueBytes    = 120 // of one value in a part
)

// What stands for values that no name can hold. Other values that begin with two underscores have the first escaped.
const (
	nullName  = "__HIVE_DEFAULT_PARTITION__"
	emptyName = "__EMPTY__"
)

// PathError is a template that cannot be used.
type PathError struct {
	Template string
	Msg      string
}

func (e *PathError) Error() string { return fmt.Sprintf("path template %q: %s", e.Template, e.Msg) }

// pathTemplate is a template that was read. Each part is one directory.
type pathTemplate struct {
	text  string
	parts [][]pathPiece
}

// pathPiece is literal text, or a variable.
type pathPiece struct {
	literal string
	name    string // "" for literal text
}

// pathValue is what a variable stands for.
type pathValue struct {
	text string
	null bool
	dirs []string // of {partition}: directories, escaped; text does not count then
	raw  bool     // text is for people and goes in as it is
}

// CheckPath says why a template can be used for no table, with *PathError. Whether {column:name} names a partition column, a
// table's flush decides.
func CheckPath(template string) error {
	_, err := readPath(template)
	return err
}

// readPath reads a template.
func readPath(text string) (*pathTemplate, error) {
	fail := func(format string, args ...any) (*pathTemplate, error) {
		return nil, &PathError{text, fmt.Sprintf(format, args...)}
	}
	parts := strings.Split(text, "/")
	switch {
	case text == "":
		return fail("it is empty")
	case len(text) > maxTemplateBytes:
		return fail("it is longer than %d bytes", maxTemplateBytes)
	case len(parts) > maxTemplateParts:
		return fail("it has more than %d directories", maxTemplateParts)
	}
	t := &pathTemplate{text: text}
	for _, part := range parts {
		pieces, err := readPart(text, part)
		if err != nil {
			return nil, err
		}
		switch literal := pieces[0].literal; {
		case strings.HasPrefix(literal, "."):
			return fail("%q begins with a dot", part)
		case len(pieces) == 1 && literal == ManifestName:
			return fail("%s is the name of the manifest", ManifestName)
		case len(pieces) > 1 && slices.ContainsFunc(pieces, func(p pathPiece) bool { return p.name == "partition" }):
			return fail("{partition} may be several directories, so it stands alone between slashes")
		}
		t.parts = append(t.parts, pieces)
	}
	return t, nil
}

func readPart(template, part string) ([]pathPiece, error) {
	if part == "" {
		return nil, &PathError{template, "a directory has no name: a template neither begins nor ends with a slash, nor has two together"}
	}
	var out []pathPiece
	for part != "" {
		open := strings.IndexAny(part, "{}")
		if open < 0 {
			return append(out, pathPiece{literal: part}), nil
		}
		if part[open] == '}' {
			return nil, &PathError{template, "} without {"}
		}
		if open > 0 {
			out = append(out, pathPiece{literal: part[:open]})
		}
		end := strings.IndexByte(part, '}')
		if end < 0 {
			return nil, &PathError{template, "{ without }"}
		}
		name := part[open+1 : end]
		if column, ok := strings.CutPrefix(name, "column:"); (!ok || column == "") && !slices.Contains(pathVars, name) {
			return nil, &PathError{template, fmt.Sprintf("unknown variable {%s}; known: {%s} {column:name}", name, strings.Join(pathVars, "} {"))}
		}
		out = append(out, pathPiece{name: name})
		part = part[end+1:]
	}
	return out, nil
}

// vars lists the variables of a template, in order.
func (t *pathTemplate) vars() (names []string) {
	for _, part := range t.parts {
		for _, p := range part {
			if p.name != "" {
				names = append(names, p.name)
			}
		}
	}
	return names
}

// expand substitutes the variables, once and from left to right: what a value brings is never read as a variable again. Every
// value is escaped so that it stays within its directory's name.
func (t *pathTemplate) expand(value func(name string) pathValue) (string, error) {
	var dirs []string
	for _, part := range t.parts {
		if part[0].name == "partition" {
			if v := value("partition"); v.dirs != nil || v.text == "" {
				dirs = append(dirs, v.dirs...)
				continue
			}
		}
		var b strings.Builder
		for _, p := range part {
			if p.name == "" {
				b.WriteString(escapePath(p.literal, true))
				continue
			}
			b.WriteString(nameOf(value(p.name)))
		}
		dirs = append(dirs, b.String())
	}
	if len(dirs) == 0 {
		return "", &PathError{t.text, "no directory is left"}
	}
	most := min(maxNameBytes, maxDirBytes/len(dirs))
	for i := range dirs {
		dirs[i] = short(dirs[i], most)
	}
	return strings.Join(dirs, "/"), nil
}

// nameOf is a value as a name, or as a part of one.
func nameOf(v pathValue) string {
	switch {
	case v.raw:
		return v.text
	case v.null:
		return nullName
	case v.text == "":
		return emptyName
	}
	escaped := escapePath(v.text, false)
	if strings.HasPrefix(escaped, "__") {
		escaped = "%5F" + escaped[1:]
	}
	return short(escaped, maxValueBytes)
}

// short cuts an escaped name that is too long, and ends it with a hash of the whole, so that two long names stay apart.
func short(escaped string, most int) string {
	if len(escaped) <= most {
		return escaped
	}
	sum := sha256.Sum256([]byte(escaped))
	cut := most - 2*8 - 1
	for i := cut - 2; i < cut; i++ { // not in the middle of %XX
		if escaped[i] == '%' {
			cut = i
		}
	}
	return escaped[:cut] + "~" + hex.EncodeToString(sum[:8])
}

// escapePath percent-encodes every byte but letters, digits, _ and -; a literal of the template may also hold = and dots, so
// that no value is "." or "..", a hidden file or ends like one of our files.
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

// BaseName is what the names of all objects of an attempt begin with, in whichever directory: time, job, chunk and attempt.
func BaseName(at time.Time, job uuid.UUID, chunk int, attempt uuid.UUID) string {
	return fmt.Sprintf("%s-%s-%05d-%s", at.UTC().Format("2006-01-02T15-04-05.000Z"), job, chunk, attempt)
}

// ObjectKey is the key of the only object of an attempt.
func ObjectKey(prefix string) string { return prefix + ".parquet" }

// PartKey is the key of one object of an attempt that writes many. Parts are numbered from 1.
func PartKey(prefix string, part int) string { return fmt.Sprintf("%s-%05d.parquet", prefix, part) }

// ManifestKey is where a storage holds the manifest of a table.
func ManifestKey(schema, table string) (string, error) {
	dir, err := TableDir(schema, table)
	return dir + "/" + ManifestName, err
}

// TableDir is the directory of a table that no layout changes.
func TableDir(schema, table string) (string, error) {
	t, err := readPath("{namespace}/{table}")
	if err != nil {
		return "", err
	}
	return t.expand(func(name string) pathValue {
		if name == "namespace" {
			return pathValue{text: schema}
		}
		return pathValue{text: table}
	})
}
