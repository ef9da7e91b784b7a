package parse

import (
	"slices"
	"strings"
)

// Narrowing says which rows of a view of jobs a statement can see at most: those with one of the values in each column. Only
// columns that never change in a job's life are here.
type Narrowing struct {
	JobIDs, Targets, Types []string // empty: any

	// Functions are the names under which the statement calls functions, without a schema. What is said above holds if
	// pg_catalog alone has functions with these names, and if nobody has put operators beside PostgreSQL's own.
	Functions []string
}

// Restricts reports whether any row is left out.
func (n *Narrowing) Restricts() bool {
	return n != nil && len(n.JobIDs)+len(n.Targets)+len(n.Types) > 0
}

const (
	maxNarrow       = 8 << 10 // bytes of a statement that is looked at
	maxNarrowValues = 100     // in one list
)

// jobsColumns are the columns of the view.
var jobsColumns = strings.Fields(`job_id job_type target status phase progress rows_total rows_flushed bytes_written segments chunks_done chunks_total
	attempt error error_class location requested_by trigger schedule statement created_at started_at finished_at cancelled_at workflow_id run_id ui_url
	rows_left rows_skipped_locked`)

// narrowWords are the words that a condition, a list of results or an order may hold beside columns. OR is not among them, nor is
// BETWEEN, whose AND is none, nor any that begins another SELECT.
var narrowWords = strings.Fields(`and not is null true false in like ilike asc desc nulls first last distinct interval current_timestamp`)

// narrowCalls are the functions that may be called: of pg_catalog, reading nothing but their arguments. Those with * are grammar.
var narrowCalls = strings.Fields(`count sum min max avg bool_and bool_or string_agg array_agg json_agg jsonb_agg *coalesce *nullif *greatest *least
	lower upper length char_length left right round trunc abs ceil floor date_trunc to_char now age concat split_part replace btrim starts_with
	pg_size_pretty`)

// Narrow looks at a statement that reads schema.jobs. nil: nothing may be left out, for the statement holds what is not known here.
// PostgreSQL still applies the whole condition, so what counts is that no row is left out which it would take:
//   - it is one SELECT over that view alone, named once. A second FROM, an alias that renames columns, a parameter, a cast, a quoted
//     name, a string with a quote or a backslash in it, any character beyond ASCII: nil.
//   - it has a condition of parts joined by AND. Nothing in it binds weaker than AND.
//   - one of the parts is, token by token, column = 'text', 'text' = column or column IN ('text', …).
func Narrow(text, schema string) *Narrowing {
	n := narrower{schema: schema}
	if !n.scan(text) || !n.word("SELECT") {
		return nil
	}
	if n.is("DISTINCT") {
		n.at++
	}
	results := n.until("FROM")
	if !n.word("FROM") || !n.relation() || !n.terms(results, true) || !n.word("WHERE") {
		return nil
	}
	if !n.condition(n.until("GROUP", "ORDER", "LIMIT", "OFFSET")) {
		return nil
	}
	for _, clause := range []string{"GROUP", "ORDER"} {
		if !n.is(clause) {
			continue
		}
		if n.at++; !n.word("BY") || !n.terms(n.until("ORDER", "LIMIT", "OFFSET"), false) {
			return nil
		}
	}
	for range 2 {
		if n.is("LIMIT") || n.is("OFFSET") {
			if n.at++; !n.kind(tokNumber) {
				return nil
			}
		}
	}
	return n.result()
}

// NarrowCondition does the same for a condition alone, as KILL JOBS has it.
func NarrowCondition(text, schema string) *Narrowing {
	n := narrower{schema: schema}
	if !n.scan(text) || !n.condition(n.rest()) {
		return nil
	}
	return n.result()
}

// narrower goes through a statement once.
type narrower struct {
	schema string
	src    string
	toks   []token
	at     int
	alias  string
	out    Narrowing
}

// scan takes a text apart, if all of it is plain.
func (n *narrower) scan(text string) bool {
	if len(text) > maxNarrow || !isPlainName(n.schema) {
		return false
	}
	for i := range len(text) {
		if text[i] >= 0x80 || text[i] == '\\' || text[i] == 0 {
			return false
		}
	}
	toks, err := tokens(text)
	if err != nil {
		return false
	}
	if len(toks) > 0 && text[toks[len(toks)-1].start] == ';' {
		toks = toks[:len(toks)-1]
	}
	n.src, n.toks = text, toks
	return true
}

