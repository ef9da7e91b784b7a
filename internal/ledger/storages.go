package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// DefaultStorage is the name of the storage that EnsureDefaultStorage makes.
const DefaultStorage = "default"

// ErrDefaultStorage is returned by DropStorage for the default storage, which is never dropped.
var ErrDefaultStorage = errors.New("the default storage cannot be dropped")

// StorageOverlapError is returned by CreateStorage for a name or a place that another storage has.
type StorageOverlapError struct {
	Name  string     // of the new one
	Other StorageRow // its name, or its location, is in the way
}

func (e *StorageOverlapError) Error() string {
	if e.Name == e.Other.Name {
		return fmt.Sprintf("storage %q already exists", e.Name)
	}
	return fmt.Sprintf("the location overlaps with that of storage %q, %s", e.Other.Name, e.Other.Location)
}

// StorageInUseError is returned by DropStorage.
type StorageInUseError struct {
	Name     string
	Segments int64 // cold ones, and those of history
	Attempts int64 // whose objects may have to be deleted there
	Jobs     int64 // live ones
	Policies int64
}

func (e *StorageInUseError) Error() string {
	var uses []string
	for _, u := range []struct {
		n    int64
		what string
	}{{e.Segments, "segments"}, {e.Jobs, "live jobs"}, {e.Attempts, "attempts that are not swept yet"}, {e.Policies, "policies"}} {
		if u.n > 0 {
			uses = append(uses, fmt.Sprintf("%d %s", u.n, u.what))
		}
	}
	return fmt.Sprintf("storage %q is in use: %s", e.Name, strings.Join(uses, ", "))
}

// StorageRow is a named place for segments.
type StorageRow struct {
	Name       string
	Location   string
	Options    json.RawMessage // an object of texts
	IsDefault  bool
	CreatedAt  time.Time
	CreatedBy  string     // "": the first start
	Pending    bool       // it is being created: no worker has found it good yet, and none may use it
	CheckedAt  *time.Time // nil: no statement had it looked at
	CheckClass *string    // class of the error of the last check, if there was one
	CheckError *string    // and its text
}

// OptionMap reads the options.
func (s *StorageRow) OptionMap() (map[string]string, error) {
	options := map[string]string{}
	if len(s.Options) > 0 {
		if err := json.Unmarshal(s.Options, &options); err != nil {
			return nil, fmt.Errorf("read the options of storage %s: %w", s.Name, err)
		}
	}
	return options, nil
}

// StorageUse is a storage and what it holds.
type StorageUse struct {
	StorageRow
	Segments, Rows, Bytes int64 // cold
}

const storageColumns = `name, location, options, is_default, created_at, created_by, pending, checked_at, check_class, check_error`

func storageFields(s *StorageRow) []any {
	return []any{&s.Name, &s.Location, &s.Options, &s.IsDefault, &s.CreatedAt, &s.CreatedBy, &s.Pending, &s.CheckedAt, &s.CheckClass, &s.CheckError}
}

func scanStorage(row pgx.CollectableRow) (StorageRow, error) {
	var s StorageRow
	err := row.Scan(storageFields(&s)...)
	return s, err
}

// EnsureDefaultStorage makes location the default storage unless there is one, and returns the one there is. The caller
// compares: a default storage never moves by itself, for its segments would stay behind.
func (l *Ledger) EnsureDefaultStorage(ctx context.Context, location string) (StorageRow, error) {
	return l.EnsureDefaultBucket(ctx, location, nil)
}

// EnsureDefaultBucket is EnsureDefaultStorage for a location with options.
func (l *Ledger) EnsureDefaultBucket(ctx context.Context, location string, options map[string]string) (StorageRow, error) {
	text, err := marshalOptions(options)
	if err != nil {
		return StorageRow{}, err
	}
	_, err = l.pool.Exec(ctx, l.expand(`
		INSERT INTO @schema@.storages (name, location, options, is_default) SELECT $1, $2, $3::text::jsonb, true
		WHERE NOT EXISTS (SELECT FROM @schema@.storages WHERE is_default) ON CONFLICT DO NOTHING`), DefaultStorage, location, text)
	if err != nil {
		return StorageRow{}, wrap("store default storage", err)
	}
	return l.Storage(ctx, "")
}

func marshalOptions(options map[string]string) (string, error) {
	if options == nil {
		options = map[string]string{}
	}
	text, err := json.Marshal(options)
	return string(text), err
}

// Storage returns a storage by name; the empty name is the default one. Error: ErrNotFound.
func (l *Ledger) Storage(ctx context.Context, name string) (StorageRow, error) {
	rows, err := collect(ctx, l.pool, "read storage", scanStorage,
		l.expand(`SELECT `+storageColumns+` FROM @schema@.storages WHERE CASE WHEN $1 = '' THEN is_default ELSE name = $1 END`), name)
	if err != nil {
		return StorageRow{}, err
	}
	if len(rows) == 0 {
		return StorageRow{}, wrap("read storage", pgx.ErrNoRows)
	}
	return rows[0], nil
}

// Storages lists the storages, the default one first.
func (l *Ledger) Storages(ctx context.Context) ([]StorageRow, error) {
	return collect(ctx, l.pool, "list storages", scanStorage,
		l.expand(`SELECT `+storageColumns+` FROM @schema@.storages ORDER BY is_default DESC, name`))
}

