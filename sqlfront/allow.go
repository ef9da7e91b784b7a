package sqlfront

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// Here stands what a predicate may contain. The worker evaluates it with its own rights, so the question is never "would
// this do harm on the author's session" but "can this make any code run, or read anything, other than PostgreSQL's own code
// on the row at hand". What is not known to be harmless is refused.

// kinds are the nodes that may occur, with the field that holds their type, or "bool".
var kinds = map[string]string{
	"VAR": "vartype", "CONST": "consttype", "OPEXPR": "opresulttype", "DISTINCTEXPR": "opresulttype", "NULLIFEXPR": "opresulttype",
	"SCALARARRAYOPEXPR": "bool", "FUNCEXPR": "funcresulttype", "BOOLEXPR": "bool", "NULLTEST": "bool", "BOOLEANTEST": "bool",
	"RELABELTYPE": "resulttype", "COERCEVIAIO": "resulttype", "ARRAYCOERCEEXPR": "resulttype",
	"COLLATEEXPR": "", "COLLATE": "", "CASEEXPR": "casetype", "CASE": "casetype", "CASEWHEN": "", "WHEN": "", "CASETESTEXPR": "typeId",
	"ARRAYEXPR": "array_typeid", "ARRAY": "array_typeid", "ROWCOMPAREEXPR": "bool", "ROWCOMPARE": "bool",
	"COALESCEEXPR": "coalescetype", "COALESCE": "coalescetype", "MINMAXEXPR": "minmaxtype", "MINMAX": "minmaxtype",
	"SQLVALUEFUNCTION": "type", "SUBSCRIPTINGREF": "refrestype",
}

// refusedKinds gives names to what users may try.
var refusedKinds = map[string]string{
	"SUBLINK": "a subquery", "AGGREF": "an aggregate", "WINDOWFUNC": "a window function", "ROWEXPR": "a row constructor", "ROW": "a row constructor",
	"COERCETODOMAIN": "a cast to a domain", "XMLEXPR": "an XML expression", "CONVERTROWTYPEEXPR": "a whole row", "GROUPINGFUNC": "GROUPING",
	"FIELDSELECT": "a field of a row value", "NEXTVALUEEXPR": "a sequence", "PARAM": "a parameter",
}

// builtIn is the first OID that PostgreSQL does not give to objects of its own.
const builtIn = 16384

// The types whose text form depends on DateStyle, IntervalStyle or TimeZone: date, timestamp, timestamptz, interval, timetz.
var styled = []string{"1082", "1114", "1184", "1186", "1266"}

// anyZone are stable functions whose result does not depend on the session, but for the day lengths of a zone's clock
// changes: those count in UTC.
var anyZone = []string{"now", "transaction_timestamp", "statement_timestamp", "timestamptz_pl_interval", "timestamptz_mi_interval",
	"interval_pl_timestamptz"}

// byZone are stable functions that read or write local time, allowed while the session's time is UTC, as the worker's is.
var byZone = []string{"date", "date_part", "extract", "date_trunc", "timestamptz", "timestamp", "time", "timetz", "overlaps", "make_timestamptz",
	"date_eq_timestamptz", "date_ne_timestamptz", "date_lt_timestamptz", "date_le_timestamptz", "date_gt_timestamptz", "date_ge_timestamptz",
	"timestamptz_eq_date", "timestamptz_ne_date", "timestamptz_lt_date", "timestamptz_le_date", "timestamptz_gt_date", "timestamptz_ge_date",
	"timestamp_eq_timestamptz", "timestamp_ne_timestamptz", "timestamp_lt_timestamptz", "timestamp_le_timestamptz",
	"timestamp_gt_timestamptz", "timestamp_ge_timestamptz", "timestamptz_eq_timestamp", "timestamptz_ne_timestamp",
	"timestamptz_lt_timestamp", "timestamptz_le_timestamp", "timestamptz_gt_timestamp", "timestamptz_ge_timestamp"}

// ofText are stable functions that only put the text forms of their arguments together.
var ofText = []string{"concat", "concat_ws", "textanycat", "anytextcat", "format", "quote_literal", "quote_nullable", "array_to_string"}

// refusedFunctions are immutable, and yet look into the catalog.
var refusedFunctions = []string{"satisfies_hash_partition", "pg_partition_root", "makeaclitem", "acldefault", "postgresql_fdw_validator"}

// expression is a predicate's tree, and what was asked about the objects in it.
type expression struct {
	root  *node
	procs map[string]proc
	types map[string]typ
	ops   map[string]string // operator → function
	vouch []string          // functions that may be called though they are users': Options.PredicateFunctions
	zone  bool              // the session's time is UTC
	style bool              // and its text forms are the worker's
}