func (n *narrower) result() *Narrowing {
	if n.at != len(n.toks) || !n.out.Restricts() {
		return nil
	}
	slices.Sort(n.out.Functions)
	n.out.Functions = slices.Compact(n.out.Functions)
	return &n.out
}

func (n *narrower) text(t token) string { return n.src[t.start:t.end] }

// is reports whether the next token is a word.
func (n *narrower) is(word string) bool {
	return n.at < len(n.toks) && n.toks[n.at].kind == tokWord && strings.EqualFold(n.text(n.toks[n.at]), word)
}

// word takes a word.
func (n *narrower) word(word string) bool {
	ok := n.is(word)
	n.at++
	return ok
}

// kind takes a token of a kind.
func (n *narrower) kind(k kind) bool {
	ok := n.at < len(n.toks) && n.toks[n.at].kind == k
	n.at++
	return ok
}

func (n *narrower) rest() []token {
	rest := n.toks[n.at:]
	n.at = len(n.toks)
	return rest
}

// until takes the tokens before one of some words, or all that are left. Brackets do not hide a word: none of them may be inside.
func (n *narrower) until(words ...string) []token {
	from := n.at
	for ; n.at < len(n.toks); n.at++ {
		if slices.ContainsFunc(words, n.is) {
			break
		}
	}
	return n.toks[from:n.at]
}

// relation takes schema.jobs and its alias.
func (n *narrower) relation() bool {
	if n.at+3 > len(n.toks) || !n.spells(n.toks[n.at:n.at+3], n.schema, ".", "jobs") {
		return false
	}
	n.at += 3
	as := n.is("AS")
	if as {
		n.at++
	}
	if !as && n.is("WHERE") {
		return true
	}
	if !n.is("WHERE") && n.kind(tokWord) {
		n.alias = fold(n.text(n.toks[n.at-1]))
		return true
	}
	return false
}

// spells reports whether tokens are these words and signs.
func (n *narrower) spells(toks []token, want ...string) bool {
	if len(toks) != len(want) {
		return false
	}
	for i, t := range toks {
		if (t.kind != tokWord && t.kind != tokOther) || fold(n.text(t)) != want[i] {
			return false
		}
	}
	return true
}

// column returns the name of the column that tokens refer to, "" if they are something else.
func (n *narrower) column(toks []token) string {
	if len(toks) == 0 || toks[len(toks)-1].kind != tokWord {
		return ""
	}
	name := fold(n.text(toks[len(toks)-1]))
	prefix := toks[:len(toks)-1]
	if !slices.Contains(jobsColumns, name) || len(prefix) > 0 && n.prefix(prefix) != len(prefix) {
		return ""
	}
	return name
}

// prefix returns how many tokens qualify what follows: alias. or jobs. or schema.jobs., 0 for none.
func (n *narrower) prefix(toks []token) int {
	if n.alias != "" {
		if len(toks) >= 2 && n.spells(toks[:2], n.alias, ".") {
			return 2
		}
		return 0
	}
	if len(toks) >= 2 && n.spells(toks[:2], "jobs", ".") {
		return 2
	}
	if len(toks) >= 4 && n.spells(toks[:4], n.schema, ".", "jobs", ".") {
		return 4
	}
	return 0
}

// terms reports whether tokens hold nothing unknown. Labels may follow AS, in a list of results; nothing refers to them.
func (n *narrower) terms(toks []token, labels bool) bool {
	for i := 0; i < len(toks); i++ {
		t := toks[i]
		if skip := n.prefix(toks[i:]); skip > 0 {
			if i += skip; i >= len(toks) || n.column(toks[i:i+1]) == "" && !(labels && n.text(toks[i]) == "*") {
				return false
			}
			continue
		}
		switch t.kind {
		case tokNumber:
			if strings.Trim(n.text(t), "0123456789.") != "" { // 1union is 1 and a word to older servers
				return false
			}
		case tokString: // behind a name it would be a constant of the type with that name
			if !n.plain(t) || i > 0 && toks[i-1].kind == tokWord && !slices.Contains(beforeString, fold(n.text(toks[i-1]))) {
				return false
			}
		case tokOther:
			size := n.operator(toks[i:])
			if size == 0 {
				return false
			}
			i += size - 1
		case tokWord:
			called := i+1 < len(toks) && n.text(toks[i+1]) == "("
			if labels && strings.EqualFold(n.text(t), "AS") && i+1 < len(toks) && toks[i+1].kind == tokWord {
				i++
			} else if !n.known(fold(n.text(t)), called) {
				return false
			}
		default:
			return false
		}
	}
	return len(toks) > 0
}

