package sqlfront

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestAllowedFunctions asks the rules about every function that PostgreSQL has, and compares those that they allow, though
// they are not immutable, with a list that people have read. Functions of newer versions are refused until read.
func TestAllowedFunctions(t *testing.T) { // A52
	t.Parallel()
	db := pgtest.Database(t)
	conn := db.Connect(t, db.SuperURL)
	rows, err := conn.Query(t.Context(), `
		SELECT p.oid::text, p.proname::text, l.lanname::text, p.provolatile::text, p.proretset, p.prokind::text, p.prorettype::text,
		       ARRAY(SELECT a::text FROM unnest(p.proargtypes) AS a), pg_get_function_identity_arguments(p.oid)
		FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang WHERE p.pronamespace = 'pg_catalog'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	types := allTypes(t, db)
	var allowed []string
	total := 0
	for rows.Next() {
		var (
			oid, name, lang, volatility, kind, result, args string
			set                                             bool
			argTypes                                        []string
		)
		if err := rows.Scan(&oid, &name, &lang, &volatility, &set, &kind, &result, &argTypes, &args); err != nil {
			t.Fatal(err)
		}
		total++
		n := &node{tag: "FUNCEXPR", fields: map[string][]value{"funcid": {{word: oid}}, "funcresulttype": {{word: result}}}}
		var list []value
		for _, a := range argTypes {
			list = append(list, value{node: &node{tag: "CONST", fields: map[string][]value{"consttype": {{word: a}}}}})
		}
		n.fields["args"] = []value{{list: list}}
		x := &expression{root: n, types: types, zone: true, style: true,
			procs: map[string]proc{oid: {name: name, language: lang, volatility: volatility, own: true, set: set, kind: kind}}}
		if x.check() != nil {
			continue
		}
		if volatility != "i" {
			allowed = append(allowed, name+"("+args+")")
		}
		for _, bad := range []string{"xml", "pg_read", "lo_", "has_", "current_", "dblink", "_to_reg", "to_reg", "pg_get", "pg_stat", "setting", "domain_in", "record_in"} {
			if strings.Contains(name, bad) && !strings.HasPrefix(name, "xml_is_well_formed") { // which reads its argument only
				t.Errorf("allowed: %s(%s)", name, args)
			}
		}
	}
	if total < 2000 || rows.Err() != nil {
		t.Fatalf("%d functions, %v", total, rows.Err())
	}
	slices.Sort(allowed)
	got := strings.Join(allowed, "\n") + "\n"
	const golden = "testdata/stable_functions.golden"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	read := strings.Split(string(want), "\n")
	for _, f := range allowed {
		if !slices.Contains(read, f) {
			t.Errorf("allowed, and never read by people: %s", f)
		}
	}
}

func allTypes(t *testing.T, db *pgtest.DB) map[string]typ {
	t.Helper()
	conn := db.Connect(t, db.SuperURL)
	rows, err := conn.Query(t.Context(), `SELECT oid::text, typname::text, typtype::text, typcategory::text, typelem::text FROM pg_type`)
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]typ{}
	for rows.Next() {
		var oid string
		ty := typ{own: true}
		if err := rows.Scan(&oid, &ty.name, &ty.kind, &ty.category, &ty.elem); err != nil {
			t.Fatal(err)
		}
		types[oid] = ty
	}
	return types
}
