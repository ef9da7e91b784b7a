package hot

import (
	"fmt"
	"strings"
)

// RefusalOptions are the options of a flush by which a user takes a consequence upon himself.
type RefusalOptions struct {
	FireTriggers   bool // triggers = fire
	Replicate      bool // replicate = true
	SkipReferenced bool // skip_referenced = true
}

// Refusal is a reason to leave a table alone. Code is an SQLSTATE.
type Refusal struct {
	Code string
	Msg  string
	Hint string
}

// SQLSTATEs of refusals.
const (
	wrongObject     = "42809" // wrong_object_type
	notSupported    = "0A000" // feature_not_supported
	noPrivilege     = "42501" // insufficient_privilege
	wrongState      = "55000" // object_not_in_prerequisite_state
	dependentsExist = "2BP01" // dependent_objects_still_exist
)

// Refusals returns every reason, the gravest first. A partitioned table and each of its leaves must be asked.
func (t *Table) Refusals(opt RefusalOptions) []Refusal {
	if r, bad := t.refuseKind(); bad {
		return []Refusal{r} // what follows makes no sense for it
	}
	var out []Refusal
	out = append(out, t.refuseRights()...)
	out = append(out, t.refuseRules()...)
	out = append(out, t.refuseForeignKeys(opt)...)
	out = append(out, t.refuseTriggers(opt)...)
	out = append(out, t.refuseFolded(opt)...)
	return append(out, t.refusePublications(opt)...)
}

// kinds names what relkind means, for those that hold no rows of their own.
var kinds = map[string]string{
	"v": "a view", "m": "a materialized view", "f": "a foreign table", "i": "an index", "I": "an index", "S": "a sequence",
	"c": "a composite type", "t": "a TOAST table",
}

// refuseKind says whether this is a table at all, and one that we may touch.
func (t *Table) refuseKind() (Refusal, bool) {
	kind, other := kinds[t.RelKind]
	switch {
	case t.Persistence == "t":
		return Refusal{wrongObject, "it is a temporary table", "Only its own session sees its rows: move them to a permanent table first."}, true
	case t.Reserved:
		return Refusal{wrongObject, fmt.Sprintf("schema %q belongs to PostgreSQL or to Spillway itself", t.Schema), "Only application tables can be flushed."}, true
	case other:
		return Refusal{wrongObject, "it is " + kind, "Flush the table that holds the rows."}, true
	case t.RelKind != "r" && t.RelKind != "p":
		return Refusal{wrongObject, fmt.Sprintf("it is not a table (relkind %q)", t.RelKind), "Flush the table that holds the rows."}, true
	case t.Extension == "timescaledb":
		return Refusal{notSupported, "it is managed by TimescaleDB", "Use TimescaleDB's own tiering, or copy the rows to an ordinary table."}, true
	case t.Extension == "citus":
		return Refusal{notSupported, "it is managed by Citus", "Its rows are on other nodes or in columnar storage; flush ordinary tables only."}, true
	case t.RelKind == "r" && t.Method != "heap":
		return Refusal{notSupported, fmt.Sprintf("its access method is %q", t.Method), "Only heap tables can be cut in block ranges: ALTER TABLE … SET ACCESS METHOD heap."}, true
	}
	for _, l := range t.Leaves {
		if l.RelKind == "f" {
			return Refusal{wrongObject, fmt.Sprintf("its partition %s.%s is a foreign table", l.Schema, l.Name), "Flush the other partitions one by one, or detach that one."}, true
		}
	}
	return Refusal{}, false
}

// refuseRights says what this role may not do, and whether rows would be hidden from it.
func (t *Table) refuseRights() []Refusal {
	grants := fmt.Sprintf("Let the owner run the script that `spillway grants --for %s.%s` prints.", t.Schema, t.Name)
	var missing []string
	needed := []struct {
		has  bool
		name string
	}{{t.Privileges.Select, "SELECT"}, {t.Privileges.Delete, "DELETE"}, {t.Privileges.Update, "UPDATE on at least one column (to lock rows)"}}
	for _, p := range needed {
		if !p.has && t.RelKind != "p" { // a partitioned table is not touched, only its leaves are
			missing = append(missing, p.name)
		}
	}
	var out []Refusal
	if !t.Privileges.Usage {
		out = append(out, Refusal{noPrivilege, fmt.Sprintf("permission denied for schema %q: the worker's role lacks USAGE", t.Schema), grants})
	}
	if len(missing) > 0 {
		out = append(out, Refusal{noPrivilege, "permission denied: the worker's role lacks " + strings.Join(missing, ", "), grants})
	}
	if t.RLS {
		out = append(out, Refusal{noPrivilege, "its row security would hide rows from the worker's role",
			"Let the worker's role own the table (without FORCE ROW LEVEL SECURITY) or have BYPASSRLS."})
	}
	return out
}

