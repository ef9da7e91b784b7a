package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/tests/product"
)

// edit replaces a text that stands once in a file.
type edit struct{ file, old, new string }

// mutant is the product with one bug.
type mutant struct {
	name  string
	edits []edit
	run   string // the tests that have to fail
}

const (
	attemptGo = "internal/flush/attempt.go"
	condemnGo = "internal/ledger/condemn.go"
	moveGo    = "internal/hot/move.go"
)

// mutants break one rule each of the protocol (docs/protocol.md).
var mutants = []mutant{
	{"commit before the object is durable", []edit{
		{attemptGo, "\tif err := a.durable(ctx, a.object); err != nil {\n\t\treturn written{}, err\n\t}\n\tobject, err", "\tobject, err"},
		{attemptGo, "}, a.check(ctx, object.Key, sum, a.plan.doc.Options.VerifyFull)", "}, nil"},
		{attemptGo, "\tcase hot.OutcomeCommitted:\n", "\tcase hot.OutcomeCommitted:\n\t\tif a.object != nil && res.Rows > 0 {\n\t\t\tif err := upload(ctx, a.object); err != nil {\n\t\t\t\treturn jobstep.ChunkResult{}, err\n\t\t\t}\n\t\t}\n"},
	}, "TestWalks/all/flush/(upload|fsync)/(fail|crash_before)/restart"},
	{"no fsync", []edit{
		{"internal/objstore/localwriter.go", "if err := fault.Do(ctx, fault.Fsync, w.file.Sync); err != nil {", "if err := error(nil); err != nil {"},
	}, "TestWalks/all/flush/fsync/fail/restart"},
	{"ledger insert outside the transaction", []edit{
		{"internal/flush/register.go", "a.f.ledger.RegisterObjects(ctx, a.session, common, w.objects)", "a.f.ledger.RegisterObjects(ctx, a.f.hot.Pool(), common, w.objects)"},
	}, "TestWalks/all/flush/(chunk_row|commit)/crash_before/restart"},
	{"object name without the attempt", []edit{
		{"internal/layout/path.go", `return fmt.Sprintf("%s-%s-%05d-%s", at.UTC().Format("2006-01-02T15-04-05.000Z"), job, chunk, attempt)`, `return fmt.Sprintf("%s-%05d", job, chunk)`},
	}, "TestWalks/all/flush/(half_stream|chunk_row)/hang/retry"},
	{"retry without a look at the ledger, and no fence", []edit{
		{"internal/flush/chunk.go", "\tif res, done, err = f.committed(ctx, in); err != nil || done {\n\t\treturn res, done, err\n\t}\n", ""},
		{"internal/flush/chunk.go", "return f.committed(ctx, in) // one of them may turn out to have", "return jobstep.ChunkResult{}, false, nil"},
		{"internal/ledger/attempts.go", "FROM @schema@.claims WHERE job_id = $1`), jobID, chunk,", "FROM @schema@.claims WHERE job_id = $1 ON CONFLICT (job_id, chunk) DO UPDATE SET attempt_id = excluded.attempt_id`), jobID, chunk,"},
	}, "TestWalks/all/flush/commit/crash_after/restart"},
	{"delete by a predicate that is run again", []edit{
		{moveGo, "return s.copyOut(ctx, m.sql(), w)", "n, err := s.copyOut(ctx, m.sql(), w)\n\tif err == nil {\n\t\t_, err = s.Exec(ctx, \"DELETE FROM ONLY \"+m.ident()+\" WHERE \"+m.where())\n\t}\n\treturn n, err"},
		{moveGo, `return "", "DELETE FROM ONLY " + m.ident() + " WHERE " + m.where() + " RETURNING " + returning`, `return "", "SELECT " + returning + " FROM ONLY " + m.ident() + " WHERE " + m.where()`},
	}, "TestWalks/all/flush/(first_byte|half_stream)/write/retry"},
	{"clean-up by age", []edit{
		{"internal/upkeep/cleanup.go", "if a.CondemnedAt == nil && !b.dry {", "if a.CondemnedAt == nil && !b.dry && a.CreatedAt.IsZero() {"},
	}, "TestWalks/all/flush/(chunk_row|commit)/hang/terminate"},
	{"introspection before the lock", []edit{
		{attemptGo, "\tif err := fault.Do(ctx, fault.Lock, func() error { return a.lock(ctx, m) }); err != nil {\n\t\treturn a.gone(err)\n\t}\n\tif err := a.look(ctx, m); err != nil {\n\t\treturn err\n\t}\n",
			"\tif err := a.look(ctx, m); err != nil {\n\t\treturn err\n\t}\n\tif err := fault.Do(ctx, fault.Lock, func() error { return a.lock(ctx, m) }); err != nil {\n\t\treturn a.gone(err)\n\t}\n"},
	}, "TestWalks/all/flush/lock/alter/retry"},
	{"orphan removed when COMMIT had no answer", []edit{
		{attemptGo, `return a.resolve(ctx, res, jobstep.Classified(jobstep.ClassConnection, fmt.Errorf("commit: no answer: %w", err)))`,
			"a.discard(ctx, ledger.VerdictCondemned)\n\treturn jobstep.ChunkResult{}, jobstep.Classified(jobstep.ClassConnection, err)"},
	}, "TestWalks/all/flush/commit/(lost|deny)/retry"},
	{"retry that does not end the zombie", []edit{
		{condemnGo, "\t\t\tif err := l.endBackendOf(ctx, id); err != nil {\n", "\t\t\tif ctx.Err() == nil {\n\t\t\t\treturn VerdictUnknown, nil\n\t\t\t}\n\t\t\tif err := l.endBackendOf(ctx, id); err != nil {\n"},
	}, "TestWalks/all/flush/(fence|commit)/hang/retry"},
	{"terminated taken for condemned", []edit{
		{condemnGo, "\t\tdefault:\n\t\t\treturn VerdictUnknown, fmt.Errorf(\"condemn attempt: %w\", err)\n", "\t\t\treturn VerdictCondemned, nil\n\t\tdefault:\n\t\t\treturn VerdictUnknown, fmt.Errorf(\"condemn attempt: %w\", err)\n"},
	}, "TestEndedWhileWaitingForAStandby"},
	{"T1 that ignores a condemned attempt row", []edit{
		{attemptGo, "if err == nil && !ours {", "if err == nil && !ours && ctx.Err() != nil {"},
	}, "TestWalks/all/flush/(begin|take)/hang/woken"},
	{"manifest that is not looked at again", []edit{
		{"internal/objstore/unfinished.go", "range w.rivals {", "range w.rivals[:0] {"}, // which guards folders a second time
		{"internal/manifest/publish.go", "\t\twritten := before\n", "\t\twritten := before\n\t\tif written == before {\n\t\t\treturn nil\n\t\t}\n"},
	}, "TestLateManifest"},
}

