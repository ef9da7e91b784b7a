package sqlfront

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// Storages knows the named places for segments. Its errors may be *StorageError.
type Storages interface {
	// Check says whether a storage can have such a location and options, and looks at none.
	Check(spec StorageSpec) error
	// Create enters a storage once a worker has found it good and claimed it.
	Create(ctx context.Context, spec StorageSpec) error
	// Adopt lets a worker take a storage over, whoever's it was.
	Adopt(ctx context.Context, name string) error
	// Drop forgets a storage that nothing uses.
	Drop(ctx context.Context, name string) error
	// Storages lists them, the default one first.
	Storages(ctx context.Context) ([]Storage, error)
}

// StorageSpec is a storage as a statement describes it.
type StorageSpec struct {
	Name     string
	Location string
	Options  map[string]string
	User     string // who asks
}

// Storage is one row of SHOW STORAGES. The view system.storages has the same columns.
type Storage struct {
	Name      string
	Location  string
	Options   map[string]string
	IsDefault bool
	CreatedBy string // "": the first start
	CreatedAt time.Time
	CheckedAt *time.Time
	Status    string
	Segments  int64
	RowsCold  int64
	BytesCold int64
}

// StorageError is what is wrong with a storage. Its texts hold no secrets.
type StorageError struct {
	Code   string // SQLSTATE
	Msg    string
	Hint   string
	Option string // the one to blame, or ""
	Place  bool   // the location is to blame
}

func (e *StorageError) Error() string { return e.Msg }

// maxStorageName is the longest name, as of everything in PostgreSQL, in bytes.
const maxStorageName = 63

var (
	// of CREATE, ALTER and DROP STORAGE
	storageChangeColumns = []pgwire.Column{text("storage"), text("status")}

	// of SHOW STORAGES: those of system.storages
	storageColumns = []pgwire.Column{
		text("name"), text("location"), text("options"), {Name: "is_default", Type: pgwire.Bool}, text("created_by"), moment("created_at"), moment("checked_at"),
		text("status"), count("segments"), count("rows_cold"), count("bytes_cold"),
	}
)

// storageActor finds out who acts, and refuses those who may not change storages: these belong to no table, and reaching a
// bucket takes the workers' own rights.
func (r *request) storageActor(ctx context.Context, verb string) (actor, error) {
	t, err := r.look(ctx, jobmanager.Table{})
	if err != nil {
		return t.actor, err
	}
	if !t.anywhere() {
		return t.actor, &pgwire.Error{Code: codePrivilege, Message: "permission denied to " + verb + " storages",
			Hint: "it takes a superuser, or a member of the role " + r.opt.Operator}
	}
	if r.opt.Storages == nil {
		return t.actor, &pgwire.Error{Code: codeNotSupported, Message: "this front-end cannot " + verb + " storages"}
	}
	return t.actor, nil
}

// changeStorage runs one of the statements that change storages. It acts at once, also inside a transaction.
func (r *request) changeStorage(ctx context.Context, verb, name string, pos int, change func(actor) error) ([][]any, error) {
	a, err := r.storageActor(ctx, verb)
	if err == nil && (name == "" || len(name) > maxStorageName) {
		err = &pgwire.Error{Code: codeInvalidValue, Position: pos, Message: "the name of a storage has 1 to 63 bytes"}
	}
	if err == nil {
		err = r.up.Release()
	}
	if err == nil {
		err = change(a)
	}
	done := map[string]string{"create": "created", "adopt": "adopted", "drop": "dropped"}[verb]
	if err != nil {
		r.auditError(ctx, a, err, pos)
		return nil, err
	}
	r.audit(ctx, a, "", done)
	return [][]any{{name, done}}, nil
}

func (r *request) createStorage(ctx context.Context, s *parse.CreateStorage) ([][]any, error) {
	typed := r.text
	r.text = redacted(s) // until it is known to hold no secret
	return r.changeStorage(ctx, "create", s.Name, s.NamePos, func(a actor) error {
		spec := StorageSpec{Name: s.Name, Location: s.Location, Options: map[string]string{}, User: a.user}
		for _, o := range s.Options {
			spec.Options[o.Name] = o.Value
		}
		if err := r.opt.Storages.Check(spec); err != nil {
			return storageError(err, s)
		}
		r.text = typed
		return storageError(r.opt.Storages.Create(ctx, spec), s)
	})
}

// redacted prints a statement for the audit without what may be a secret in the wrong place.
func redacted(s *parse.CreateStorage) string {
	var names []string
	for _, o := range s.Options {
		names = append(names, parse.QuoteName(o.Name)+" = …")
	}
	text := "CREATE STORAGE " + parse.QuoteName(s.Name) + " LOCATION …"
	if len(names) > 0 {
		text += " WITH (" + strings.Join(names, ", ") + ")"
	}
	return text
}

// storageError puts an error at its place in the statement.
func storageError(err error, s *parse.CreateStorage) error {
	var e *StorageError
	if !errors.As(err, &e) {
		return err
	}
	out := &pgwire.Error{Code: e.Code, Message: e.Msg, Hint: e.Hint}
	if s == nil {
		return out
	}
	out.Position = s.NamePos
	if e.Place {
		out.Position = s.LocationPos
	}
	for _, o := range s.Options {
		if o.Name == e.Option {
			out.Position = o.Pos
		}
	}
	return out
}

func (r *request) dropStorage(ctx context.Context, s *parse.DropStorage) ([][]any, error) {
	return r.changeStorage(ctx, "drop", s.Name, s.NamePos, func(actor) error {
		return storageError(r.opt.Storages.Drop(ctx, s.Name), &parse.CreateStorage{NamePos: s.NamePos})
	})
}

func (r *request) adoptStorage(ctx context.Context, s *parse.AdoptStorage) ([][]any, error) {
	return r.changeStorage(ctx, "adopt", s.Name, s.NamePos, func(actor) error {
		return storageError(r.opt.Storages.Adopt(ctx, s.Name), &parse.CreateStorage{NamePos: s.NamePos})
	})
}

// showStorages shows the storages to those who may read the view.
func (r *request) showStorages(ctx context.Context) ([][]any, error) {
	ok, err := r.mayRead(ctx, "storages")
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, &pgwire.Error{Code: codePrivilege, Message: "permission denied for view storages",
			Hint: fmt.Sprintf("GRANT USAGE ON SCHEMA %[1]s TO …; GRANT SELECT ON %[1]s.storages TO …", parse.QuoteName(r.opt.SystemSchema))}
	}
	if r.opt.Storages == nil {
		return nil, &pgwire.Error{Code: codeNotSupported, Message: "this front-end knows no storages"}
	}
	if err := r.up.Release(); err != nil {
		return nil, err
	}
	list, err := r.opt.Storages.Storages(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([][]any, 0, len(list))
	for _, s := range list {
		options, err := json.Marshal(s.Options)
		if err != nil {
			return nil, err
		}
		rows = append(rows, []any{s.Name, s.Location, string(options), s.IsDefault, known(s.CreatedBy), s.CreatedAt, instant(s.CheckedAt), s.Status, s.Segments, s.RowsCold, s.BytesCold})
	}
	return slices.Clip(rows), nil
}
