package pgwire

import "context"

// Handler makes sessions. It is called once for each client, after PostgreSQL has let the client in.
type Handler interface {
	Session(info Info) Session
}

// Info says who connected.
type Info struct {
	User     string // as given at start-up; SET ROLE and the like may change who acts
	Database string
}

// Session interprets the statements of one client. Its methods are never called at the same time.
type Session interface {
	// Prepare returns the statement that text is, nil if it is PostgreSQL's, or the error in it, of which nothing is
	// told to PostgreSQL. It must be quick: it sees every text.
	Prepare(text string, reading Reading) (Statement, error)

	// Mentions reports whether running a text of PostgreSQL's may read what Fill provides. It sees every text too.
	Mentions(text string) bool

	// Fill is called just before such a statement runs, in its transaction. text is that statement, exactly as PostgreSQL
	// has it, or "" where that is not certain.
	Fill(ctx context.Context, up Upstream, text string) error

	// NearMiss returns a hint for a text that PostgreSQL calls a syntax error, or "".
	NearMiss(text string) string
}

// Reading says how the client's text is to be read.
type Reading struct {
	BackslashQuotes bool // standard_conforming_strings is off
}

// Statement is a statement that the proxy answers. It is kept for as long as the client keeps it prepared.
type Statement interface {
	// Params is the number of parameters, all of type text.
	Params() int
	// Columns are those of every result.
	Columns() []Column
	// Run runs the statement. args may hold nil for NULL. notice may be called at any time until Run returns.
	// When ctx ends, Run must return soon; the context's cause says why.
	Run(ctx context.Context, up Upstream, args []*string, notice func(Notice)) (*Result, error)
}

// Type is the type of a column.
type Type uint8

// The types, and the Go types of their values.
const (
	Text        Type = iota // string
	Int8                    // int64
	Float8                  // float64
	Bool                    // bool
	Timestamptz             // time.Time
)

// Column is one column of an answer.
type Column struct {
	Name string
	Type Type
}

// Result is the answer to a statement. A nil value is NULL.
type Result struct {
	Rows [][]any
	Tag  string // of the command, without a count
}

// Notice is a message beside the answer.
type Notice struct {
	Code    string // SQLSTATE; "" means 00000
	Message string
	Detail  string
	Hint    string
}

// Block is where the client's transaction stands.
type Block byte

// The blocks.
const (
	Idle     Block = 'I' // outside of any transaction
	Open     Block = 'T' // inside BEGIN … COMMIT
	Failed   Block = 'E' // inside one that has failed
	Implicit Block = 'P' // behind other statements of a pipeline that the client has not yet synced
)

// Upstream runs statements on the client's own connection to PostgreSQL. It is only valid while Run or Fill runs.
type Upstream interface {
	// Query runs one statement by the extended protocol and returns all its rows as text; nil is NULL. Arguments are sent
	// as text parameters. PostgreSQL's errors are *Error. After one, inside a pipeline (Implicit), nothing more can be
	// asked; elsewhere the Upstream stays usable, and Block tells whether the error has failed the transaction.
	Query(ctx context.Context, sql string, args ...string) ([][]*string, error)

	// Block says where the transaction stands, PostgreSQL's own word.
	Block() Block

	// Release ends the transaction that the questions so far have opened by themselves, so that a statement that waits
	// holds nothing. Inside a transaction or pipeline of the client's it does nothing.
	Release() error

	// Setting returns a setting that PostgreSQL reports by itself, such as TimeZone.
	Setting(name string) string
}
