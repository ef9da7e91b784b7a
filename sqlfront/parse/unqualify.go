package parse

import "strings"

// Unqualify drops a table's name, and its schema's name before it, from the column references of an expression as PostgreSQL
// prints it. What follows :: or COLLATE is the name of a type or collation and stays.
func Unqualify(expr, table string) (string, error) {
	toks, err := tokens(expr)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	done := 0
	for i := 0; i+2 < len(toks); i++ {
		if !isName(expr, toks[i], table) || !isDot(expr, toks[i+1]) || i > 0 && keepsNext(expr, toks[i-1]) {
			continue
		}
		if k := toks[i+2].kind; k != tokWord && k != tokQuoted {
			continue
		}
		if i+3 < len(toks) && expr[toks[i+3].start] == '(' {
			continue // a function of a schema with the table's name
		}
		b.WriteString(expr[done:toks[i].start])
		done = toks[i+2].start
		i += 2
	}
	b.WriteString(expr[done:])
	return b.String(), nil
}

// Substitute replaces calls without arguments ("now()") and keywords ("CURRENT_DATE") of an expression as PostgreSQL
// prints it. Keys are as printed, and a key that ends in "()" is a call.
func Substitute(expr string, with map[string]string) (string, error) {
	toks, err := tokens(expr)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	done := 0
	for i, t := range toks {
		if t.kind != tokWord || i > 0 && (isDot(expr, toks[i-1]) || keepsNext(expr, toks[i-1])) {
			continue
		}
		key, end := expr[t.start:t.end], t.end
		if i+2 < len(toks) && expr[toks[i+1].start] == '(' && expr[toks[i+2].start] == ')' {
			key, end = key+"()", toks[i+2].end
		}
		if value, ok := with[key]; ok {
			b.WriteString(expr[done:t.start])
			b.WriteString(value)
			done = end
		}
	}
	b.WriteString(expr[done:])
	return b.String(), nil
}

func tokens(src string) ([]token, error) {
	sc := newScanner(src, nil)
	var toks []token
	for {
		t := sc.next()
		switch t.kind {
		case tokEOF:
			return toks, nil
		case tokBad:
			return nil, &Error{SQLState: SyntaxError, Msg: t.msg}
		}
		toks = append(toks, t)
	}
}

func isName(src string, t token, name string) bool {
	if t.kind != tokWord && t.kind != tokQuoted {
		return false
	}
	got, ok := decodeName(src[t.start:t.end])
	return ok && got == name
}

func isDot(src string, t token) bool { return t.kind == tokOther && src[t.start] == '.' }

// keepsNext reports whether the token before a name makes it the name of something else than a column or function.
func keepsNext(src string, t token) bool {
	return t.kind == tokOther && (src[t.start] == ':' || src[t.start] == '.') ||
		t.kind == tokWord && strings.EqualFold(src[t.start:t.end], "COLLATE")
}
