package grants

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/sqlfront/parse"
)

// Script is the script that `spillway grants` prints and `spillway up` runs in a private PostgreSQL.
type Script struct {
	Role      string // the worker's
	Ledger    string // schema of the ledger; "" is the default
	System    string // schema of the views; the same
	Database  string
	Tables    []Table
	Readers   []string // roles that may read the views
	Operators bool     // make the role Operator
	Monitor   bool     // how far standbys are
	Truncate  bool     // on partitions
	Maintain  bool     // VACUUM, without owning the table
	Restore   bool     // what RESTORE needs too
}

// Operator is the role whose members may flush what they do not own, and kill any job.
const Operator = "spillway_operator"

// String writes the script.
func (g *Script) String() string {
	role := parse.QuoteName(g.Role)
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("-- Rights of Spillway's worker in the database %s. Run this as a superuser, or as a role with CREATEROLE that may create", parse.QuoteName(g.Database))
	p("-- schemas here and owns the tables. It may be run again.")
	p("BEGIN;")
	p("")
	p("-- The role that the worker logs in as; set its password afterwards, in psql with \\password %s.", role)
	p("-- Who is no superuser must be its member to create schemas that it owns.")
	CreateRole(p, g.Role, "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS", true)
	p("")
	own, system := parse.QuoteName(cmp.Or(g.Ledger, ledger.DefaultSchema)), parse.QuoteName(cmp.Or(g.System, ledger.DefaultSystemSchema))
	p("-- Its two schemas: %s, the ledger of what was moved, and %s, the views that people read.", own, system)
	p("CREATE SCHEMA IF NOT EXISTS %s AUTHORIZATION %s;", own, role)
	p("CREATE SCHEMA IF NOT EXISTS %s AUTHORIZATION %s;", system, role)
	g.tableGrants(p, role)
	if g.Monitor {
		p("-- How far standbys are, for flushes WITH (max_replication_lag = …). It shows the worker all sessions' statements too, and takes a")
		p("-- superuser, or a role that may grant it.")
		p("GRANT pg_read_all_stats TO %s;", role)
		p("")
	}
	g.readerGrants(p, role, system)
	p("COMMIT;")
	return b.String()
}

// CreateRole prints, line by line, what makes a role that is missing, and with member lets who runs it act for the role.
func CreateRole(p func(string, ...any), name, attributes string, member bool) {
	quote := dollarQuote(name)
	p("DO %s BEGIN", quote)
	p("    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %s) THEN", sqlclient.Literal(name))
	p("        CREATE ROLE %s %s;", parse.QuoteName(name), attributes)
	p("    END IF;")
	if member {
		p("    IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN")
		p("        GRANT %s TO CURRENT_USER;", parse.QuoteName(name))
		p("    END IF;")
	}
	p("END %s;", quote)
}

// dollarQuote is what quotes a block with a name in it.
func dollarQuote(name string) string {
	quote := "$$"
	for n := 1; strings.Contains(name, quote); n++ {
		quote = fmt.Sprintf("$q%d$", n)
	}
	return quote
}

func (g *Script) tableGrants(p func(string, ...any), role string) {
	if len(g.Tables) == 0 {
		p("")
		return
	}
	p("")
	p("-- The tables to flush. SELECT and DELETE: rows are moved by DELETE … RETURNING. UPDATE on one column: rows that others")
	p("-- hold are stepped over by SELECT … FOR UPDATE SKIP LOCKED, which asks for that right; nothing is ever updated.")
	p("-- Partitions are moved one by one and need their own grants; run this again when new ones have come.")
	var schemas []string
	for _, t := range g.Tables {
		for _, one := range append([]Table{t}, t.partitions...) {
			if !slices.Contains(schemas, one.schema) {
				schemas = append(schemas, one.schema)
				p("GRANT USAGE ON SCHEMA %s TO %s;", one.schema, role)
			}
		}
	}
	for _, t := range g.Tables {
		tableTo(p, t, role)
		for _, leaf := range t.partitions {
			tableTo(p, leaf, role)
		}
		g.optionalGrants(p, t, role)
	}
	if g.Restore {
		g.restoreGrants(p, role)
	}
	p("")
	p("-- In a deadlock with an application the flush is to be the one that PostgreSQL ends, to try again: the worker looks for deadlocks sooner.")
	p("-- Only a superuser may grant this, from PostgreSQL 15 on; without it an application may be ended, very rarely.")
	quote := dollarQuote(role)
	p("DO %s BEGIN", quote)
	p("    IF current_setting('server_version_num')::int >= 150000 AND (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN")
	p("        LOCK TABLE pg_catalog.pg_parameter_acl IN SHARE ROW EXCLUSIVE MODE; -- or two such scripts at once would fail")
	p("        EXECUTE %s; -- older versions cannot read it", sqlclient.Literal("GRANT SET ON PARAMETER deadlock_timeout TO "+role))
	p("    END IF;")
	p("END %s;", quote)
	p("")
}

// restoreGrants: rows go back through the table itself, also where it has partitions.
func (g *Script) restoreGrants(p func(string, ...any), role string) {
	p("")
	p("-- RESTORE puts rows back: by COPY, or through a temporary table where some may stay cold (WHERE, on_conflict = skip).")
	for _, t := range g.Tables {
		p("GRANT INSERT ON TABLE %s.%s TO %s;", t.schema, t.name, role)
	}
	p("GRANT TEMPORARY ON DATABASE %s TO %s;", parse.QuoteName(g.Database), role)
}

// optionalGrants are those that a flush can do without.
func (g *Script) optionalGrants(p func(string, ...any), t Table, role string) {
	for _, leaf := range t.partitions {
		if g.Truncate {
			p("GRANT TRUNCATE ON TABLE %s.%s TO %s;", leaf.schema, leaf.name, role)
		}
	}
	for _, one := range append([]Table{t}, t.partitions...) {
		if g.Maintain {
			p("GRANT MAINTAIN ON TABLE %s.%s TO %s;", one.schema, one.name, role)
		}
	}
}

func (g *Script) readerGrants(p func(string, ...any), role, system string) {
	readers := g.Readers
	if g.Operators {
		p("-- Members of this role may flush tables that they do not own, and kill any job: GRANT %s TO somebody;", Operator)
		CreateRole(p, Operator, "NOLOGIN", false)
		p("")
		readers = append([]string{Operator}, readers...)
	}
	if len(readers) == 0 {
		return
	}
	p("-- Who may read %[1]s.jobs and %[1]s.segments. The views themselves come when the worker first starts.", system)
	for _, r := range readers {
		r = parse.QuoteName(r)
		p("GRANT USAGE ON SCHEMA %s TO %s;", system, r)
		p("GRANT SELECT ON ALL TABLES IN SCHEMA %s TO %s;", system, r)
		p("ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA %s GRANT SELECT ON TABLES TO %s;", role, system, r)
	}
	p("")
}