type proc struct {
	name, language, volatility string
	own, set                   bool // of PostgreSQL itself; returns a set
	kind                       string
	signature                  string // schema.name(types)
}

type typ struct {
	name, kind, category string
	own                  bool
	elem                 string // of an array
}

// viewExpression takes the first column of a view's tree.
func viewExpression(action string) (*node, error) {
	values, err := parseNodes(action)
	if err != nil {
		return nil, err
	}
	queries := nodesIn(values)
	if len(queries) != 1 || queries[0].tag != "QUERY" {
		return nil, fmt.Errorf("PostgreSQL's parse tree is no single query")
	}
	targets := queries[0].children("targetList")
	if len(targets) != 1 || targets[0].child("expr") == nil {
		return nil, fmt.Errorf("PostgreSQL's parse tree has not one column")
	}
	for _, flag := range []string{"hasSubLinks", "hasAggs", "hasWindowFuncs", "hasTargetSRFs"} {
		if queries[0].word(flag) != "false" {
			return nil, refused("subqueries, aggregates, window functions and sets are not allowed in a predicate")
		}
	}
	return targets[0].child("expr"), nil
}

func refused(format string, args ...any) error {
	return &pgwire.Error{Code: codeNotSupported, Message: fmt.Sprintf(format, args...),
		Hint: "a predicate is evaluated by the worker: it may use the table's columns, constants, and PostgreSQL's own functions and operators that read nothing else"}
}

// check refuses whatever is not known to be harmless.
func (x *expression) check() error { return x.walk(x.root, nil, 0) }

