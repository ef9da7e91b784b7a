package flush_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/manifest"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/objstore/disktest"
)

// A10, A35: the power goes at a random call of the disk's, in the middle of flushes that PostgreSQL, elsewhere, commits or not. Whatever
// the disk keeps of what was not synced, each registered segment is whole, the manifest is a whole one, and no row is lost or doubled.
func TestPowerLossDuringFlushes(t *testing.T) {
	t.Parallel()
	rounds := 6
	if os.Getenv("SPILLWAY_LONG") != "" {
		rounds = 200
	}
	const seed = 20260707
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := newRig(t, events)
	r.params["chunk_bytes"] = "64kB"
	disk := disktest.New()
	must(t, mkdirAll(disk, r.dir))
	cuts, committed := 0, 0
	for round := range rounds {
		r.db.Exec(t, fmt.Sprintf("INSERT INTO app.t SELECT i, i %% 7, repeat('note ' || i, 9), i, now() FROM generate_series(%d, %d) i", 1000*round+1, 1000*round+900))
		r.want = nil // said at the end
		r.f = r.flusher(onDisk(disk))
		disk.CutAt(5 + rnd.IntN(250))
		err := r.flushOnDisk()
		if err != nil && !errors.Is(err, disktest.ErrNoPower) {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
		if err != nil {
			cuts++
		}
		for range 10 { // of the ways in which this crash may turn out
			committed = r.registeredIsWhole(disk.Crash(rnd))
		}
		disk = disk.Crash(rnd)
	}
	r.f = r.flusher(onDisk(disk))
	must(t, r.flushOnDisk())
	t.Logf("seed %d: %d of %d flushes lost power, %d segments whole", seed, cuts, rounds, committed)
	if cuts == 0 || committed == 0 {
		t.Error("the power was never cut, or nothing was registered")
	}
	must(t, disk.Export(r.dir))
	if got := r.hotCount(); got != 0 {
		t.Errorf("%d rows are hot", got)
	}
	if n := coldCount(t, r); n != 900*rounds {
		t.Errorf("%d rows are cold, want %d", n, 900*rounds)
	}
	r.dir = t.TempDir() // what attempts that lost power left is no stray, for nobody has cleaned up after those jobs
}

func mkdirAll(d *disktest.Disk, dir string) error {
	if dir == "/" {
		return nil
	}
	if err := mkdirAll(d, path.Dir(dir)); err != nil {
		return err
	}
	return errors.Join(d.Mkdir(dir), d.SyncDir(path.Dir(dir)))
}

func onDisk(d *disktest.Disk) func(context.Context, string) (objstore.Store, error) {
	return func(ctx context.Context, location string) (objstore.Store, error) {
		return objstore.OpenLocal(ctx, strings.TrimPrefix(location, "file://"), d)
	}
}

// flushOnDisk is a job until the disk fails; its manager would go on, and gives up here.
func (r *rig) flushOnDisk() error {
	ctx := context.Background()
	id := uuid.New()
	j := &job{rig: r, id: "flush:app.t:" + id.String(), request: r.request()}
	var err error
	if j.plan, err = r.f.Plan(ctx, jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 1}); err == nil {
		err = j.chunks(&j.plan)
	}
	if err == nil {
		err = j.f.Publish(ctx, j.id)
	}
	if err == nil {
		_, err = j.f.Sweep(ctx, j.id)
	}
	status := "completed"
	if err != nil {
		status = "failed"
	}
	_, finishErr := r.f.Finish(ctx, jobstep.FinishInput{JobID: j.id, RequestID: j.request, Status: status, Class: jobstep.ClassStorage})
	return errors.Join(err, finishErr)
}

// registeredIsWhole compares what the disk holds with the ledger, and returns how many segments there are.
func (r *rig) registeredIsWhole(d *disktest.Disk) int {
	r.t.Helper()
	ctx := context.Background()
	conn := r.db.Connect(r.t, r.db.SuperURL)
	rows, err := conn.Query(ctx, "SELECT location, sha256, bytes FROM spillway.segments WHERE restored_at IS NULL AND replaced_at IS NULL")
	must(r.t, err)
	type segment struct {
		Location, SHA256 string
		Bytes            int64
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[segment])
	must(r.t, err)
	must(r.t, conn.Close(ctx))
	store, err := objstore.OpenLocal(ctx, r.dir, d)
	must(r.t, err)
	for _, s := range all {
		key, _ := objstore.KeyOf(store, s.Location)
		data, err := read(store, key)
		if sum := sha256.Sum256(data); err != nil || hex.EncodeToString(sum[:]) != s.SHA256 {
			r.t.Fatalf("%s is registered and not whole: %d of %d bytes, %v", key, len(data), s.Bytes, err)
		}
	}
	if data, err := read(store, "app/t/manifest.json"); !errors.Is(err, objstore.ErrNotExist) {
		var m manifest.Manifest
		if err != nil || json.Unmarshal(data, &m) != nil || m.Namespace != "app" {
			r.t.Fatalf("the manifest is torn: %d bytes, %v", len(data), err)
		}
	}
	return len(all)
}

func read(s objstore.Store, key string) ([]byte, error) {
	obj, err := s.Open(context.Background(), key)
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	return io.ReadAll(io.NewSectionReader(obj, 0, obj.Size()))
}
