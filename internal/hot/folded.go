package hot

import (
	"slices"
	"strconv"
	"strings"
)

// PostgreSQL's planner evaluates what is constant in the expressions of a table's indexes, constraints, statistics and partition
// keys, and writes functions in SQL out to look for more, with the rights of whoever's statement it plans. So an index on f(1) runs
// f for every reader; one on f(column) runs it for those who write.

// tableExpression is an expression of a table's that calls functions which are not PostgreSQL's or an extension's in C.
type tableExpression struct {
	What    string // "index app.i"
	Expr    string // as PostgreSQL stores it
	Foreign []int64
	Written bool // one of them is in SQL, and the planner would write it out
}

// expressionsSQL is an expression of inspectTemplate: a list of tableExpression as JSON.
const expressionsSQL = `(
	SELECT pg_catalog.json_agg(pg_catalog.json_build_object('What', e.what, 'Expr', e.expr, 'Foreign', e.foreign_oids, 'Written', e.written) ORDER BY e.what)
	FROM (
		SELECT x.what, x.expr, pg_catalog.array_agg(DISTINCT p.oid::bigint) AS foreign_oids,
		       pg_catalog.bool_or(l.lanname = 'sql' AND NOT p.prosecdef AND p.proconfig IS NULL) AS written
		FROM (
			SELECT 'index ' || i.indexrelid::pg_catalog.regclass::text AS what, pg_catalog.concat(i.indexprs::text, ' ', i.indpred::text) AS expr
			FROM pg_catalog.pg_index i WHERE i.indrelid = t.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
			UNION ALL
			SELECT 'constraint ' || pg_catalog.quote_ident(k.conname), k.conbin::text FROM pg_catalog.pg_constraint k WHERE k.conrelid = t.oid AND k.contype = 'c'
			UNION ALL
			SELECT 'statistics object ' || pg_catalog.quote_ident(s.stxname), s.stxexprs::text FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = t.oid AND s.stxexprs IS NOT NULL
			UNION ALL
			SELECT 'partition key of ' || k.partrelid::pg_catalog.regclass::text, k.partexprs::text FROM pg_catalog.pg_partitioned_table k WHERE k.partrelid = ANY (t.upwards) AND k.partexprs IS NOT NULL
		) AS x
		CROSS JOIN LATERAL (
			SELECT m[1]::pg_catalog.oid AS oid FROM pg_catalog.regexp_matches(x.expr, ':(?:funcid|opfuncid|hashfuncid|negfuncid) (\d+)', 'g') AS m
			UNION
			SELECT o.oprcode::pg_catalog.oid FROM pg_catalog.regexp_matches(x.expr, ':opno (\d+)', 'g') AS m JOIN pg_catalog.pg_operator o ON o.oid = m[1]::pg_catalog.oid
		) AS f
		JOIN pg_catalog.pg_proc p ON p.oid = f.oid JOIN pg_catalog.pg_language l ON l.oid = p.prolang
		WHERE p.oid >= 16384 AND l.lanname NOT IN ('internal', 'c')
		   -- functions in SQL over any type cast to text, and a cast may be a user's
		   OR p.oid < 16384 AND l.lanname = 'sql' AND (2283 = ANY (p.proargtypes) OR 2776 = ANY (p.proargtypes)) AND x.expr ~ ':\w*type\w* (1638[4-9]|1639\d|16[4-9]\d\d|1[7-9]\d{3}|[2-9]\d{4}|\d{6,})'
		GROUP BY x.what, x.expr
	) AS e)`

// foldedOf names the expressions by which planning a statement would run a user's functions.
func foldedOf(list []tableExpression) (names []string) {
	for _, e := range list {
		if e.Written || foldable(e.Expr, e.Foreign) {
			names = append(names, e.What)
		}
	}
	return names
}

// exprNode is what foldable needs to know of a node of an expression.
type exprNode struct {
	tag    string
	calls  []int64
	value  bool // a constant that is not NULL
	varies bool // no planner can make a constant of it
	args   []exprNode
}

