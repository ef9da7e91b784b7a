package command

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// line returns the doctor's line about a check.
func line(t *testing.T, r result, check string) string {
	t.Helper()
	for _, l := range strings.Split(r.out, "\n") {
		if strings.HasPrefix(l, `{"check":"`+check+`"`) {
			return l
		}
	}
	t.Errorf("no line about %s in:\n%s", check, r.out)
	return ""
}

// Before the first start: nothing is there, and nothing is wrong. The doctor leaves it so.
func TestDoctorBeforeTheFirstStart(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	storage := filepath.Join(t.TempDir(), "segments")
	r := invoke(t, []string{"doctor", "-o", "json", "--database-url", db.WorkerURL, "--storage", storage, "--data-dir", t.TempDir()})
	if r.code != 0 {
		t.Errorf("exit code %d: %s%s", r.code, r.out, r.errOut)
	}
	mustContain(t, line(t, r, "ledger"), "not there yet")
	mustContain(t, line(t, r, "storage owner"), "nobody yet")
	mustContain(t, line(t, r, "Temporal"), "runs one of its own")
	if n := pgtest.Value[int](t, db, "SELECT count(*)::int FROM pg_namespace WHERE nspname IN ('spillway', 'system')"); n != 0 {
		t.Errorf("%d schemas were made", n)
	}
	left, err := os.ReadDir(storage)
	if err != nil || len(left) != 0 {
		t.Errorf("left in the storage: %v, %v", left, err)
	}
}

// What is wrong has a line that says what to do, and the exit code is 1.
func TestDoctorFindsFaults(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Super(t, "REVOKE CREATE ON DATABASE "+db.Name+" FROM "+db.Worker)
	storage := t.TempDir()
	marker := `{"installation_id": "00000000-0000-4000-8000-000000000000", "database_oid": 1}`
	if err := os.WriteFile(filepath.Join(storage, ".spillway-owner.json"), []byte(marker), 0o600); err != nil {
		t.Fatal(err)
	}
	doctor := func(database string, more ...string) result {
		return invoke(t, append([]string{"doctor", "-o", "json", "--database-url", database, "--data-dir", t.TempDir()}, more...))
	}
	r := doctor(db.WorkerURL, "--storage", storage, "--temporal-address", "127.0.0.1:1")
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
	mustContain(t, line(t, r, "ledger"), `"status":"fail"`, "may not create schemas", "spillway grants")
	mustContain(t, line(t, r, "storage owner"), `"status":"warn"`, "00000000-0000-4000-8000-000000000000")
	mustContain(t, line(t, r, "Temporal"), `"status":"fail"`, "cannot be reached", "check --temporal-address")
	mustContain(t, r.errOut, "spillway: 2 of ", " checks failed")

	r = doctor(changed(t, db.WorkerURL, func(u *url.URL) { u.User = url.UserPassword(db.Worker, "wrong") }), "--storage", "ftp://bucket")
	mustContain(t, line(t, r, "database"), `"status":"fail"`, "password authentication failed", "Check user and password")
	mustContain(t, line(t, r, "storage"), `"status":"fail"`, "no storage is of this kind")
	if strings.Contains(r.out+r.errOut, "wrong") {
		t.Errorf("the password is shown:\n%s", r.out)
	}

	r = doctor(db.SuperURL)
	mustContain(t, line(t, r, "role"), `"status":"warn"`, "a superuser; the worker needs none")
}
