package shell

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/internal/cli/words"
)

const (
	namesFresh    = 5 * time.Second // how long names that were looked up are good
	namesPatience = time.Second     // how long a Tab may wait for them
	mostShown     = 100
)

// nameCache holds what Tab completes with, as the server last told it.
type nameCache struct {
	tables, schemas, live, jobs, schedules []string
	at                                     time.Time
}

// verbs begin a statement.
var verbs = []string{
	"FLUSH TABLE", "FLUSH ALL", "KILL JOB", "KILL JOBS WHERE", "PAUSE JOB", "RESUME JOB", "RESTORE TABLE", "SHOW JOBS", "SHOW JOB", "SHOW COLD TABLE",
	"VERIFY TABLE", "CLEANUP",
	"CREATE STORAGE", "ALTER STORAGE", "DROP STORAGE", "SHOW STORAGES", "SHOW FLUSH POLICIES", "SHOW FLUSH POLICY FOR",
	"CREATE SCHEDULE", "PAUSE SCHEDULE", "RESUME SCHEDULE", "TRIGGER SCHEDULE", "BACKFILL SCHEDULE", "DROP SCHEDULE", "SHOW SCHEDULES", "SHOW SCHEDULE", "EXPLAIN SCHEDULE",
	"SELECT", "INSERT INTO", "UPDATE", "DELETE FROM", "WITH", "COPY", "BEGIN", "COMMIT", "ROLLBACK", "CREATE", "ALTER TABLE", "DROP", "TRUNCATE", "EXPLAIN",
	"SET", "SHOW", "GRANT", "REVOKE", "VACUUM", "ANALYZE", "SAVEPOINT", "LOCK TABLE",
}

// keywords stand anywhere else.
var keywords = []string{
	"ALL", "AND", "AS", "ASC", "BETWEEN", "BY", "CASE", "COUNT", "CROSS JOIN", "DESC", "DISTINCT", "ELSE", "END", "EXISTS", "FALSE", "FROM", "GROUP BY", "HAVING",
	"ILIKE", "IN", "INNER JOIN", "INTERVAL", "INTO", "IS NOT NULL", "IS NULL", "JOIN", "LEFT JOIN", "LIKE", "LIMIT", "NOT", "NULL", "OFFSET", "ON", "OR", "ORDER BY",
	"RETURNING", "SET", "TABLE", "THEN", "TRUE", "UNION", "USING", "VALUES", "WHEN", "WHERE", "WITH",
}

// follows says what comes after a statement's words, the longest entry that fits counting. "*" stands for any word.
var follows = map[string][]string{
	"FLUSH":               {"TABLE", "ALL"},
	"FLUSH ALL":           {"TABLES", "IN", "WITH ("},
	"FLUSH TABLE *":       {"WITH (", "WHERE", "OLDER THAN"},
	"CLEANUP":             {"OBJECT", "WITH ("},
	"KILL":                {"JOB", "JOBS WHERE"},
	"CANCEL":              {"JOB", "JOBS WHERE"},
	"PAUSE":               {"JOB", "SCHEDULE"},
	"RESUME":              {"JOB", "SCHEDULE"},
	"TRIGGER":             {"SCHEDULE"},
	"BACKFILL":            {"SCHEDULE"},
	"SHOW":                {"JOBS", "JOB", "COLD TABLE", "STORAGES", "FLUSH POLICIES", "FLUSH POLICY FOR", "SCHEDULES", "SCHEDULE", "ALL", "TimeZone", "server_version"},
	"SHOW JOB *":          {"WHEN COMPLETE"},
	"SHOW COLD":           {"TABLE"},
	"VERIFY":              {"TABLE"},
	"VERIFY TABLE *":      {"WITH ("},
	"CREATE":              {"TABLE", "INDEX", "VIEW", "SCHEMA", "FUNCTION", "ROLE", "STORAGE", "SCHEDULE"},
	"DROP":                {"TABLE", "INDEX", "VIEW", "SCHEMA", "FUNCTION", "ROLE", "STORAGE", "SCHEDULE"},
	"EXPLAIN":             {"ANALYZE", "SELECT", "FLUSH TABLE", "KILL JOBS WHERE", "SCHEDULE"},
	"CREATE STORAGE *":    {"LOCATION '"},
	"CREATE SCHEDULE *":   {"FOR FLUSH TABLE", "FOR FLUSH ALL", "FOR VERIFY TABLE", "FOR VERIFY ALL", "FOR CLEANUP"},
	"BACKFILL SCHEDULE *": {"FROM '"},
	"ALTER STORAGE *":     {"ADOPT"},
	"RESTORE":             {"TABLE"},
	"RESTORE TABLE *":     {"FROM JOB", "WITH (", "WHERE"},
	"ALTER TABLE *":       {"SET FLUSH POLICY (", "RESET FLUSH POLICY", "PAUSE FLUSH POLICY", "RESUME FLUSH POLICY", "ADD COLUMN", "DROP COLUMN", "ALTER COLUMN", "RENAME TO", "OWNER TO"},
}