// foldable reports whether the planner may find a call of one of the functions with nothing but constants: whether any such call has
// no argument that is sure to vary. What cannot be read counts as foldable.
func foldable(expr string, functions []int64) bool {
	stack := []exprNode{{}}
	field := ""
	for _, token := range exprTokens(expr) {
		top := &stack[len(stack)-1]
		switch {
		case token == "{":
			stack = append(stack, exprNode{})
			field = ""
		case token == "}":
			if len(stack) < 2 {
				return true
			}
			done := *top
			stack = stack[:len(stack)-1]
			if done.folds(functions) {
				return true
			}
			done.settle()
			above := &stack[len(stack)-1]
			above.args = append(above.args, done)
			field = ""
		case token == "(", token == ")", token == "[", token == "]":
		case strings.HasPrefix(token, ":"):
			field = token[1:]
		case top.tag == "" && len(stack) > 1:
			top.tag = token
		default:
			top.word(field, token)
		}
	}
	return len(stack) != 1
}

func (n *exprNode) word(field, token string) {
	switch field {
	case "funcid", "opfuncid":
		if oid, err := strconv.ParseInt(token, 10, 64); err == nil {
			n.calls = append(n.calls, oid)
		}
	case "constisnull":
		n.value = token == "false"
	}
}

// folds reports whether this node calls one of the functions, and none of its arguments is sure to vary.
func (n *exprNode) folds(functions []int64) bool {
	if !slices.ContainsFunc(n.calls, func(oid int64) bool { return slices.Contains(functions, oid) }) {
		return false
	}
	return !slices.ContainsFunc(n.args, func(a exprNode) bool { return a.varies })
}

// settle says whether the node's value is sure to vary: that of a column does, and so does what a function makes of it, unless a NULL
// beside it makes it NULL. Of CASE, COALESCE and the like nothing is known.
func (n *exprNode) settle() {
	switch n.tag {
	case "VAR":
		n.varies = true
	case "RELABELTYPE", "COERCEVIAIO", "COLLATEEXPR", "COLLATE":
		n.varies = len(n.args) == 1 && n.args[0].varies
	case "FUNCEXPR", "OPEXPR":
		for _, a := range n.args {
			if !a.varies && !(a.tag == "CONST" && a.value) {
				n.varies = false
				return
			}
			n.varies = n.varies || a.varies
		}
	}
	n.args = nil
}

// exprTokens splits a stored expression in brackets and words. A backslash takes the character behind it into the word.
func exprTokens(s string) (tokens []string) {
	for i := 0; i < len(s); {
		switch {
		case strings.IndexByte(" \n\t", s[i]) >= 0:
			i++
		case strings.IndexByte("{}()[]", s[i]) >= 0:
			tokens = append(tokens, s[i:i+1])
			i++
		default:
			start := i
			for i < len(s) && strings.IndexByte(" \n\t{}()[]", s[i]) < 0 {
				if s[i] == '\\' {
					i++
				}
				i++
			}
			tokens = append(tokens, s[start:min(i, len(s))])
		}
	}
	return tokens
}

// refuseFolded: the functions would run with the worker's rights.
func (t *Table) refuseFolded(opt RefusalOptions) []Refusal {
	if opt.FireTriggers {
		return nil
	}
	var out []Refusal
	for _, what := range t.Folded {
		out = append(out, Refusal{wrongState, "its " + what + " calls functions that PostgreSQL would run while it plans, with the rights of the worker's role",
			"Call them with a column and not with constants; a function in SQL is left alone if it has a setting, as by ALTER FUNCTION … SET search_path = ''. WITH (triggers = fire) lets them run; it takes an operator or a superuser."})
	}
	return out
}

// castSQL is an expression over a foreign key's operator op and its referring column fa: to compare them, that column's type must be cast by
// a function that may be a user's.
const castSQL = `EXISTS (
	SELECT FROM (
		WITH RECURSIVE d(oid) AS (SELECT fa.atttypid UNION ALL SELECT y.typbasetype FROM d JOIN pg_catalog.pg_type y ON y.oid = d.oid WHERE y.typtype = 'd')
		SELECT d.oid FROM d JOIN pg_catalog.pg_type y ON y.oid = d.oid WHERE y.typtype <> 'd') AS base
	JOIN pg_catalog.pg_type want ON want.oid = op.oprright
	WHERE base.oid >= 16384 AND base.oid <> want.oid AND want.typtype <> 'p'
	  AND NOT EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.castsource = base.oid AND c.casttarget = want.oid AND c.castmethod = 'b'))`
