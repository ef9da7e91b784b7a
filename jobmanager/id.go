package jobmanager

import (
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// JobType names a kind of work: "flush", "restore". Lower-case letters only.
type JobType string

// Table is a qualified table name, unquoted, as the catalog spells it.
type Table struct {
	Namespace string
	Name      string
}

// String returns namespace.name without quoting, for people to read, "" for no table; see [JobID.String] for a form that
// parses.
func (t Table) String() string {
	if t.IsZero() {
		return ""
	}
	return t.Namespace + "." + t.Name
}

// IsZero reports whether t names no table.
func (t Table) IsZero() bool { return t == Table{} }

// JobID identifies a job for ever. Its text form is <type>:<namespace>.<table>:<uuid>, with every byte of the names
// outside [A-Za-z0-9_-] percent-encoded. A job without a table has nothing in the middle: cleanup::<uuid>.
type JobID struct {
	Type  JobType
	Table Table
	UUID  uuid.UUID
}

// String returns the text form that ParseJobID reads.
func (id JobID) String() string {
	target := ""
	if !id.Table.IsZero() {
		target = EscapeName(id.Table.Namespace) + "." + EscapeName(id.Table.Name)
	}
	return string(id.Type) + ":" + target + ":" + id.UUID.String()
}

// IsZero reports whether id is the zero JobID.
func (id JobID) IsZero() bool { return id == JobID{} }

// MarshalText implements encoding.TextMarshaler.
func (id JobID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *JobID) UnmarshalText(b []byte) error {
	p, err := ParseJobID(string(b))
	if err != nil {
		return err
	}
	*id = p
	return nil
}

// ParseJobID reads the text form of a job id. The error is *IDError.
func ParseJobID(s string) (JobID, error) {
	bad := func(format string, args ...any) (JobID, error) {
		return JobID{}, &IDError{Text: s, Msg: fmt.Sprintf(format, args...)}
	}
	typ, rest, ok := strings.Cut(s, ":")
	if !ok {
		return bad("expected <type>:<namespace>.<table>:<uuid>")
	}
	target, id, ok := strings.Cut(rest, ":")
	if !ok {
		return bad("expected <type>:<namespace>.<table>:<uuid>")
	}
	if typ == "" || strings.Trim(typ, "abcdefghijklmnopqrstuvwxyz") != "" {
		return bad("the type must be lower-case letters")
	}
	table, why := parseTarget(target)
	if why != "" {
		return bad("%s", why)
	}
	if len(id) != 36 {
		return bad("the last part must be a uuid")
	}
	u, err := uuid.Parse(id)
	if err != nil {
		return bad("the last part must be a uuid")
	}
	j := JobID{Type: JobType(typ), Table: table, UUID: u}
	if j.String() != s {
		return bad("not in canonical form, which is %q", j.String())
	}
	return j, nil
}

// parseTarget reads what stands between the colons: a table, or nothing. why says what is wrong with it.
func parseTarget(target string) (t Table, why string) {
	if target == "" {
		return Table{}, ""
	}
	ns, name, ok := strings.Cut(target, ".")
	if !ok {
		return Table{}, "expected <namespace>.<table> in the middle"
	}
	var err error
	if t.Namespace, err = UnescapeName(ns); err != nil {
		return Table{}, "namespace: " + err.Error()
	}
	if t.Name, err = UnescapeName(name); err != nil {
		return Table{}, "table: " + err.Error()
	}
	return t, ""
}

// EscapeName percent-encodes every byte outside [A-Za-z0-9_-], so that the result is safe in job ids, workflow ids and
// paths.
func EscapeName(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// UnescapeName reverses EscapeName. Empty names and forms that EscapeName never writes are errors.
func UnescapeName(s string) (string, error) {
	if s == "" {
		return "", fmt.Errorf("empty name")
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		var v byte
		if i+2 >= len(s) {
			return "", fmt.Errorf("cut off after %%")
		}
		for _, c := range []byte(s[i+1 : i+3]) {
			switch {
			case '0' <= c && c <= '9':
				v = v<<4 | (c - '0')
			case 'A' <= c && c <= 'F':
				v = v<<4 | (c - 'A' + 10)
			default:
				return "", fmt.Errorf("expected two hexadecimal digits after %%")
			}
		}
		b.WriteByte(v)
		i += 2
	}
	return b.String(), nil
}
