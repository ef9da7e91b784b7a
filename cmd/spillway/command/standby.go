package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/embedtemporal"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// inPostgres reports whether the embedded Temporal keeps its state in PostgreSQL.
func (o *serverOptions) inPostgres() bool {
	return o.temporalStore != "" && o.temporalStore != "sqlite"
}

// storeOptions say where the store is.
func (o *serverOptions) storeOptions(owner string) embedtemporal.PostgresOptions {
	return embedtemporal.PostgresOptions{URL: o.temporalStore, Schema: o.temporalStoreSchema, Shards: o.temporalStoreShards, Owner: owner}
}

// takeStore takes the store of the embedded Temporal, if that is in PostgreSQL. While another process has it, this one is a
// standby: its front-end tells clients so.
func (n *node) takeStore(ctx context.Context, ln net.Listener) error {
	if !n.opt.inPostgres() {
		return nil
	}
	temporal, err := n.temporalOptions(true)
	if err != nil {
		return err
	}
	if temporal.HostPort != "" {
		return fail.Usagef("--temporal-store is for the embedded Temporal, and a cluster is named: %s", temporal.HostPort)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	s := &standby{node: n, listener: ln}
	opt := n.opt.storeOptions("the installation " + n.installation.Name + " (" + n.installation.ID.String() + ")")
	opt.Holder, opt.Waiting, opt.Logger = fmt.Sprintf("%s, process %d", host, os.Getpid()), s.begin, n.log
	store, err := embedtemporal.OpenPostgres(ctx, &opt)
	waited, endErr := s.end()
	if err != nil {
		return errors.Join(err, endErr)
	}
	n.standby.Store(nil)
	n.temporalStore = store
	n.started("Temporal store", func(context.Context) error { return store.Close() })
	if endErr != nil || !waited {
		return endErr
	}
	n.log.Info("taking over")
	return n.openStorage(ctx) // the one before may have settled where segments go
}

// standby is what a process does that waits for the store.
type standby struct {
	node     *node
	listener net.Listener
	refuser  *pgwire.Server // nil: it does not wait
	served   chan struct{}
}

// begin says that this process waits, and lets the front-end say so to clients.
func (s *standby) begin(holder string) {
	if holder == "" {
		holder = "unknown"
	}
	text := "standby: the active spillway is " + holder
	s.node.standby.Store(&text)
	fmt.Fprintf(s.node.env.Stderr, "spillway is a standby: the active one is %s; this one takes over when that ends\n", holder)
	s.refuser = pgwire.NewRefuser(&pgwire.Error{
		Code: pgwire.CodeCannotConnectNow, Message: "this spillway is a standby",
		Detail: "The active one is " + holder + ".", Hint: "Connect to the active one; a client that is given both hosts finds it.",
	}, &pgwire.Options{Logger: s.node.log, TLS: s.node.frontTLS})
	s.served = make(chan struct{})
	go func() {
		defer close(s.served)
		_ = s.refuser.Serve(lent{s.listener.(*net.TCPListener)}) // it ends when it is closed, and the listener is not its own
	}()
}

// end gives the listener back, and reports whether this process had to wait.
func (s *standby) end() (waited bool, err error) {
	if s.refuser == nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.refuser.Close(ctx); err != nil {
		s.node.log.Debug("stop the standby's front-end", obs.KeyErr, err)
	}
	<-s.served
	return true, s.listener.(*net.TCPListener).SetDeadline(time.Time{})
}

// lent is a listener that outlives the server that it is lent to.
type lent struct{ *net.TCPListener }

// Close only wakes up who waits in Accept.
func (l lent) Close() error { return l.SetDeadline(time.Unix(1, 0)) }
