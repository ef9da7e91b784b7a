package torture

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/netfault"
)

// fault is something bad. Its name is what results count it under.
type fault struct {
	name string
	do   func(g *rig, r *rand.Rand, stop <-chan struct{})
}

// The faults. "kill worker" waits for a chunk's transaction, so that the kill does not hit a worker at rest.
var faults = map[string][]fault{
	"worker": {
		{"kill worker", killWorker}, {"kill worker", killWorker}, {"kill worker", killWorker}, {"kill worker", killWorker},
		{"kill worker", killWorker}, {"kill worker", killWorker}, {"kill both workers", killBoth}, {"kill both workers", killBoth}, {"freeze worker", freezeWorker},
	},
	"temporal": {{"kill temporal", killTemporal}, {"freeze temporal", freezeTemporal}, {"kill temporal", killTemporal}, {"kill temporal", killTemporal}},
	"postgres": {{"immediate stop of postgres", stopPostgres}, {"kill postgres", killPostgres}, {"kill backend", killBackend}},
	"front":    {{"kill front", killFront}},
	"network":  {{"lose COMMIT", loseCommits}, {"lose COMMIT", loseCommits}, {"cut", cutNetwork}, {"slow network", slowNetwork}, {"silent network", silentNetwork}, {"half-close", halfClose}},
	"storage":  {{"full storage", fullStorage}, {"storage away", storageAway}},
}

var aims = []string{"worker", "worker", "worker", "temporal", "postgres", "front", "network", "network", "storage"}

// kills are for runs that count: nothing but ends of processes.
var kills = []fault{
	{"kill worker", killWorker}, {"kill worker", killWorker}, {"kill worker", killWorker}, {"kill worker", killWorker}, {"kill worker", killWorker},
	{"kill both workers", killBoth}, {"kill both workers", killBoth}, {"kill front", killFront}, {"kill temporal", killTemporal},
	{"immediate stop of postgres", stopPostgres}, {"kill postgres", killPostgres},
}

// inflict does faults until the time is over.
func (g *rig) inflict(round uint64, aim string, until time.Time, stop <-chan struct{}) {
	r := rand.New(rand.NewPCG(g.seed, round<<8|255))
	for time.Now().Before(until) {
		kind := aim
		if aim == "all" {
			kind = aims[r.IntN(len(aims))]
		}
		list := faults[kind]
		if kind == "kills" {
			list = kills
		}
		f := list[r.IntN(len(list))]
		own := rand.New(rand.NewPCG(r.Uint64(), 1)) // a fault draws as much as it likes
		f.do(g, own, stop)
		g.count(f.name, 1)
		pause(stop, time.Duration(r.Int64N(int64(2**pace)+1)))
	}
}

