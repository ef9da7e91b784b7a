package parse

import "strings"

// list reads (name, …) and returns the names as SQL writes them, with ", " between them.
func (p *parser) list() (string, error) {
	p.advance()
	var items []string
	for {
		name, err := p.ident("a name")
		if err != nil {
			return "", err
		}
		items = append(items, QuoteName(name))
		if p.acceptOther(")") {
			return strings.Join(items, ", "), nil
		}
		if !p.acceptOther(",") {
			return "", p.fail("", `","`, `")"`)
		}
	}
}

// Names reads the text of a list's value back into names as the catalog spells them. ok is false if it is none.
func Names(text string) (names []string, ok bool) {
	p := &parser{sc: newScanner(text, nil)}
	for {
		p.advance()
		name, err := p.ident("a name")
		if err != nil {
			return nil, false
		}
		names = append(names, name)
		if p.tok.kind == tokEOF {
			return names, true
		}
		if !p.isOther(",") {
			return nil, false
		}
	}
}