// optionWords stand in WITH ( … ) of FLUSH.
var optionWords = []string{"wait = true", "as_text = (", "parallelism = ", "chunk_bytes = ", "chunk_time = ", "lock_timeout = ", "max_lock_waiters = ", "max_replication_lag = ", "max_rows_per_second = ", "verify = full", "triggers = ", "replicate = ", "storage = ", "skip_referenced = true", "on_unrepresentable = ",
	"partition_by = (", "order_by = (", "path = '{namespace}/{table}/{partition}'", "file_bytes = ", "row_group_bytes = ", "row_group_rows = ", "codec = ", "bloom = (", "vacuum = true", "whole_partition = ", "keep_rows = ", "age_column = "}

// policyWords stand in SET FLUSH POLICY ( … ), before those of FLUSH.
var policyWords = []string{"interval = '", "rows = ", "bytes = '", "min_rows = ", "older_than = '", "where = $$", "paused = true"}

// restoreWords stand in WITH ( … ) of RESTORE.
var restoreWords = []string{"wait = true", "parallelism = ", "lock_timeout = ", "on_conflict = skip", "drop_columns = (", "triggers = fire", "replicate = true"}

// optionValues are those of options that have a few.
var optionValues = map[string][]string{
	"wait": yesOrNo, "replicate": yesOrNo, "skip_referenced": yesOrNo, "vacuum": yesOrNo, "paused": yesOrNo, "dry_run": yesOrNo,
	"verify": {"footer", "full"}, "triggers": {"fire"}, "on_unrepresentable": {"error", "null"}, "whole_partition": {"delete", "truncate", "detach"},
	"codec": {"zstd", "snappy", "none"}, "on_conflict": {"error", "skip"},
}

var yesOrNo = []string{"true", "false"}

// complete is the terminal's callback: Tab replaces the word before the cursor by what all candidates have in common, or
// lists them.
func (sh *shell) complete(line string, pos int, key rune) (string, int, bool) {
	if key != '\t' {
		return "", 0, false
	}
	if sh.data {
		return line[:pos] + "\t" + line[pos:], pos + 1, true
	}
	before := line[:pos]
	start := wordStart(before)
	word := before[start:]
	earlier := ""
	if sh.typing != nil {
		earlier = sh.typing.Pending()
	}
	found := matching(word, sh.candidates(earlier, before[:start], word))
	if len(found) == 0 {
		return line, pos, true
	}
	common := commonPrefix(found)
	if len(found) == 1 && !strings.HasSuffix(common, " ") && !strings.HasSuffix(common, "/") && !strings.HasSuffix(common, "(") {
		common += " "
	}
	if len(common) <= len(word) {
		if shown := fmt.Sprint(line, pos); len(found) > 1 && sh.shown != shown {
			sh.shown = shown
			sh.list(found)
		}
		return line, pos, true
	}
	return line[:start] + common + line[pos:], start + len(common), true
}

// wordStart is where the word before the cursor begins. Job ids and dotted names are one word.
func wordStart(before string) int { return strings.LastIndexAny(before, " \t(,;=") + 1 }

