package sqlfront

import (
	"fmt"
	"strings"
)

// A node is a node of PostgreSQL's parse tree as pg_rewrite.ev_action prints it: {TAG :field value …}. A field's value is
// a list of words, nodes and lists.
type node struct {
	tag    string
	fields map[string][]value
}

// A value is a word, a node or a list.
type value struct {
	word string
	node *node
	list []value
}

// maxDepth bounds recursion. PostgreSQL itself gives up on expressions that nest much deeper.
const maxDepth = 2000

// parseNodes reads a printed tree.
func parseNodes(src string) ([]value, error) {
	p := &nodeParser{src: src}
	values, err := p.values("", 0)
	if err != nil {
		return nil, fmt.Errorf("read PostgreSQL's parse tree at byte %d: %w", p.pos, err)
	}
	return values, nil
}

type nodeParser struct {
	src string
	pos int
}

// next returns the next token: a bracket, or a word with its escapes in place.
func (p *nodeParser) next() string {
	for p.pos < len(p.src) && strings.IndexByte(" \n\t", p.src[p.pos]) >= 0 {
		p.pos++
	}
	start := p.pos
	if start >= len(p.src) {
		return ""
	}
	if strings.IndexByte("{}()[]", p.src[start]) >= 0 {
		p.pos++
		return p.src[start:p.pos]
	}
	if p.src[start] == '"' {
		return p.quoted(start)
	}
	for p.pos < len(p.src) && strings.IndexByte(" \n\t{}()[]", p.src[p.pos]) < 0 {
		if p.src[p.pos] == '\\' {
			p.pos++
		}
		p.pos++
	}
	p.pos = min(p.pos, len(p.src))
	return p.src[start:p.pos]
}

func (p *nodeParser) quoted(start int) string {
	p.pos++
	for p.pos < len(p.src) && p.src[p.pos] != '"' {
		if p.src[p.pos] == '\\' {
			p.pos++
		}
		p.pos++
	}
	p.pos = min(p.pos+1, len(p.src))
	return p.src[start:p.pos]
}

// values reads up to the closing bracket, or to the end if it is "".
func (p *nodeParser) values(closing string, depth int) ([]value, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("too deep")
	}
	var out []value
	for {
		tok := p.next()
		switch {
		case tok == closing:
			return out, nil
		case tok == "":
			return nil, fmt.Errorf("it ends too early")
		case tok == "{":
			n, err := p.node(depth + 1)
			if err != nil {
				return nil, err
			}
			out = append(out, value{node: n})
		case tok == "(" || tok == "[":
			list, err := p.values(map[string]string{"(": ")", "[": "]"}[tok], depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, value{list: list})
		case strings.Contains("})]", tok):
			return nil, fmt.Errorf("unexpected %q", tok)
		default:
			out = append(out, value{word: tok})
		}
	}
}

func (p *nodeParser) node(depth int) (*node, error) {
	values, err := p.values("}", depth)
	if err != nil {
		return nil, err
	}
	if len(values) == 0 || values[0].word == "" {
		return nil, fmt.Errorf("a node without a tag")
	}
	n := &node{tag: values[0].word, fields: map[string][]value{}}
	field := ""
	for _, v := range values[1:] {
		if len(v.word) > 1 && v.word[0] == ':' {
			field = v.word[1:]
			n.fields[field] = nil
			continue
		}
		n.fields[field] = append(n.fields[field], v)
	}
	return n, nil
}

// word returns a field that is one word, or "".
func (n *node) word(field string) string {
	if v := n.fields[field]; len(v) == 1 {
		return v[0].word
	}
	return ""
}

// child returns a field that is one node, or nil.
func (n *node) child(field string) *node {
	if v := n.fields[field]; len(v) == 1 {
		return v[0].node
	}
	return nil
}

// children returns all nodes in a field, those in lists too.
func (n *node) children(field string) []*node { return nodesIn(n.fields[field]) }

func nodesIn(values []value) []*node {
	var out []*node
	for _, v := range values {
		if v.node != nil {
			out = append(out, v.node)
		}
		out = append(out, nodesIn(v.list)...)
	}
	return out
}

// words returns the words of a list such as (o 97 664), its letter left out.
func (n *node) words(field string) []string {
	var out []string
	for _, v := range n.fields[field] {
		for i, w := range v.list {
			if i > 0 {
				out = append(out, w.word)
			}
		}
	}
	return out
}
