package shell

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/sqlfront/parse"
)

const (
	repeatEvery = 2 * time.Second
	mostFiles   = 16 // of \i in one another
)

// command is a backslash command.
type command struct {
	name  string
	args  string // for the help
	help  string
	most  int  // arguments
	takes bool // the statement before it
	run   func(sh *shell, c *call) error
}

// call is one use of a command.
type call struct {
	ctx       context.Context
	args      []string
	statement string // that stands before it
	in        *parse.Input
	from      *run
}

// arg returns an argument, or "".
func (c *call) arg(i int) string {
	if i < len(c.args) {
		return c.args[i]
	}
	return ""
}

// commands are psql's, as far as people's fingers know them.
func commands() []command {
	return []command{
		{`\q`, "", "leave", 0, false, func(*shell, *call) error { return errQuit }},
		{`\?`, "", "show this help", 0, false, (*shell).helpCommand},
		{`\g`, "", "run the statement before it, or the last one again; also instead of a semicolon", 0, true, (*shell).again},
		{`\gx`, "", `as \g, with expanded output`, 0, true, (*shell).againExpanded},
		{`\watch`, "[SECONDS]", `as \g, again and again until Ctrl-C (default: every 2 seconds); c=N: N times`, 2, true, (*shell).watch},
		{`\r`, "", "forget what was typed and has no semicolon yet", 0, true, func(*shell, *call) error { return nil }},
		{`\x`, "[on|off|auto]", "expanded output: a line per column; auto: where a row does not fit the terminal", 1, false, (*shell).expandedCommand},
		{`\pset`, "[NAME [VALUE]]", "null TEXT, expanded on|off|auto, format table|json|csv; alone: show them", 2, false, (*shell).pset},
		{`\timing`, "[on|off]", "show how long statements take", 1, false, (*shell).timingCommand},
		{`\i`, "FILE", "run the statements of a file", 1, false, (*shell).include},
		{`\echo`, "TEXT…", "print a text", 1 << 10, false, (*shell).echo},
		{`\d`, "[NAME]", "list tables and views, or the columns of one", 1, false, (*shell).describe},
		{`\conninfo`, "", "show the connection", 0, false, (*shell).connInfo},
	}
}

