package pgwire_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// Who lets nobody in says why, in words that send a client that knows more hosts to the next.
func TestRefuser(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := pgwire.NewRefuser(&pgwire.Error{Code: pgwire.CodeCannotConnectNow, Message: "not now", Hint: "later"}, nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	db := pgtest.Database(t)
	direct, err := url.Parse(db.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	good := direct.Host
	direct.Host = ln.Addr().String()
	_, err = pgx.Connect(t.Context(), direct.String())
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Severity != "FATAL" || pe.Code != "57P03" || pe.Message != "not now" || pe.Hint != "later" {
		t.Errorf("got %v", err)
	}
	direct.Host = strings.Join([]string{ln.Addr().String(), good}, ",")
	conn, err := pgx.Connect(t.Context(), direct.String())
	if err != nil {
		t.Errorf("with a second host: %v", err)
	} else if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, pgwire.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}