// TestMutants plants each bug and wants the tests that guard against it to fail. Without SPILLWAY_MUTANTS it only looks whether the
// bugs can still be planted; with SPILLWAY_MUTANTS=quick it takes for granted that the tests pass without the bug.
func TestMutants(t *testing.T) {
	t.Parallel()
	how := os.Getenv("SPILLWAY_MUTANTS")
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			overlay := m.plant(t)
			if how == "" {
				return
			}
			if how != "quick" {
				if out, err := runTests(os.Args[0], m.run); err != nil {
					t.Fatalf("without the bug %s fails: %v\n%s", m.run, err, out)
				}
			}
			program := filepath.Join(t.TempDir(), "mutant.test")
			build := exec.Command("go", "test", "-c", "-buildvcs=false", "-overlay", overlay, "-o", program, "./tests/faults")
			build.Dir = product.Root()
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build: %v\n%s", err, out)
			}
			out, err := runTests(program, m.run)
			if err == nil {
				t.Fatalf("%s does not notice the bug\n%s", m.run, out)
			}
			by := caughtBy(out)
			if len(by) == 0 {
				t.Fatalf("%s fails without a test that does: %v\n%s", m.run, err, out)
			}
			t.Logf("%s: caught by %s", m.name, strings.Join(by, "; "))
		})
	}
}

// plant writes the mutant's files, and returns an overlay for the go command.
func (m mutant) plant(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{}
	for _, e := range m.edits {
		path := filepath.Join(product.Root(), e.file)
		text, known := files[path]
		if !known {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text = string(data)
		}
		if n := strings.Count(text, e.old); n != 1 {
			t.Fatalf("%s holds the text %d times that the bug is planted in; it has moved on, and so must the mutant:\n%s", e.file, n, e.old)
		}
		files[path] = strings.Replace(text, e.old, e.new, 1)
	}
	replace := map[string]string{}
	for path, text := range files {
		replace[path] = filepath.Join(dir, fmt.Sprintf("%d-%s", len(replace), filepath.Base(path)))
		if err := os.WriteFile(replace[path], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}

// runTests runs some tests of a program like this one.
func runTests(program, run string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-test.run", "^"+run, "-test.timeout", "4m")
	cmd.Env = append(os.Environ(), "SPILLWAY_FAULTS_ALL=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// caughtBy names the innermost tests that failed.
func caughtBy(out string) (names []string) {
	for line := range strings.Lines(out) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: ")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, " ")
		names = slices.DeleteFunc(names, func(outer string) bool { return strings.HasPrefix(name, outer+"/") })
		names = append(names, name)
	}
	return names
}
