package parse

import "strings"

// ListItem is one item of an option's list: a name, or function(name), and an order.
type ListItem struct {
	Name       string
	Function   string // in lower case; "": the name alone
	Descending bool
	Nulls      string // "FIRST", "LAST"; "": what PostgreSQL takes for default, FIRST when descending and else LAST
	Pos        int    // of its first character
}

// String is the item in its one spelling: what is the default is left out.
func (it ListItem) String() string {
	text := QuoteName(it.Name)
	if it.Function != "" {
		text = it.Function + "(" + text + ")"
	}
	if it.Descending {
		text += " DESC"
	}
	if it.Nulls != "" {
		text += " NULLS " + it.Nulls
	}
	return text
}

// list reads the items of (item, …); the opening parenthesis was read.
func (p *parser) list() ([]ListItem, error) {
	var out []ListItem
	for {
		it, err := p.listItem()
		if err != nil {
			return nil, err
		}
		out = append(out, it)
		if p.acceptOther(")") {
			return out, nil
		}
		if !p.acceptOther(",") {
			return nil, p.fail("", `","`, `")"`)
		}
	}
}

func (p *parser) listItem() (ListItem, error) {
	it := ListItem{Pos: p.pos()}
	word := p.tok.kind == tokWord
	var err error
	if it.Name, err = p.ident("a column name"); err != nil {
		return it, err
	}
	if word && p.acceptOther("(") {
		it.Function = it.Name
		if it.Name, err = p.ident("a column name"); err != nil {
			return it, err
		}
		if !p.acceptOther(")") {
			return it, p.fail("", `")"`)
		}
	}
	if !p.accept("ASC") {
		it.Descending = p.accept("DESC")
	}
	if !p.accept("NULLS") {
		return it, nil
	}
	switch {
	case p.accept("FIRST"):
		it.Nulls = "FIRST"
	case p.accept("LAST"):
		it.Nulls = "LAST"
	default:
		return it, p.fail("", "FIRST", "LAST")
	}
	if it.Descending == (it.Nulls == "FIRST") {
		it.Nulls = ""
	}
	return it, nil
}

// listText joins items as they stand in an option's value.
func listText(items []ListItem) string {
	texts := make([]string, len(items))
	for i, it := range items {
		texts[i] = it.String()
	}
	return strings.Join(texts, ", ")
}
