package flush

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/segment"
)

// In a database whose text is converted on its way, the lengths in hstore's binary form are wrong: it comes as text.
func TestHstoreByEncoding(t *testing.T) {
	t.Parallel()
	for encoding, asText := range map[string]bool{"UTF8": false, "SQL_ASCII": false, "LATIN1": true} {
		tab := &hot.Table{Encoding: encoding, Columns: []hot.Column{
			{Number: 1, Name: "h", TypeOID: 70001, BaseOID: 70001, TypMod: -1, TypeName: "hstore", TypeKind: 'b', Extension: "hstore"},
			{Number: 2, Name: "hs", TypeOID: 70002, BaseOID: 70002, TypMod: -1, TypeName: "_hstore", TypeKind: 'b', HasElem: true,
				Elem: &hot.Type{TypeOID: 70001, BaseOID: 70001, TypMod: -1, TypeName: "hstore", TypeKind: "b", Extension: "hstore"}},
		}}
		s, err := schemaOf(tab, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if s.AsText(0) != asText || s.AsText(1) != asText {
			t.Errorf("%s: as text: %v, %v", encoding, s.AsText(0), s.AsText(1))
		}
	}
}

func TestParseOptions(t *testing.T) {
	t.Parallel()
	o, err := ParseOptions(map[string]string{
		"parallelism": "4", "chunk_bytes": "8MB", "lock_timeout": "50", "verify": "full", "triggers": "fire", "replicate": "on",
		"skip_referenced": "true", "storage": "archive", "on_unrepresentable": "null", "where": "(id > 1)", "as_text": `tags, "Odd, ""name""", tags`,
	})
	want := Options{Where: "(id > 1)", Parallelism: 4, ChunkBytes: 8 << 20, LockTimeout: 50 * time.Millisecond, VerifyFull: true,
		FireTriggers: true, Replicate: true, SkipReferenced: true, Storage: "archive", NullUnrepresent: true, AsText: []string{"tags", `Odd, "name"`}, ChunkTime: DefaultChunkTime}
	if err != nil || !reflect.DeepEqual(o, want) {
		t.Errorf("got %+v, %v; want %+v", o, err, want)
	}
	if o, err := ParseOptions(nil); err != nil || o.Parallelism != DefaultParallelism || o.ChunkBytes != DefaultChunkBytes {
		t.Errorf("defaults: %+v, %v", o, err)
	}
	for name, value := range map[string]string{
		"parallelism": "0", "chunk_bytes": "1kB", "lock_timeout": "1h", "verify": "half", "triggers": "maybe", "replicate": "2",
		"as_text": "a b", "on_unrepresentable": "drop", "colour": "red",
	} {
		_, err := ParseOptions(map[string]string{name: value})
		var bad *OptionError
		if !errors.As(err, &bad) || bad.Option != name || !strings.Contains(err.Error(), name) {
			t.Errorf("%s = %s: %v, want an OptionError that names it", name, value, err)
		}
	}
	_, err = ParseOptions(map[string]string{"chunk_bytes": "99999999999GB"})
	if err == nil {
		t.Error("a size beyond 64 bits is taken")
	}
	var bad *OptionError
	if _, err := ParseOptions(map[string]string{"colour": "red"}); !errors.As(err, &bad) || !strings.Contains(bad.Hint, "chunk_bytes") {
		t.Errorf("the hint for an unknown option does not list the known ones: %v", err)
	}
}

func TestObjectKeyEndsInTheAttempt(t *testing.T) {
	t.Parallel()
	job, attempt := uuid.New(), uuid.New()
	prefix := "app/t/" + baseName(time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), job, 7, attempt)
	want := fmt.Sprintf("app/t/2026-01-02T03-04-05.006Z-%s-00007-%s", job, attempt)
	if key := objectKey(prefix); key != want+".parquet" {
		t.Errorf("key %q, want %q", key, want+".parquet")
	}
	if key := partKey(prefix, 12); key != want+"-00012.parquet" {
		t.Errorf("key %q, want %q", key, want+"-00012.parquet")
	}
}

// A32: one row per edge case of the table of classes.
func TestClassOf(t *testing.T) {
	t.Parallel()
	pg := func(code string) error { return fmt.Errorf("step: %w", &pgconn.PgError{Code: code}) }
	for _, c := range []struct {
		err       error
		class     string
		retryable bool
	}{
		{pg("40001"), ClassDeadlock, true},
		{pg("40P01"), ClassDeadlock, true},
		{pg("55P03"), ClassLock, true},
		{pg("23503"), ClassLock, true},
		{pg("57014"), ClassLock, true},
		{pg("42501"), ClassPrivilege, false},
		{pg("42P01"), ClassMissingTable, false},
		{pg("3F000"), ClassMissingTable, false},
		{pg("57P01"), ClassShutdown, true},
		{pg("57P03"), ClassShutdown, true},
		{pg("25P03"), ClassConnection, true},
		{pg("08006"), ClassConnection, true},
		{pg("53100"), ClassResources, true},
		{pg("53300"), ClassResources, true},
		{pg("58030"), ClassResources, true},
		{pg("22012"), ClassData, false},
		{pg("23514"), ClassData, false},
		{pg("P0001"), ClassData, false},
		{pg("42601"), ClassInvalid, false},
		{pg("0A000"), ClassInvalid, false},
		{pg("XX000"), ClassInternal, false},
		{fmt.Errorf("x: %w", objstore.ErrFull), ClassStorageFull, true},
		{fmt.Errorf("x: %w", &objstore.Error{Op: "create", Kind: objstore.ErrDenied}), ClassStorage, true},
		{fmt.Errorf("x: %w", &objstore.Error{Op: "commit", Err: errors.New("input/output error")}), ClassStorage, true},
		{fmt.Errorf("x: %w", &objstore.ForeignOwnerError{}), ClassRefused, false},
		{fmt.Errorf("x: %w", hot.ErrNoTable), ClassMissingTable, false},
		{fmt.Errorf("x: %w", &segment.UnrepresentableError{Column: "c"}), ClassUnrepresentable, false},
		{classified(ClassReplan, errors.New("x")), ClassReplan, false},
		{classified(ClassStorage, pg("57P01")), ClassStorage, true}, // what we say goes before what PostgreSQL says
		{context.Canceled, ClassCancelled, false},
		{context.DeadlineExceeded, ClassConnection, true},
		{pgconn.ErrConnClosed, ClassConnection, true},
		{errors.New("something else"), ClassInternal, false},
	} {
		if got := ClassOf(c.err); got.Name != c.class || got.Retryable != c.retryable {
			t.Errorf("%v: %+v, want %s, retryable %v", c.err, got, c.class, c.retryable)
		}
	}
}