// candidates lists what may stand at the cursor: earlier lines of the statement, the line before the word, and the word.
func (sh *shell) candidates(earlier, before, word string) []string {
	if strings.TrimSpace(earlier) == "" && strings.HasPrefix(strings.TrimSpace(before+word), `\`) {
		return sh.commandCandidates(before, word)
	}
	if i := strings.LastIndexByte(before, ';'); i >= 0 {
		earlier, before = "", before[i+1:]
	}
	words := strings.Fields(strings.ToUpper(earlier + " " + before))
	last := ""
	if len(words) > 0 {
		last = words[len(words)-1]
	}
	switch {
	case len(words) == 0:
		return inCase(word, verbs)
	case strings.Count(before, "(") > strings.Count(before, ")") && optionsOf(words) != nil:
		if name, ok := strings.CutSuffix(strings.TrimSpace(before), "="); ok {
			name = strings.TrimSpace(name)
			return optionValues[strings.ToLower(name[wordStart(name):])]
		}
		return optionsOf(words)
	case words[0] == "SHOW" && last == "FOR":
		return sh.tableNames(word)
	case words[0] == "RESTORE" && last == "FROM":
		return inCase(word, []string{"JOB"})
	case last == "SCHEDULE" && words[0] != "CREATE":
		return sh.lookUp().schedules
	case last == "JOB":
		return quoted(sh.jobIDs(words[0]))
	case slices.Contains([]string{"TABLE", "FROM", "JOIN", "INTO", "UPDATE", "ONLY", "TRUNCATE", "VACUUM", "ANALYZE", "COPY"}, last):
		return sh.tableNames(word)
	case last == "IN" && words[0] == "FLUSH":
		return sh.lookUp().schemas
	case strings.Contains(word, "."):
		return sh.tableNames(word)
	}
	if next := following(words); next != nil {
		return inCase(cmp.Or(word, strings.TrimSpace(earlier+before)), next)
	}
	return inCase(word, keywords)
}

// optionsOf lists the options that a statement's parentheses may hold; nil if they are not Spillway's.
func optionsOf(words []string) []string {
	verb := words[0]
	if i := slices.Index(words, "FOR"); verb == "CREATE" && i > 0 && i+1 < len(words) && words[1] == "SCHEDULE" {
		verb = words[i+1] // what the schedule does
	}
	switch {
	case verb == "FLUSH":
		return optionWords
	case verb == "VERIFY":
		return []string{"wait = true", "parallelism = "}
	case verb == "CLEANUP":
		return []string{"wait = true", "dry_run = true"}
	case verb == "RESTORE":
		return restoreWords
	case verb == "ALTER" && slices.Contains(words, "POLICY"):
		return slices.Concat(policyWords, optionWords[1:]) // without wait
	}
	return nil
}

// following finds the entry of follows for the words of a statement.
func following(words []string) []string {
	if next := follows[strings.Join(words, " ")]; next != nil {
		return next
	}
	return follows[strings.Join(words[:len(words)-1], " ")+" *"]
}

func (sh *shell) commandCandidates(before, word string) []string {
	words := strings.Fields(before)
	if len(words) == 0 {
		var names []string
		for _, c := range commands() {
			names = append(names, c.name)
		}
		return names
	}
	switch words[0] {
	case `\i`:
		files, _ := filepath.Glob(globEscape(word) + "*") // the pattern is well formed
		return files
	case `\d`:
		return sh.tableNames(word)
	case `\x`:
		return []string{"on", "off", "auto"}
	case `\timing`:
		return []string{"on", "off"}
	case `\pset`:
		if len(words) > 1 && words[1] == "format" {
			return Forms
		}
		return []string{"null", "expanded", "format"}
	}
	return nil
}

// globEscape keeps what is special to a pattern from being so.
func globEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

// tableNames lists tables as schema.name. A word without a dot may be the beginning of either: our statements want both.
func (sh *shell) tableNames(word string) []string {
	names := sh.lookUp().tables
	if strings.Contains(word, ".") || word == "" {
		return names
	}
	var out []string
	for _, n := range names {
		_, table, _ := strings.Cut(n, ".")
		if words.HasPrefixFold(n, word) || words.HasPrefixFold(table, word) {
			out = append(out, n)
		}
	}
	if !slices.ContainsFunc(out, func(n string) bool { return words.HasPrefixFold(n, word) }) {
		for i := range out {
			out[i] = typedAnyway + out[i]
		}
	}
	return out
}

// typedAnyway marks a candidate that does not begin with the word and is meant all the same.
const typedAnyway = "\x00"

// matching keeps the candidates that begin with the word, in whatever case.
func matching(word string, list []string) []string {
	var out []string
	for _, c := range list {
		if name, ok := strings.CutPrefix(c, typedAnyway); ok {
			out = append(out, name)
		} else if words.HasPrefixFold(c, word) {
			out = append(out, c)
		}
	}
	return slices.Compact(out)
}

// commonPrefix is what all of them begin with; it does not end inside a character.
func commonPrefix(list []string) string {
	common := list[0]
	for _, s := range list[1:] {
		for !strings.HasPrefix(s, common) {
			runes := []rune(common)
			common = string(runes[:len(runes)-1])
		}
	}
	return common
}

// inCase writes keywords in the case of what was typed.
func inCase(typed string, list []string) []string {
	if typed == "" || typed[:1] != strings.ToLower(typed[:1]) {
		return list
	}
	out := make([]string, len(list))
	for i, k := range list {
		out[i] = strings.ToLower(k)
	}
	return out
}

func quoted(ids []string) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = sqlclient.Literal(id)
	}
	return out
}

// jobIDs lists the jobs that a verb may name: live ones to be stopped, any to be looked at.
func (sh *shell) jobIDs(verb string) []string {
	if n := sh.lookUp(); verb == "SHOW" || verb == "RESTORE" {
		return n.jobs
	} else {
		return n.live
	}
}

// lookUp asks the server for names, unless it just did or the session is inside a transaction, which a question that fails
// would abort. What fails leaves the names as they were: a Tab is no place for an error.
func (sh *shell) lookUp() *nameCache {
	n := &sh.names
	if time.Since(n.at) < namesFresh || sh.c.Conn.TxStatus() != 'I' {
		return n
	}
	n.at = time.Now()
	ask := func(query, column string, to *[]string) {
		ctx, cancel := context.WithTimeout(context.Background(), namesPatience)
		defer cancel()
		rows, err := sh.c.Rows(ctx, query)
		if err != nil {
			return
		}
		*to = nil
		for _, r := range rows {
			*to = append(*to, r[column])
		}
	}
	ask(sqlclient.QuotedNames, "name", &n.tables)
	n.schemas = schemasOf(n.tables)
	ask("SHOW JOBS", "job_id", &n.live)
	ask(`SELECT job_id FROM system.jobs ORDER BY created_at DESC LIMIT 200`, "job_id", &n.jobs)
	ask(`SELECT pg_catalog.quote_ident(name) AS name FROM system.schedules ORDER BY name LIMIT 1000`, "name", &n.schedules)
	if n.jobs == nil { // the views may have another name
		n.jobs = n.live
	}
	return n
}

func schemasOf(tables []string) []string {
	var out []string
	for _, t := range tables {
		schema, _, _ := strings.Cut(t, ".")
		out = append(out, schema)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// list shows candidates above the line that is being typed.
func (sh *shell) list(found []string) {
	widest := 0
	for _, f := range found[:min(len(found), mostShown)] {
		widest = max(widest, show.Width(f)+2)
	}
	perLine := max(1, max(sh.view.Width(), 1)/widest)
	var b strings.Builder
	for i, f := range found {
		if i == mostShown {
			fmt.Fprintf(&b, "… and %d more", len(found)-i)
			break
		}
		b.WriteString(f)
		if i%perLine == perLine-1 || i == len(found)-1 {
			b.WriteString("\n")
		} else {
			b.WriteString(strings.Repeat(" ", widest-show.Width(f)))
		}
	}
	fmt.Fprintln(sh.screen.term, strings.TrimRight(b.String(), "\n"))
}
