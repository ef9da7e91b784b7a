package segment

import (
	"fmt"
)

// readNested prints the next value of a column that has parts.
func (r *Reader) readNested(i int, root *node) error {
	for k := root.first; k < root.end; k++ {
		v, err := r.columns[k].peek()
		if err != nil {
			return err
		}
		if v.RepetitionLevel() != 0 {
			return fmt.Errorf("%w: a row begins in the middle of a list", ErrCorrupt)
		}
	}
	from := len(r.text)
	text, null, err := r.assemble(root, r.text)
	if err != nil {
		return err
	}
	r.text = text
	if null {
		r.row[i] = Value{Null: true}
		return nil
	}
	r.row[i] = Value{Text: text[from:len(text):len(text)]}
	return nil
}

// assemble appends the next value of n as PostgreSQL prints it, and takes its entries from all leaves of n. Nothing is appended
// for NULL.
func (r *Reader) assemble(n *node, dst []byte) (text []byte, null bool, err error) {
	v, err := r.columns[n.first].peek()
	if err != nil {
		return dst, false, err
	}
	if def := v.DefinitionLevel(); def < int(n.def) {
		return dst, true, r.pass(n, def)
	}
	switch n.kind {
	case kindList, kindMap:
		dst, err = r.assembleItems(n, dst)
	case kindGroup:
		dst, err = r.assembleGroup(n, dst)
	default:
		c := &r.columns[n.first]
		c.at++
		dst, err = n.appendValue(dst, v, r.octal)
	}
	return dst, false, err
}

// pass takes one entry from all leaves of n, which have to agree that nothing of it is there below a level.
func (r *Reader) pass(n *node, def int) error {
	for i := n.first; i < n.end; i++ {
		v, err := r.columns[i].peek()
		if err != nil {
			return err
		}
		if v.DefinitionLevel() != def {
			return fmt.Errorf("%w: parts of a value disagree about what is NULL", ErrCorrupt)
		}
		r.columns[i].at++
	}
	return nil
}

// assembleItems prints a list as array_out does, or a map as hstore_out does.
func (r *Reader) assembleItems(n *node, dst []byte) ([]byte, error) {
	if n.kind == kindList {
		dst = append(dst, '{')
	}
	v, err := r.columns[n.first].peek()
	if err != nil {
		return dst, err
	}
	if def := v.DefinitionLevel(); def == int(n.def) {
		err = r.pass(n, def)
	} else {
		for more := true; more && err == nil; {
			if n.kind == kindList {
				dst, err = r.assembleElement(n.parts[0], dst)
			} else {
				dst, err = r.assemblePair(n, dst)
			}
			if err != nil {
				break
			}
			if more, err = r.more(n); more && n.kind == kindList {
				dst = append(dst, ',')
			} else if more {
				dst = append(dst, ", "...)
			}
		}
	}
	if n.kind == kindList {
		dst = append(dst, '}')
	}
	return dst, err
}

// more reports whether another item of the list or map follows.
func (r *Reader) more(n *node) (bool, error) {
	c := &r.columns[n.first]
	if c.ended() {
		return false, nil
	}
	v, err := c.peek()
	if err != nil {
		return false, err
	}
	if v.RepetitionLevel() > int(n.rep) {
		return false, fmt.Errorf("%w: a list goes on that has ended", ErrCorrupt)
	}
	return v.RepetitionLevel() == int(n.rep), nil
}

func (r *Reader) assembleElement(n *node, dst []byte) ([]byte, error) {
	from := len(dst)
	dst, null, err := r.assemble(n, dst)
	if err != nil {
		return dst, err
	}
	if null {
		return append(dst, "NULL"...), nil
	}
	if quotedInArray(dst[from:]) {
		dst = r.quote(dst, from, escapeByBackslash)
	}
	return dst, nil
}

func (r *Reader) assemblePair(n *node, dst []byte) ([]byte, error) {
	from := len(dst)
	dst, null, err := r.assemble(n.parts[0], dst)
	if err != nil {
		return dst, err
	}
	if null {
		return dst, fmt.Errorf("%w: a map with a NULL key", ErrCorrupt)
	}
	dst = append(r.quote(dst, from, escapeByBackslash), "=>"...)
	from = len(dst)
	if dst, null, err = r.assemble(n.parts[1], dst); err != nil {
		return dst, err
	}
	if null {
		return append(dst, "NULL"...), nil
	}
	return r.quote(dst, from, escapeByBackslash), nil
}

// assembleGroup prints a composite as record_out does.
func (r *Reader) assembleGroup(n *node, dst []byte) ([]byte, error) {
	dst = append(dst, '(')
	for i, p := range n.parts {
		if i > 0 {
			dst = append(dst, ',')
		}
		from := len(dst)
		var null bool
		var err error
		if dst, null, err = r.assemble(p, dst); err != nil {
			return dst, err
		}
		if !null && quotedInRecord(dst[from:]) {
			dst = r.quote(dst, from, escapeByDoubling)
		}
	}
	return append(dst, ')'), nil
}

const (
	escapeByBackslash = iota // arrays and hstore
	escapeByDoubling         // composites
)

// quote puts what begins at from into double quotes.
func (r *Reader) quote(dst []byte, from, escape int) []byte {
	r.part = append(r.part[:0], dst[from:]...)
	dst = append(dst[:from], '"')
	for _, c := range r.part {
		if c == '"' || c == '\\' {
			if escape == escapeByDoubling {
				dst = append(dst, c)
			} else {
				dst = append(dst, '\\')
			}
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// quotedInArray reports whether array_out quotes an element.
func quotedInArray(b []byte) bool {
	if len(b) == 0 || len(b) == 4 && b[0]|0x20 == 'n' && b[1]|0x20 == 'u' && b[2]|0x20 == 'l' && b[3]|0x20 == 'l' {
		return true
	}
	for _, c := range b {
		switch c {
		case '"', '\\', '{', '}', ',', ' ', '\t', '\n', '\r', '\v', '\f':
			return true
		}
	}
	return false
}

// quotedInRecord reports whether record_out quotes an attribute.
func quotedInRecord(b []byte) bool {
	for _, c := range b {
		switch c {
		case '"', '\\', '(', ')', ',', ' ', '\t', '\n', '\r', '\v', '\f':
			return true
		}
	}
	return len(b) == 0
}
