package pgwire

import (
	"errors"
	"strings"

	"github.com/spillwaydb/spillway/sqlfront/parse"
)

// remembers reports whether a text may run what an earlier one has prepared, by SQL, over data that we fill in.
func (c *conn) remembers(text string) bool {
	if !c.executes {
		return false
	}
	switch parse.FirstWord(text) {
	case "EXECUTE", "EXPLAIN", "CREATE":
		return true
	}
	return false
}

// fillable reports whether data is filled in before a statement. Before others it would be useless or would disturb them.
func (c *conn) fillable(text string) bool {
	switch word := parse.FirstWord(text); word {
	case "PREPARE":
		c.executes = true // read by EXECUTE
		return false
	case "SELECT", "WITH", "COPY", "EXPLAIN", "INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "TABLE", "VALUES", "REFRESH",
		"DECLARE", "EXECUTE", "DO": // a cursor's snapshot is its DECLARE's; the data must not be younger
		return true
	case "":
		return strings.HasPrefix(strings.TrimSpace(text), "(")
	}
	return false
}

// refusedAlone reports whether PostgreSQL refuses a statement because it stands in no transaction. From PostgreSQL 18 on it takes what
// follows our questions for a part of one.
func (c *conn) refusedAlone(text string) bool {
	return c.block() == Idle && parse.FirstWord(text) == "DECLARE" && !strings.Contains(strings.ToUpper(text), "HOLD")
}

// fill provides data in the transaction of the statement that follows, which is text if that is known.
func (c *conn) fill(text string) error {
	ctx, stop := c.begin()
	err := c.session.Fill(ctx, &upstream{c: c}, text)
	if stop() {
		return errGone
	}
	if err != nil {
		return asError(ctx, err)
	}
	return nil
}

// bindFilled fills data in for a Bind, and not for the Execute behind it: a Bind takes the snapshot that the statement
// reads with. Data that is younger than the snapshot could lack what the snapshot lacks too.
func (c *conn) bindFilled(stmt *prepared, body []byte) error {
	ok, err := c.settle()
	if err != nil {
		return err
	}
	if ok && c.block() != Failed && !c.refusedAlone(stmt.text) {
		text := ""
		if stmt.known { // by PostgreSQL's answer, which is in by now
			text = stmt.text
		}
		err := c.fill(text)
		if errors.Is(err, errGone) {
			return err
		}
		if err != nil {
			return c.refuse(err)
		}
	}
	return c.forwardBody(reply{kind: 'B'}, body)
}