// command runs the backslash commands of a line; line is what follows the first backslash, with it.
func (sh *shell) command(ctx context.Context, statement, line string, in *parse.Input, r *run) error {
	for line != "" {
		words, rest, err := commandWords(line)
		if err != nil {
			return err
		}
		if words[0] == `\` { // \\ ends commands, and SQL goes on
			in.Add(strings.TrimPrefix(line, `\\`) + "\n")
			return nil
		}
		list := commands()
		i := slices.IndexFunc(list, func(c command) bool { return c.name == words[0] })
		switch {
		case i < 0:
			return fail.Hint(fmt.Errorf("unknown command %s", words[0]), `\? lists the commands; psql knows more`)
		case len(words)-1 > list[i].most:
			return fail.Hint(fmt.Errorf("%s: unexpected argument %q", words[0], words[list[i].most+1]), "%s", strings.TrimSpace(list[i].name+" "+list[i].args))
		}
		call := &call{ctx: ctx, args: words[1:], statement: statement, in: in, from: r}
		if list[i].takes {
			statement = ""
		}
		if err := list[i].run(sh, call); err != nil {
			return err
		}
		line = rest
	}
	if statement != "" {
		in.Add(statement + "\n") // it goes on behind the command
	}
	return nil
}

// commandWords cuts one command off a line: its name and arguments, which may be quoted as SQL quotes; rest begins with the
// next backslash.
func commandWords(line string) (words []string, rest string, err error) {
	i := 1
	for i < len(line) && !strings.ContainsRune(" \t\r\\;", rune(line[i])) {
		i++
	}
	words = []string{line[:i]}
	for {
		for i < len(line) && strings.ContainsRune(" \t\r", rune(line[i])) {
			i++
		}
		switch {
		case i >= len(line), line[i] == ';' && strings.TrimSpace(line[i+1:]) == "":
			return words, "", nil
		case line[i] == '\\':
			return words, line[i:], nil
		}
		word, n := commandWord(line[i:])
		if n < 0 {
			return nil, "", fmt.Errorf("%s: unterminated quoted string", words[0])
		}
		words = append(words, word)
		i += n
	}
}

// commandWord reads one argument and returns its length, or -1.
func commandWord(s string) (string, int) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ' ', '\t', '\r', '\\':
			return b.String(), i
		case '\'':
			for i++; ; i++ {
				if i >= len(s) {
					return "", -1
				}
				if s[i] == '\'' {
					if i+1 >= len(s) || s[i+1] != '\'' {
						break
					}
					i++
				}
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), len(s)
}

func (sh *shell) helpCommand(*call) error {
	for _, c := range commands() {
		fmt.Fprintf(sh.o.Out, "  %-22s %s\n", strings.TrimSpace(c.name+" "+c.args), c.help)
	}
	_, err := fmt.Fprint(sh.o.Out, `
Statements of Spillway:
  FLUSH TABLE schema.table [WITH (wait = true)] [WHERE …];     move rows to Parquet files
  SHOW JOBS;  SHOW JOB 'id';  KILL JOB 'id';                   look at jobs, stop one
  SHOW COLD TABLE schema.table;                                the files of a table
  SELECT … FROM system.jobs;  system.segments;  system.tables; everything else about them
Anything else goes to PostgreSQL. Tab completes, Ctrl-C stops a statement.
`)
	return err
}

// current is the statement that a command works on.
func (sh *shell) current(c *call) (string, error) {
	if c.statement != "" {
		sh.last = c.statement
	}
	if sh.last == "" {
		return "", errors.New("there is no statement to run yet")
	}
	return sh.last, nil
}

func (sh *shell) again(c *call) error {
	text, err := sh.current(c)
	if err != nil {
		return err
	}
	return sh.execute(c.ctx, text, c.in, c.from)
}

func (sh *shell) againExpanded(c *call) error {
	before := sh.view.Expanded
	defer func() { sh.view.Expanded = before }()
	sh.view.Expanded = show.ExpandOn
	return sh.again(c)
}

// watchArgs reads [i=]SECONDS and c=TIMES.
func watchArgs(args []string) (every time.Duration, times int, err error) {
	every = repeatEvery
	for _, a := range args {
		name, value, named := strings.Cut(a, "=")
		if !named {
			name, value = "i", a
		}
		switch name {
		case "i", "interval":
			seconds, e := strconv.ParseFloat(value, 64)
			if e != nil || seconds < 0 || seconds > 1e6 {
				return 0, 0, fmt.Errorf(`\watch: %q is no number of seconds`, value)
			}
			every = time.Duration(seconds * float64(time.Second))
		case "c", "count":
			if times, err = strconv.Atoi(value); err != nil || times < 1 {
				return 0, 0, fmt.Errorf(`\watch: %q is no number of times`, value)
			}
		default:
			return 0, 0, fail.Hint(fmt.Errorf(`\watch: unknown argument %q`, a), `\watch 5, or \watch i=5 c=3`)
		}
	}
	return every, times, nil
}

// watch repeats a statement until it fails or the user has seen enough.
func (sh *shell) watch(c *call) error {
	every, times, err := watchArgs(c.args)
	if err != nil {
		return err
	}
	text, err := sh.current(c)
	if err != nil {
		return err
	}
	if parse.Copy(text, nil) == parse.CopyIn {
		return errors.New(`\watch: COPY … FROM STDIN cannot be repeated`)
	}
	ctx, done := sh.stoppable(c.ctx)
	defer done()
	for n := 1; ; n++ {
		sh.say("%s (every %gs)\n", time.Now().Format(time.DateTime), every.Seconds())
		began := time.Now()
		if err := sh.send(ctx, text, c.in, c.from); err != nil {
			return sh.watchEnd(ctx, err)
		}
		if sh.timing {
			sh.say("Time: %.3f ms", float64(time.Since(began).Microseconds())/1000)
		}
		if n == times {
			return nil
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return sh.watchEnd(ctx, context.Cause(ctx))
		}
	}
}

// watchEnd is how \watch ends: Ctrl-C is what people end it with, and no error.
func (sh *shell) watchEnd(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStopped) && !sh.c.Conn.IsClosed() {
		sh.say("") // behind the ^C
		return nil
	}
	return err
}

func (sh *shell) expandedCommand(c *call) error { return sh.setExpanded(`\x`, c.arg(0)) }

func (sh *shell) setExpanded(what, value string) error {
	switch on, err := ParseSwitch(value); {
	case strings.EqualFold(value, "auto"):
		sh.view.Expanded = show.ExpandAuto
	case value == "" && sh.view.Expanded == show.ExpandOn:
		sh.view.Expanded = show.ExpandOff
	case value == "" || err == nil && on:
		sh.view.Expanded = show.ExpandOn
	case err == nil:
		sh.view.Expanded = show.ExpandOff
	default:
		return fmt.Errorf("%s: %q: expected on, off or auto", what, value)
	}
	sh.say("Expanded display is %s.", sh.view.Expanded)
	return nil
}

func (sh *shell) timingCommand(c *call) error {
	on := !sh.timing
	if len(c.args) > 0 {
		var err error
		if on, err = ParseSwitch(c.args[0]); err != nil {
			return fmt.Errorf(`\timing: %q: %w`, c.args[0], err)
		}
	}
	sh.timing = on
	sh.say("Timing is %s.", map[bool]string{true: "on", false: "off"}[on])
	return nil
}

func (sh *shell) pset(c *call) error {
	switch name, value := c.arg(0), c.arg(1); name {
	case "":
		sh.say("expanded %s\nformat   %s\nnull     '%s'", sh.view.Expanded, sh.view.Form, sh.view.Null)
		return nil
	case "null":
		sh.view.Null = value
		sh.say("Null display is %q.", value)
		return nil
	case "expanded", "x":
		return sh.setExpanded(`\pset expanded`, value)
	case "format":
		if value == "aligned" {
			value = "table"
		}
		if !slices.Contains(Forms, value) {
			return fmt.Errorf(`\pset format: %q: expected %s`, value, strings.Join(Forms, ", "))
		}
		sh.view.Form = value
		sh.say("Output format is %s.", value)
		return nil
	default:
		return fail.Hint(fmt.Errorf(`\pset: unknown option %q`, name), "options are null, expanded and format")
	}
}

// include runs a file. Its first error ends it.
func (sh *shell) include(c *call) error {
	name := c.arg(0)
	if name == "" {
		return errors.New(`\i: the name of a file is missing`)
	}
	if sh.depth >= mostFiles {
		return fmt.Errorf(`\i %s: %d files include one another`, name, mostFiles)
	}
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf(`\i: %w`, err)
	}
	defer f.Close() // only read
	sh.depth++
	defer func() { sh.depth-- }()
	ctx, done := sh.stoppable(c.ctx)
	defer done()
	err = sh.run(ctx, &run{lines: newScript(f), name: name})
	return orNil(err, errQuit) // \q leaves the file, as in psql
}

func (sh *shell) echo(c *call) error {
	_, err := fmt.Fprintln(sh.o.Out, strings.Join(c.args, " "))
	return err
}

func (sh *shell) connInfo(*call) error {
	rows, err := sh.c.Rows(context.Background(), "SELECT current_database() AS d, session_user AS u")
	if err != nil {
		return err
	}
	sh.say("You are connected to database %q as user %q at %s.", rows[0]["d"], rows[0]["u"], sh.c.Conn.Conn().RemoteAddr())
	return nil
}

// describe answers \d from PostgreSQL's catalogue. psql shows more; this is for machines that have none.
func (sh *shell) describe(c *call) error {
	ctx, done := sh.stoppable(c.ctx)
	defer done()
	if c.arg(0) == "" {
		return sh.c.Run(ctx, listTables, sh.view.Sink(sh.o.Out))
	}
	rows, err := sh.c.Rows(ctx, "SELECT to_regclass("+sqlclient.Literal(c.arg(0))+") AS t")
	if err != nil {
		return err
	}
	if rows[0]["t"] == "" {
		return fail.Hint(fmt.Errorf("table %s does not exist", c.arg(0)), `\d lists tables and views`)
	}
	return sh.c.Run(ctx, fmt.Sprintf(listColumns, sqlclient.Literal(c.arg(0))), sh.view.Sink(sh.o.Out))
}

const (
	listTables = `
		SELECT n.nspname AS schema, c.relname AS name,
		       CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END AS type,
		       pg_catalog.pg_get_userbyid(c.relowner) AS owner,
		       pg_catalog.pg_size_pretty(CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_table_size(c.oid) END) AS size
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
		  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
		ORDER BY 1, 2`
	listColumns = `
		SELECT a.attname AS column, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
		       CASE WHEN a.attnotnull THEN 'not null' END AS nullable, pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS default,
		       pg_catalog.col_description(a.attrelid, a.attnum) AS comment
		FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE a.attrelid = pg_catalog.to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`
)