// inChunk waits until some chunk's transaction is open, for a moment at most, and then a little more.
func (g *rig) inChunk(r *rand.Rand, stop <-chan struct{}) {
	more := time.Duration(r.Int64N(int64(40 * time.Millisecond)))
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, g.db.SuperURL)
	if err != nil {
		return
	}
	defer conn.Close(context.Background())
	found := false
	for !found && ctx.Err() == nil {
		err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'spillway:%' AND xact_start IS NOT NULL)`).Scan(&found)
		if err != nil {
			break
		}
	}
	if found {
		g.count("faults while a chunk moved", 1)
	}
	pause(stop, more)
}

func killWorker(g *rig, r *rand.Rand, stop <-chan struct{}) {
	w := g.workers[r.IntN(len(g.workers))]
	if r.IntN(4) > 0 {
		g.inChunk(r, stop)
	}
	g.kill("worker", w)
}

func killBoth(g *rig, r *rand.Rand, stop <-chan struct{}) {
	g.inChunk(r, stop)
	for _, w := range g.workers {
		g.kill("worker", w)
	}
}

// kill is kill -9. Only a process that was there counts.
func (g *rig) kill(kind string, u *unit) {
	if u.pid() != 0 && u.signal(syscall.SIGKILL) {
		g.count("kill -9 "+kind, 1)
	}
}

// freezeWorker makes a zombie: it sleeps beyond its heartbeat timeout and wakes up.
func freezeWorker(g *rig, r *rand.Rand, stop <-chan struct{}) {
	g.inChunk(r, stop)
	g.freeze(g.workers[r.IntN(len(g.workers))], 2500*time.Millisecond+time.Duration(r.IntN(3000))*time.Millisecond, stop)
}

func (g *rig) freeze(u *unit, d time.Duration, stop <-chan struct{}) {
	if !u.signal(syscall.SIGSTOP) {
		return
	}
	g.count("SIGSTOP", 1)
	pause(stop, d)
	u.signal(syscall.SIGCONT)
}

func freezeTemporal(g *rig, r *rand.Rand, stop <-chan struct{}) {
	g.freeze(g.temporal, time.Duration(500+r.IntN(3000))*time.Millisecond, stop)
}

func killTemporal(g *rig, r *rand.Rand, stop <-chan struct{}) {
	g.inChunk(r, stop)
	g.kill("temporal", g.temporal)
	if r.IntN(2) == 0 { // else the next fault finds it starting
		await.Within(20*time.Second, g.temporal.ready)
	}
}

func killFront(g *rig, r *rand.Rand, stop <-chan struct{}) {
	pause(stop, time.Duration(r.IntN(300))*time.Millisecond)
	g.kill("front", g.door)
}

func stopPostgres(g *rig, r *rand.Rand, stop <-chan struct{}) {
	g.inChunk(r, stop)
	if err := g.srv.Kill(); err != nil {
		g.fail("immediate stop: %v", err)
	}
	g.count("pg_ctl stop -m immediate", 1)
	pause(stop, time.Duration(r.IntN(1000))*time.Millisecond)
	g.revive()
}

func killPostgres(g *rig, r *rand.Rand, stop <-chan struct{}) {
	g.inChunk(r, stop)
	if err := syscall.Kill(g.srv.Pid(), syscall.SIGKILL); err != nil {
		g.fail("kill -9 of the postmaster: %v", err)
	}
	g.count("kill -9 postgres", 1)
	<-g.srv.Done()
	pause(stop, time.Duration(r.IntN(1000))*time.Millisecond)
	g.revive()
}

// killBackend ends one backend by SIGKILL; PostgreSQL then restarts all of them.
func killBackend(g *rig, r *rand.Rand, stop <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, g.db.SuperURL)
	if err != nil {
		return
	}
	defer conn.Close(context.Background())
	var pid int
	for ctx.Err() == nil {
		err := conn.QueryRow(ctx, `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'spillway:%' AND xact_start IS NOT NULL LIMIT 1`).Scan(&pid)
		if err == nil || !errors.Is(err, pgx.ErrNoRows) {
			break
		}
	}
	if pid == 0 {
		return
	}
	if syscall.Kill(pid, syscall.SIGKILL) == nil { // it may have ended meanwhile
		g.count("kill -9 backend", 1)
	}
	pause(stop, time.Second)
}

// link picks one of the proxies.
func (g *rig) link(r *rand.Rand) (string, *netfault.Proxy) {
	list := map[int]string{0: "postgres", 1: "temporal"}
	proxies := []*netfault.Proxy{g.pg, g.rpc}
	if g.s3 != nil {
		list[2] = "s3"
		proxies = append(proxies, g.s3)
	}
	i := r.IntN(len(proxies))
	return list[i], proxies[i]
}

func loseCommits(g *rig, r *rand.Rand, stop <-chan struct{}) {
	before := g.pg.Lost()
	how := netfault.Faults[r.IntN(len(netfault.Faults))]
	g.pg.LoseCommits(how, 1+r.IntN(3))
	await.Within(3*time.Second, func() bool { return g.pg.Lost() > before })
	pause(stop, time.Duration(r.IntN(1000))*time.Millisecond)
	g.pg.LoseCommits(netfault.Keep, 0)
	if how == netfault.Swallow { // nobody will ever answer there
		pause(stop, 3*time.Second)
		g.pg.Cut()
	}
	g.count("COMMIT: "+how.String(), int64(g.pg.Lost()-before))
}

func cutNetwork(g *rig, r *rand.Rand, stop <-chan struct{}) {
	name, p := g.link(r)
	if r.IntN(2) == 0 {
		g.inChunk(r, stop)
	}
	g.count("connections cut to "+name, int64(p.Cut()))
}

func halfClose(g *rig, r *rand.Rand, stop <-chan struct{}) {
	name, p := g.link(r)
	g.inChunk(r, stop)
	g.count("connections half-closed to "+name, int64(p.HalfClose()))
}

func slowNetwork(g *rig, r *rand.Rand, stop <-chan struct{}) {
	name, p := g.link(r)
	p.Set(netfault.Mode{Delay: time.Duration(1+r.IntN(30)) * time.Millisecond, Rate: 20_000 + r.IntN(400_000)})
	g.count("slow link to "+name, 1)
	pause(stop, time.Duration(500+r.IntN(2500))*time.Millisecond)
	p.Set(netfault.Mode{})
}

func silentNetwork(g *rig, r *rand.Rand, stop <-chan struct{}) {
	name, p := g.link(r)
	p.Set(netfault.Mode{Blackhole: true})
	g.count("silent link to "+name, 1)
	pause(stop, time.Duration(500+r.IntN(4500))*time.Millisecond)
	if r.IntN(2) == 0 {
		p.Cut() // the cable stays unplugged until both sides have given up
	}
	p.Set(netfault.Mode{})
}

// fullStorage fills the storage's disk.
func fullStorage(g *rig, r *rand.Rand, stop <-chan struct{}) {
	if g.disk == "" {
		return
	}
	path := filepath.Join(g.disk, "filler")
	f, err := os.Create(path)
	if err != nil {
		return
	}
	block := make([]byte, 64<<10)
	for size := len(block); size >= 512; {
		if _, err := f.Write(block[:size]); err != nil {
			size /= 2
		}
	}
	_ = f.Close()
	g.count("full disks", 1)
	pause(stop, time.Duration(500+r.IntN(2500))*time.Millisecond)
	if err := os.Remove(path); err != nil {
		g.fail("free the disk: %v", err)
	}
}

// storageAway makes the storage fail: a bucket that refuses connections, or a disk that has become read-only.
func storageAway(g *rig, r *rand.Rand, stop <-chan struct{}) {
	wait := time.Duration(300+r.IntN(2500)) * time.Millisecond
	if g.s3 != nil {
		g.s3.Set(netfault.Mode{Refuse: true})
		g.s3.Cut()
		g.count("bucket away", 1)
		pause(stop, wait)
		g.s3.Set(netfault.Mode{})
		return
	}
	if g.disk == "" {
		return
	}
	remount := func(flags uintptr) error { return syscall.Mount("", g.disk, "", syscall.MS_REMOUNT|flags, "size=96m") }
	if await.Within(time.Second, func() bool { return remount(syscall.MS_RDONLY) == nil }) { // busy while a file is being written
		g.count("read-only disk", 1)
		pause(stop, wait)
		if err := remount(0); err != nil {
			g.fail("mount the disk again: %v", err)
		}
	}
}

// calm ends all faults and waits until everything is up.
func (g *rig) calm() {
	g.pg.LoseCommits(netfault.Keep, 0)
	for _, p := range []*netfault.Proxy{g.pg, g.rpc, g.s3} {
		if p != nil {
			p.Set(netfault.Mode{})
		}
	}
	if !g.srv.Running() {
		g.revive()
	}
	for _, u := range append([]*unit{g.temporal, g.door}, g.workers...) {
		u.signal(syscall.SIGCONT)
		if !await.Within(patience, u.ready) {
			g.fail("%s does not become ready again", u.name)
		}
	}
}
