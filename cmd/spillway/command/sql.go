package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/sqlfront/parse"
)

type sqlOptions struct {
	clientOptions
	commands []string
	files    []string
}

func newSQL(env *Env) *cobra.Command {
	var o sqlOptions
	cmd := &cobra.Command{
		Use:   "sql",
		Short: "Run SQL statements, or prompt for them",
		Long: `Run SQL statements through the front-end: Spillway's own (FLUSH TABLE, KILL JOB, SHOW JOBS) and PostgreSQL's.

Without -c and -f the statements come from standard input; at a terminal there is a prompt. psql works as well, and
better: this command is for machines that have none.`,
		Example: `  spillway sql -c 'FLUSH TABLE app.events'
  spillway sql -c 'SELECT * FROM system.jobs' -o json
  spillway sql -f nightly.sql`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runSQL(cmd, env, &o) },
	}
	o.flags(cmd)
	cmd.Flags().StringArrayVarP(&o.commands, "command", "c", nil, "run these statements (may be repeated)")
	cmd.Flags().StringArrayVarP(&o.files, "file", "f", nil, "run the statements of this file; - is standard input (may be repeated)")
	return cmd
}

func runSQL(cmd *cobra.Command, env *Env, o *sqlOptions) error {
	texts := o.commands
	for _, name := range o.files {
		text, err := readStatements(name, env.Stdin)
		if err != nil {
			return err
		}
		texts = append(texts, text)
	}
	prompt := len(texts) == 0 && env.Interactive
	if len(texts) == 0 && !prompt {
		text, err := readStatements("-", env.Stdin)
		if err != nil {
			return err
		}
		texts = append(texts, text)
	}
	c, err := o.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer c.close()
	c.onNotice = func(n *pgconn.Notice) { printNotice(env.Stderr, n) }
	s := newSink(cmd, env)
	if prompt {
		return promptSQL(cmd.Context(), env, c, s)
	}
	for _, text := range texts {
		for _, p := range parse.Split(text, nil) {
			if err := c.run(cmd.Context(), p.Text, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func readStatements(name string, stdin io.Reader) (string, error) {
	if name == "-" {
		b, err := io.ReadAll(stdin)
		return string(b), err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return "", usagef("--file: %v", err)
	}
	return string(b), nil
}

// printNotice shows a NOTICE or WARNING of the server as psql does.
func printNotice(w io.Writer, n *pgconn.Notice) {
	fmt.Fprintf(w, "%s:  %s\n", n.Severity, n.Message)
	if n.Detail != "" {
		fmt.Fprintf(w, "DETAIL:  %s\n", n.Detail)
	}
	if n.Hint != "" {
		fmt.Fprintf(w, "HINT:  %s\n", n.Hint)
	}
}

// promptSQL reads statements line by line, runs each as soon as its semicolon has come, and goes on after errors.
func promptSQL(ctx context.Context, env *Env, c *client, s sink) error {
	fmt.Fprintln(env.Stdout, `Statements end with a semicolon; \q or Ctrl-D leaves.`)
	lines, err := newLineReader(env)
	if err != nil {
		return err
	}
	defer lines.close()
	var pending strings.Builder
	for ctx.Err() == nil {
		prompt := "spillway=> "
		if pending.Len() > 0 {
			prompt = "spillway-> "
		}
		line, err := lines.read(prompt)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if word := strings.TrimSpace(line); pending.Len() == 0 && (word == `\q` || word == "exit" || word == "quit") {
			return nil
		}
		pending.WriteString(line + "\n")
		if !complete(pending.String()) {
			continue
		}
		text := pending.String()
		pending.Reset()
		for _, p := range parse.Split(text, nil) {
			if err := c.run(ctx, p.Text, s); err != nil {
				if ctx.Err() != nil {
					return err
				}
				if c.conn.IsClosed() {
					return &unreachableError{what: "the connection is gone", err: err, hint: "is `spillway up` still running?"}
				}
				report(env.Stderr, err)
			}
		}
	}
	return ctx.Err()
}

// complete reports whether text holds no statement that waits for its semicolon: with one more word behind it, it would
// have one more statement.
func complete(text string) bool {
	return len(parse.Split(text+"\nx", nil)) > len(parse.Split(text, nil)) || strings.TrimSpace(text) == ""
}