// StorageUses lists the storages with what they hold, the default one first.
func (l *Ledger) StorageUses(ctx context.Context) ([]StorageUse, error) {
	return collect(ctx, l.pool, "list storages", func(row pgx.CollectableRow) (u StorageUse, err error) {
		err = row.Scan(append(storageFields(&u.StorageRow), &u.Segments, &u.Rows, &u.Bytes)...)
		return u, err
	}, l.expand(`
		SELECT `+storageColumns+`, v.segments, v.rows_cold, v.bytes_cold FROM @schema@.storages AS s
		JOIN (SELECT name AS of, segments, rows_cold, bytes_cold FROM @system@.storages) AS v ON v.of = s.name
		ORDER BY is_default DESC, name`))
}

// CreateStorage enters a storage that nobody has looked at yet. overlaps says whether two locations do. Error:
// *StorageOverlapError.
func (l *Ledger) CreateStorage(ctx context.Context, s StorageRow, overlaps func(a, b string) bool) error {
	return wrap("create storage", l.inTx(ctx, func(tx pgx.Tx) error {
		// One at a time, or two that overlap would not see each other.
		if _, err := tx.Exec(ctx, l.expand(`LOCK TABLE @schema@.storages IN SHARE ROW EXCLUSIVE MODE`)); err != nil {
			return err
		}
		others, err := collect(ctx, tx, "list storages", scanStorage, l.expand(`SELECT `+storageColumns+` FROM @schema@.storages ORDER BY name <> $1, name`), s.Name)
		if err != nil {
			return err
		}
		for _, other := range others {
			if other.Name == s.Name || overlaps(other.Location, s.Location) {
				return &StorageOverlapError{Name: s.Name, Other: other}
			}
		}
		_, err = tx.Exec(ctx, l.expand(`INSERT INTO @schema@.storages (name, location, options, created_by, pending) VALUES ($1, $2, $3::text::jsonb, $4, true)`),
			s.Name, s.Location, jsonOr(s.Options), s.CreatedBy)
		return err
	}))
}

// SetStorageChecked records that a worker has looked at a storage: with success if class is "". It changes nothing if the name
// was given to another place meanwhile.
func (l *Ledger) SetStorageChecked(ctx context.Context, name, location, class, message string) error {
	_, err := l.pool.Exec(ctx, l.expand(`
		UPDATE @schema@.storages SET checked_at = CASE WHEN $2 = '' THEN now() ELSE checked_at END, pending = pending AND $2 <> '', check_class = nullif($2, ''), check_error = nullif($3, '')
		WHERE name = $1 AND location = $4`), name, class, storable(message), location)
	return wrap("record the check of a storage", err)
}

// SetStorageOptions replaces the options of a storage.
func (l *Ledger) SetStorageOptions(ctx context.Context, name string, options map[string]string) error {
	text, err := marshalOptions(options)
	if err != nil {
		return err
	}
	_, err = l.pool.Exec(ctx, l.expand(`UPDATE @schema@.storages SET options = $2::text::jsonb WHERE name = $1`), name, text)
	return wrap("store the options of a storage", err)
}

// DiscardStorage takes back a storage that no worker has found good. It does nothing to any other.
func (l *Ledger) DiscardStorage(ctx context.Context, name string) error {
	_, err := l.pool.Exec(ctx, l.expand(`DELETE FROM @schema@.storages WHERE name = $1 AND pending`), name)
	return wrap("discard storage", err)
}

// DropStorage forgets a storage that nothing needs. What is there stays there. Errors: ErrNotFound, ErrDefaultStorage,
// *StorageInUseError.
func (l *Ledger) DropStorage(ctx context.Context, name string) error {
	err := l.inTx(ctx, func(tx pgx.Tx) error {
		var isDefault bool
		if err := tx.QueryRow(ctx, l.expand(`SELECT is_default FROM @schema@.storages WHERE name = $1 FOR UPDATE`), name).Scan(&isDefault); err != nil {
			return err
		}
		if isDefault {
			return ErrDefaultStorage
		}
		use := StorageInUseError{Name: name}
		// A plan goes in before the first attempt, and a chunk asks for its storage before each, so that whoever begins after
		// this look finds that the storage is gone.
		err := tx.QueryRow(ctx, l.expand(`
			SELECT (SELECT count(*) FROM @schema@.segments WHERE storage = $1),
			       (SELECT count(*) FROM @schema@.attempts WHERE storage = $1),
			       (SELECT count(DISTINCT p.job_id) FROM @schema@.plans AS p
			        WHERE p.plan ->> 'Storage' = $1 AND NOT EXISTS (SELECT FROM @schema@.job_history AS h WHERE h.job_id = p.job_id)),
			       (SELECT count(*) FROM @schema@.tables WHERE policy -> 'flush' ->> 'storage' = $1)`), name).Scan(&use.Segments, &use.Attempts, &use.Jobs, &use.Policies)
		if err != nil {
			return err
		}
		if use != (StorageInUseError{Name: name}) {
			return &use
		}
		_, err = tx.Exec(ctx, l.expand(`DELETE FROM @schema@.storages WHERE name = $1`), name)
		return err
	})
	return wrap("drop storage", err)
}