// beforeString are the words that a string may follow.
var beforeString = []string{"and", "not", "like", "ilike", "interval"}

// narrowOperators are PostgreSQL's own operators that may stand here. LIKE means some more.
var narrowOperators = strings.Fields(`= <> != < > <= >= + - *`)

// operator returns how many tokens make up a sign that is known, or an operator; 0: something else.
func (n *narrower) operator(toks []token) int {
	if strings.IndexByte("(),", n.src[toks[0].start]) >= 0 {
		return 1
	}
	size := 1
	for size < len(toks) && toks[size].start == toks[size-1].end && toks[size].kind == tokOther && strings.IndexByte("(),", n.src[toks[size].start]) < 0 {
		size++
	}
	if slices.Contains(narrowOperators, n.src[toks[0].start:toks[size-1].end]) {
		return size
	}
	return 0
}

// known reports whether a word may stand in an expression.
func (n *narrower) known(word string, called bool) bool {
	switch {
	case called && word != "in" && word != "and" && word != "not":
		if slices.Contains(narrowCalls, word) {
			n.out.Functions = append(n.out.Functions, word)
			return true
		}
		return slices.Contains(narrowCalls, "*"+word)
	case slices.Contains(narrowWords, word):
		return true
	}
	return slices.Contains(jobsColumns, word)
}

// plain reports whether a string means what stands between its quotes, in every session.
func (n *narrower) plain(t token) bool {
	text := n.text(t)
	return len(text) >= 2 && text[0] == '\'' && !strings.Contains(text[1:len(text)-1], "'")
}

// condition cuts a condition at its outer ANDs and looks at each part.
func (n *narrower) condition(toks []token) bool {
	if !n.terms(toks, false) {
		return false
	}
	depth, from := 0, 0
	for i, t := range toks {
		switch text := n.text(t); {
		case t.kind == tokOther && text == "(":
			depth++
		case t.kind == tokOther && text == ")":
			depth--
		case t.kind == tokWord && depth == 0 && strings.EqualFold(text, "AND"):
			n.part(toks[from:i])
			from = i + 1
		}
		if depth < 0 {
			return false
		}
	}
	n.part(toks[from:])
	return depth == 0
}

// part notes what a part of the condition says, if it is of a known form.
func (n *narrower) part(toks []token) {
	for i, t := range toks {
		switch {
		case t.kind == tokOther && n.text(t) == "=" && i == 1 && toks[0].kind == tokString:
			n.note(n.column(toks[2:]), toks[:1])
		case t.kind == tokOther && n.text(t) == "=" && i+2 == len(toks):
			n.note(n.column(toks[:i]), toks[i+1:])
		case t.kind == tokWord && strings.EqualFold(n.text(t), "IN") && i+3 < len(toks) && n.text(toks[i+1]) == "(" && n.text(toks[len(toks)-1]) == ")":
			n.note(n.column(toks[:i]), toks[i+2:len(toks)-1])
		default:
			continue
		}
		return
	}
}

// note takes over the values of a column, if they are a list of strings. Of several lists for one column the first is enough.
func (n *narrower) note(column string, list []token) {
	into := map[string]*[]string{"job_id": &n.out.JobIDs, "target": &n.out.Targets, "job_type": &n.out.Types}[column]
	if into == nil || *into != nil || len(list) > 2*maxNarrowValues {
		return
	}
	var values []string
	for i, t := range list {
		switch {
		case i%2 == 0 && t.kind == tokString:
			text := n.text(t)
			values = append(values, text[1:len(text)-1])
		case i%2 == 1 && n.text(t) == "," && i+1 < len(list):
		default:
			return
		}
	}
	*into = values
}
