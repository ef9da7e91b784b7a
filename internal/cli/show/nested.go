package show

import (
	"slices"

	"github.com/spillwaydb/spillway/internal/segment"
)

// nestedJSON renders PostgreSQL's text form of a value whose type is made of others: an array as an array, a composite or hstore as
// an object. A text that is not of the form is shown as it is.
func nestedJSON(v []byte, t *segment.Type) []byte {
	if v == nil {
		return []byte("null")
	}
	p := &literalParser{rest: v}
	out := p.value(t)
	if p.bad || len(p.rest) > 0 {
		return jsonString(string(v))
	}
	return out
}

// literalParser reads the output forms of arrays, composites and hstore.
type literalParser struct {
	rest []byte
	bad  bool
}

func (p *literalParser) value(t *segment.Type) []byte {
	switch {
	case t.Elem != nil:
		return p.array(t.Elem)
	case len(t.Attributes) > 0:
		return p.record(t.Attributes)
	case t.Extension == "hstore":
		return p.store()
	}
	v := p.rest
	p.rest = nil
	return jsonValue(v, t.BaseOID)
}

// tokenJSON renders a token of t.
func tokenJSON(token []byte, t *segment.Type) []byte {
	if token == nil || t.Elem == nil && len(t.Attributes) == 0 && t.Extension != "hstore" {
		return jsonValue(token, t.BaseOID)
	}
	return nestedJSON(token, t)
}

func (p *literalParser) array(elem *segment.Type) []byte {
	out := []byte{'['}
	p.expect('{')
	for n := 0; !p.bad && !p.accept('}'); n++ {
		if n > 0 {
			p.expect(',')
			out = append(out, ',')
		}
		token, quoted := p.token(',', '}')
		if !quoted && string(token) == "NULL" {
			token = nil
		}
		out = append(out, tokenJSON(token, elem)...)
	}
	return append(out, ']')
}

func (p *literalParser) record(attributes []segment.Attribute) []byte {
	out := []byte{'{'}
	p.expect('(')
	for i := range attributes {
		if i > 0 {
			p.expect(',')
			out = append(out, ',')
		}
		token, quoted := p.token(',', ')')
		if !quoted && len(token) == 0 {
			token = nil
		}
		out = append(append(out, jsonString(attributes[i].Name)...), ':')
		out = append(out, tokenJSON(token, &attributes[i].Type)...)
	}
	p.expect(')')
	return append(out, '}')
}

func (p *literalParser) store() []byte {
	out := []byte{'{'}
	for n := 0; !p.bad && len(p.rest) > 0; n++ {
		if n > 0 {
			p.expect(',')
			p.expect(' ')
			out = append(out, ',')
		}
		key, _ := p.token('=')
		p.expect('=')
		p.expect('>')
		value, quoted := p.token(',')
		if !quoted && string(value) == "NULL" {
			value = nil
		}
		out = append(append(out, jsonString(string(key))...), ':')
		out = append(out, jsonValue(value, 0)...)
	}
	return append(out, '}')
}

func (p *literalParser) accept(c byte) bool {
	if len(p.rest) > 0 && p.rest[0] == c {
		p.rest = p.rest[1:]
		return true
	}
	return false
}

func (p *literalParser) expect(c byte) {
	if !p.accept(c) {
		p.bad = true
	}
}

// token reads up to one of the bytes in ends, or to the end. In quotes, a backslash or a second quote makes the next byte stand
// for itself.
func (p *literalParser) token(ends ...byte) (token []byte, quoted bool) {
	token = []byte{}
	inside := false
	for i := 0; i < len(p.rest); i++ {
		c := p.rest[i]
		switch {
		case inside && i+1 < len(p.rest) && (c == '\\' || c == '"' && p.rest[i+1] == '"'):
			i++
			token = append(token, p.rest[i])
		case c == '"':
			inside, quoted = !inside, true
		case !inside && slices.Contains(ends, c):
			p.rest = p.rest[i:]
			return token, quoted
		default:
			token = append(token, c)
		}
	}
	p.rest, p.bad = nil, p.bad || inside
	return token, quoted
}