func (x *expression) walk(n, parent *node, depth int) error {
	if depth > maxDepth {
		return refused("the predicate is nested too deeply")
	}
	field, ok := kinds[n.tag]
	if !ok {
		what := refusedKinds[n.tag]
		if what == "" {
			what = "an expression of the kind " + n.tag
		}
		return refused("%s is not allowed in a predicate", what)
	}
	if field != "" && field != "bool" {
		if err := x.checkType(n, n.word(field), parent); err != nil {
			return err
		}
	}
	if err := x.checkNode(n); err != nil {
		return err
	}
	for _, name := range sortedFields(n) {
		for _, child := range n.children(name) {
			if err := x.walk(child, n, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func sortedFields(n *node) []string {
	names := make([]string, 0, len(n.fields))
	for name := range n.fields {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// checkNode checks what is special about a kind of node, and the functions that it calls.
func (x *expression) checkNode(n *node) error {
	switch n.tag {
	case "VAR":
		switch att, err := strconv.Atoi(n.word("varattno")); {
		case err != nil, n.word("varlevelsup") != "0":
			return refused("this reference is not allowed in a predicate")
		case att == 0:
			return refused("a whole row is not allowed in a predicate")
		case att < 0:
			return refused("system columns are not allowed in a predicate")
		}
	case "SQLVALUEFUNCTION":
		switch n.word("op") {
		case "0", "3", "7": // CURRENT_DATE, CURRENT_TIMESTAMP, LOCALTIMESTAMP: constants by the time the worker sees them
			return nil
		}
		return refused("of the SQL value functions, a predicate may use only CURRENT_DATE, CURRENT_TIMESTAMP and LOCALTIMESTAMP")
	case "COERCEVIAIO":
		return x.checkTextCast(n)
	}
	for _, name := range []string{"funcid", "opfuncid", "hashfuncid", "negfuncid", "elemfuncid"} {
		if oid := n.word(name); oid != "" && oid != "0" {
			if err := x.checkFunction(n, oid); err != nil {
				return err
			}
		}
	}
	ops := n.words("opnos")
	if op := n.word("opno"); op != "" {
		ops = append(ops, op)
	}
	for _, op := range ops {
		if err := x.checkFunction(n, x.ops[op]); err != nil {
			return err
		}
	}
	return nil
}

// checkFunction checks one function that a node calls.
func (x *expression) checkFunction(n *node, oid string) error {
	f, ok := x.procs[oid]
	switch {
	case !ok:
		return refused("the predicate calls a function that cannot be found")
	case (!f.own || !isOwn(oid)) && !x.vouched(n, f):
		return refused("function or operator %s is not PostgreSQL's own, and is not allowed in a predicate", f.name)
	case f.volatility == "v":
		return refused("function %s is volatile, and is not allowed in a predicate", f.name)
	case f.set || f.kind != "f", slices.Contains(refusedFunctions, f.name):
		return refused("function %s is not allowed in a predicate", f.name)
	}
	switch {
	case f.volatility == "i", slices.Contains(anyZone, f.name), !isOwn(oid):
		return nil
	case slices.Contains(ofText, f.name):
		return x.checkTextArguments(n, f.name)
	case f.name == "date_trunc" && len(n.children("args")) == 3, f.name == "make_timestamptz" && len(n.children("args")) == 7:
		return nil // the zone is an argument
	case slices.Contains(byZone, f.name) && x.touchesZone(n):
		if x.zone {
			return nil
		}
		return &pgwire.Error{Code: codeNotSupported, Message: "the predicate depends on the TimeZone of your session (" + f.name + "), and the worker's is UTC",
			Hint: "SET TimeZone = 'UTC' first, or compare with a constant such as timestamptz '2026-01-01 00:00:00+00'"}
	}
	return refused("the result of function %s depends on more than its arguments, and it is not allowed in a predicate", f.name)
}

// vouched reports whether an administrator vouches for a function that is called by its name. Operators and casts do not
// count: what they call, their owner may change.
func (x *expression) vouched(n *node, f proc) bool {
	return n.tag == "FUNCEXPR" && n.word("funcformat") == "0" && slices.Contains(x.vouch, f.signature)
}

func isOwn(oid string) bool {
	n, err := strconv.Atoi(oid)
	return err == nil && n > 0 && n < builtIn
}

// touchesZone keeps byZone, which goes by name, to the date and time functions of that name.
func (x *expression) touchesZone(n *node) bool {
	types := []string{x.typeOf(n)}
	for _, arg := range n.children("args") {
		types = append(types, x.typeOf(arg))
	}
	return slices.Contains(types, "1184") || slices.Contains(types, "1266")
}

// typeOf returns the type of a node's value.
func (x *expression) typeOf(n *node) string {
	switch field := kinds[n.tag]; {
	case field == "bool":
		return "16"
	case field != "":
		return n.word(field)
	case n.tag == "COLLATEEXPR" || n.tag == "COLLATE":
		if arg := n.child("arg"); arg != nil {
			return x.typeOf(arg)
		}
	}
	return ""
}

// checkTextArguments: the arguments must have text forms that do not depend on settings.
func (x *expression) checkTextArguments(n *node, name string) error {
	for _, arg := range n.children("args") {
		if !x.hasFixedText(x.typeOf(arg)) && !x.style {
			return textForm("function " + name)
		}
	}
	return nil
}

func textForm(what string) error {
	return &pgwire.Error{Code: codeNotSupported, Message: what + " gives a text form that depends on settings of your session, and the worker's may differ",
		Hint: "compare values of the column's own type, or SET TimeZone = 'UTC', DateStyle = 'ISO, MDY', IntervalStyle = 'postgres' first"}
}

// hasFixedText reports whether a type's text form is the same under all settings.
func (x *expression) hasFixedText(oid string) bool {
	t, ok := x.types[oid]
	if !ok {
		return false
	}
	if t.category == "A" && t.elem != "0" && t.elem != "" {
		return x.hasFixedText(t.elem)
	}
	return strings.Contains("SNBEUVX", t.category) && t.name != "money" && !slices.Contains(styled, oid)
}

// checkTextCast checks a cast by way of the text form.
func (x *expression) checkTextCast(n *node) error {
	arg := n.child("arg")
	if arg == nil {
		return refused("this cast is not allowed in a predicate")
	}
	for _, oid := range []string{x.typeOf(arg), x.typeOf(n)} {
		t := x.types[oid]
		if t.kind != "b" {
			return refused("a cast of the type %s is not allowed in a predicate", t.name)
		}
		if t.name == "money" || !x.hasFixedText(oid) && !x.style {
			return textForm("the cast")
		}
	}
	return nil
}

// checkType checks the type of a value: PostgreSQL's own, and harmless. The worker reads the predicate later, and until then
// the owner of a type may rename it, make another one of its name, or give it casts. So no type of a user's may take part.
// A column of one may be asked whether it is null; a domain's column stands for its base type.
func (x *expression) checkType(n *node, oid string, parent *node) error {
	t, ok := x.types[oid]
	if !ok {
		return refused("the predicate uses a type that cannot be found")
	}
	if n.tag == "VAR" && !isOwn(oid) && parent != nil {
		if parent.tag == "NULLTEST" || t.kind == "d" && parent.tag == "RELABELTYPE" {
			return nil
		}
	}
	if t.category == "A" && t.kind == "b" && t.elem != "" && t.elem != "0" {
		elem, ok := x.types[t.elem]
		if !ok {
			return refused("the predicate uses a type that cannot be found")
		}
		return checkScalar(t.elem, elem)
	}
	return checkScalar(oid, t)
}

func checkScalar(oid string, t typ) error {
	switch {
	case !t.own || !isOwn(oid):
		return refused("a value of the type %s, which is not PostgreSQL's own, is not allowed in a predicate", t.name)
	case t.kind != "b" && t.kind != "r" && t.kind != "m":
		return refused("a value of the type %s is not allowed in a predicate", t.name)
	case strings.HasPrefix(t.name, "reg"), strings.HasPrefix(t.name, "pg_") && t.name != "pg_lsn",
		slices.Contains([]string{"aclitem", "refcursor", "xml"}, t.name):
		return refused("a value of the type %s is not allowed in a predicate", t.name)
	}
	return nil
}

// columns returns the numbers of the columns whose types matter to the tree's meaning.
func (x *expression) columns() []string {
	set := map[string]bool{}
	var visit func(n *node, tested bool)
	visit = func(n *node, tested bool) {
		if n.tag == "VAR" && !tested {
			set[n.word("varattno")] = true
		}
		for name := range n.fields {
			for _, child := range n.children(name) {
				visit(child, n.tag == "NULLTEST")
			}
		}
	}
	visit(x.root, false)
	return slices.Sorted(maps.Keys(set))
}

// gather asks PostgreSQL about every operator, function and type of the tree.
func (x *expression) gather(ctx context.Context, up pgwire.Upstream) error {
	procs, types, ops := map[string]bool{}, map[string]bool{"16": true}, map[string]bool{}
	collectOIDs(x.root, procs, types, ops)
	rows, err := up.Query(ctx, `SELECT oid, oprcode::oid FROM pg_catalog.pg_operator WHERE oid = ANY ($1::oid[])`, oidArray(ops))
	if err != nil {
		return err
	}
	x.ops = map[string]string{}
	for _, r := range rows {
		x.ops[str(r[0])] = str(r[1])
		procs[str(r[1])] = true
	}
	rows, err = up.Query(ctx, `
		SELECT p.oid, p.proname, l.lanname, p.provolatile, p.pronamespace = 'pg_catalog'::regnamespace, p.proretset, p.prokind, p.oid::regprocedure::text
		FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang WHERE p.oid = ANY ($1::oid[])`, oidArray(procs))
	if err != nil {
		return err
	}
	x.procs = map[string]proc{}
	for _, r := range rows {
		x.procs[str(r[0])] = proc{name: str(r[1]), language: str(r[2]), volatility: str(r[3]), own: str(r[4]) == "t", set: str(r[5]) == "t", kind: str(r[6]), signature: str(r[7])}
	}
	rows, err = up.Query(ctx, `
		SELECT t.oid, t.typname, t.typtype, t.typcategory, t.typnamespace = 'pg_catalog'::regnamespace, t.typelem
		FROM pg_catalog.pg_type AS t
		WHERE t.oid = ANY ($1::oid[]) OR t.oid IN (SELECT a.typelem FROM pg_catalog.pg_type AS a WHERE a.oid = ANY ($1::oid[]))`, oidArray(types))
	if err != nil {
		return err
	}
	x.types = map[string]typ{}
	for _, r := range rows {
		x.types[str(r[0])] = typ{name: str(r[1]), kind: str(r[2]), category: str(r[3]), own: str(r[4]) == "t", elem: str(r[5])}
	}
	return nil
}

func collectOIDs(n *node, procs, types, ops map[string]bool) {
	add := func(set map[string]bool, oids ...string) {
		for _, oid := range oids {
			if v, err := strconv.Atoi(oid); err == nil && v > 0 {
				set[oid] = true
			}
		}
	}
	for _, name := range []string{"funcid", "opfuncid", "hashfuncid", "negfuncid", "elemfuncid"} {
		add(procs, n.word(name))
	}
	add(ops, n.word("opno"))
	add(ops, n.words("opnos")...)
	add(types, n.word(kinds[n.tag]))
	for name := range n.fields {
		for _, child := range n.children(name) {
			collectOIDs(child, procs, types, ops)
		}
	}
}

func oidArray(set map[string]bool) string {
	oids := make([]string, 0, len(set))
	for oid := range set {
		oids = append(oids, oid)
	}
	slices.Sort(oids)
	return "{" + strings.Join(oids, ",") + "}"
}