func (t *Table) refuseRules() []Refusal {
	var out []Refusal
	for _, rule := range t.DeleteRules {
		out = append(out, Refusal{wrongState, fmt.Sprintf("its rule %q rewrites DELETE", rule), fmt.Sprintf("DROP RULE %q ON %s.%s, or use a trigger instead.", rule, t.Schema, t.Name)})
	}
	return out
}

// refuseForeignKeys: a referenced row would fail its chunk, and a cascading key would change rows elsewhere.
func (t *Table) refuseForeignKeys(opt RefusalOptions) []Refusal {
	var out []Refusal
	for _, fk := range t.InboundFKs {
		from := fk.Schema + "." + fk.Table
		action := map[string]string{"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}[fk.OnDelete]
		switch {
		case action != "":
			out = append(out, Refusal{dependentsExist, fmt.Sprintf("foreign key %q of %s would change rows there (ON DELETE %s)", fk.Name, from, action),
				"Flush the referring table first and drop the foreign key, or make it ON DELETE NO ACTION and use WITH (skip_referenced = true)."})
		case !opt.SkipReferenced:
			out = append(out, Refusal{dependentsExist, fmt.Sprintf("foreign key %q of %s refers to it", fk.Name, from),
				"WITH (skip_referenced = true) leaves referenced rows hot; or flush the referring table first and drop the foreign key."})
		case fk.Cast && !opt.FireTriggers:
			out = append(out, Refusal{wrongState, fmt.Sprintf("foreign key %q of %s compares by a cast, whose function would run with the rights of the worker's role", fk.Name, from),
				"Give both columns the same type. WITH (triggers = fire) lets the cast run; it takes an operator or a superuser."})
		case !fk.Readable:
			out = append(out, Refusal{noPrivilege, fmt.Sprintf("skip_referenced has to read all rows of %s, which the worker's role may not", from),
				fmt.Sprintf("GRANT SELECT ON %s to the worker's role.", from)})
		}
	}
	return out
}

func (t *Table) refuseTriggers(opt RefusalOptions) []Refusal {
	var out []Refusal
	for _, g := range t.DeleteTriggers {
		switch {
		case opt.FireTriggers && t.RelKind == "p" && g.Statement:
			out = append(out, Refusal{notSupported, fmt.Sprintf("its trigger %q is FOR EACH STATEMENT of the partitioned table and would not run", g.Name),
				"Rows are deleted partition by partition: disable the trigger, or make it FOR EACH ROW."})
		case !opt.FireTriggers:
			out = append(out, Refusal{wrongState, fmt.Sprintf("its trigger %q would run for every row that is moved", g.Name),
				"WITH (triggers = fire) lets DELETE triggers run, with the rights of the worker's role; or disable the trigger."})
		}
	}
	return out
}

// refusePublications: subscribers would delete the rows too, and without a replica identity PostgreSQL refuses the DELETE.
func (t *Table) refusePublications(opt RefusalOptions) []Refusal {
	if len(t.Publications) == 0 {
		return nil
	}
	names := strings.Join(t.Publications, ", ")
	if !t.HasIdentity && t.RelKind == "r" {
		return []Refusal{{wrongState, fmt.Sprintf("publication %s publishes its deletes, but it has no replica identity", names),
			"Give it a primary key, ALTER TABLE … REPLICA IDENTITY, or take it out of the publication."}}
	}
	if !opt.Replicate {
		return []Refusal{{wrongState, fmt.Sprintf("publication %s would delete the rows from its subscribers too", names),
			"WITH (replicate = true) accepts that; or take the table or deletes out of the publication."}}
	}
	return nil
}
