package policy

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/obs"
)

const (
	// leastRow is what the shortest row takes in a heap: it bounds how many rows a heap can hold, whatever the statistics say.
	leastRow = 28
	// firstSample is how many rows are weighed to learn what one takes.
	firstSample = 1000
	// measuredAtOnce is how many heaps are measured in a tick. Those of tables that changed come first.
	measuredAtOnce = 10_000
)

// sort brings the entries in the order of their names.
func (w *Watcher) sort() {
	w.order = w.order[:0]
	for _, e := range w.entries {
		w.order = append(w.order, e)
	}
	slices.SortFunc(w.order, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.name.Schema, b.name.Schema), cmp.Compare(a.name.Name, b.name.Name))
	})
}

// locate finds tables by name: new ones at once, all from time to time, and partitioned ones more often, for a new partition must
// not be overlooked for long.
func (w *Watcher) locate(ctx context.Context) error {
	all := w.moved && w.now.Sub(w.located) >= w.opt.Relocate
	leaves := w.moved && w.now.Sub(w.leaves) >= w.opt.Relocate/5
	var some []*entry
	var names []hot.TableName
	for _, e := range w.order {
		if all || !e.located || leaves && e.place.Partitioned {
			some, names = append(some, e), append(names, e.name)
		}
	}
	if len(some) > 0 {
		places, err := w.hot.Locate(ctx, names)
		if err != nil {
			return err
		}
		for i, e := range some {
			if err := w.moveTo(ctx, e, places[i]); err != nil {
				return err
			}
		}
		w.cost.Located = len(some)
	}
	if all {
		w.located = w.now
	}
	if all || leaves {
		w.leaves = w.now
	}
	return nil
}

// moveTo notes where a table is. That it is gone, or there again, is told in the ledger once.
func (w *Watcher) moveTo(ctx context.Context, e *entry, to hot.Place) error {
	if !e.located || e.place.OID != to.OID || !slices.Equal(e.place.Leaves, to.Leaves) {
		e.place, e.dirty, e.table = to, true, nil
	}
	e.located = true
	gone, told := to.OID == 0, e.duty.Class == ClassMissingTable && e.duty.Failures == 0
	if gone == told {
		return nil
	}
	var o ledger.DutyOutcome
	if gone {
		o = ledger.DutyOutcome{Error: "there is no table " + e.name.Schema + "." + e.name.Name + "; remove its policy, or make the table again", Class: ClassMissingTable}
	}
	if err := w.ledger.DutyRefused(ctx, e.name.Schema, e.name.Name, e.duty.Version, o); err != nil {
		return err
	}
	e.rest(o, w.now)
	return nil
}

// feel asks PostgreSQL's counters which tables have changed. One statement is about all of them.
func (w *Watcher) feel(ctx context.Context) error {
	var oids []uint32
	for _, e := range w.order {
		oids = append(oids, e.place.Leaves...)
	}
	changes, err := w.hot.Changes(ctx, oids)
	if err != nil {
		return err
	}
	w.cost.Leaves = len(oids)
	for _, e := range w.order {
		var sum int64
		for range e.place.Leaves {
			sum, changes = sum+changes[0], changes[1:]
		}
		if sum != e.changes {
			e.changes, e.dirty = sum, true
		}
	}
	return nil
}

// candidate is a table that has to be counted for a verdict.
type candidate struct {
	e      *entry
	need   Need
	urgent bool // it has changed, or what is known is not enough
}

// count counts the tables for whose verdict that matters: first those that have changed, then, in a small part of the time, those
// that may have changed unnoticed, for PostgreSQL's counters lag behind.
func (w *Watcher) count(ctx context.Context, position string) error {
	todo := w.candidates(position)
	todo, err := w.measure(ctx, todo, position)
	if err != nil {
		return err
	}
	begin, sweep := time.Now(), time.Time{}
	for _, c := range todo {
		left := w.opt.Counting - time.Since(begin)
		if !c.urgent { // these have a part of their own, or they would starve
			if sweep.IsZero() {
				sweep = time.Now()
			}
			left = w.opt.Sweeping - time.Since(sweep)
		}
		if left <= 0 && c.urgent {
			continue
		}
		if !w.lane(ctx, left) {
			break
		}
		if err := w.tally(ctx, c, position); err != nil {
			return err
		}
	}
	// Short counts are waited for, so that what they find is started now.
	for w.counts > 0 {
		left := w.opt.Counting - time.Since(begin)
		if left <= 0 {
			return nil
		}
		wait := time.NewTimer(left)
		select {
		case r := <-w.counting:
			w.answer(r)
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// candidates lists what has to be counted: the most urgent first, and of those that which was counted longest ago.
func (w *Watcher) candidates(position string) (todo []candidate) {
	clock := time.Now()
	for _, e := range w.order {
		if e.counting || e.starting || e.broken != nil || !e.located || clock.Before(e.nextCount) {
			continue
		}
		need := e.policy.Need(e.state(w.now), w.now)
		if need.Zero() {
			continue
		}
		enough := e.tallied && e.tally.answers(need, e.policy)
		if enough && !e.dirty && !e.ages() && position != "" && e.position == position {
			continue // nothing was committed since
		}
		todo = append(todo, candidate{e: e, need: need, urgent: e.dirty || !enough || e.verdict.Due})
	}
	slices.SortStableFunc(todo, func(a, b candidate) int {
		if a.urgent != b.urgent {
			if a.urgent {
				return -1
			}
			return 1
		}
		return a.e.countedAt.Compare(b.e.countedAt)
	})
	return todo
}

// measure answers what a look at the size of the heap can: one that is too small for so many rows need not be counted.
func (w *Watcher) measure(ctx context.Context, todo []candidate, position string) ([]candidate, error) {
	var oids []uint32
	for i, c := range todo {
		if i > 0 && len(oids)+len(c.e.place.Leaves) > measuredAtOnce {
			todo = todo[:i]
			break
		}
		oids = append(oids, c.e.place.Leaves...)
	}
	heap, err := w.hot.Heap(ctx, oids)
	if err != nil {
		return nil, err
	}
	w.cost.Measured = len(oids)
	stored, err := w.stored(ctx, todo)
	if err != nil {
		return nil, err
	}
	var rest []candidate
	for _, c := range todo {
		e := c.e
		var size int64
		for range e.place.Leaves {
			if heap[0] < 0 {
				e.located = false // it was dropped a moment ago
			}
			size, heap = size+max(heap[0], 0), heap[1:]
		}
		if e.policy.cannotBe(c.need, size/leastRow-e.keeps(), stored[e]) {
			// No count could find enough. How many there are, nobody needs to know.
			e.know(tally{most: c.need.Rows, need: c.need, bound: true}, w.now, position)
			e.nextCount = time.Time{}
			continue
		}
		rest = append(rest, c)
	}
	return rest, nil
}

// cannotBe reports whether a table with room for so many rows and bytes cannot be due.
func (p Policy) cannotBe(n Need, rows, bytes int64) bool {
	if rows < max(p.MinRows, 1) {
		return true
	}
	if n.Bytes == 0 {
		return rows < n.Rows
	}
	return bytes < n.Bytes && (p.Rows == 0 || rows < n.Rows)
}

// stored measures the tables whose bytes matter.
func (w *Watcher) stored(ctx context.Context, todo []candidate) (map[*entry]int64, error) {
	var oids []uint32
	for _, c := range todo {
		if c.need.Bytes > 0 {
			oids = append(oids, c.e.place.Leaves...)
		}
	}
	sizes, err := w.hot.Stored(ctx, oids)
	if err != nil {
		return nil, err
	}
	out := map[*entry]int64{}
	for _, c := range todo {
		if c.need.Bytes == 0 {
			continue
		}
		for range c.e.place.Leaves {
			out[c.e], sizes = out[c.e]+max(sizes[0], 0), sizes[1:]
		}
	}
	return out, nil
}

// know takes note of an answer.
func (e *entry) know(t tally, at time.Time, position string) {
	e.tally, e.tallied, e.countedAt, e.position = t, true, at, position
	e.dirty = !t.answers(t.need, e.policy)
}

// lane waits until one more count may begin, at most so long.
func (w *Watcher) lane(ctx context.Context, patience time.Duration) bool {
	if patience <= 0 {
		return false
	}
	if w.counts < w.opt.Lanes {
		return true
	}
	wait := time.NewTimer(patience)
	defer wait.Stop()
	select {
	case r := <-w.counting:
		w.answer(r)
		return true
	case <-wait.C:
	case <-ctx.Done():
	}
	return false
}

// counted is the answer of a count.
type counted struct {
	e        *entry
	tally    tally
	policy   string // that was asked
	position string
	at       time.Time
	took     time.Duration
	guessed  bool
	err      error
}

// errGone is returned when a table was dropped a moment ago.
var errGone = errors.New("there is no such table")

// question is what has to be asked for a need. Errors: *StartError if the policy does not fit its table; errGone.
func (w *Watcher) question(ctx context.Context, e *entry, need Need) (hot.Tally, error) {
	if err := w.look(ctx, e); err != nil {
		return hot.Tally{}, err
	}
	if e.table == nil && e.looksAtTable() {
		return hot.Tally{}, errGone
	}
	t := hot.Tally{Schema: e.name.Schema, Table: e.name.Name, Partitioned: e.place.Partitioned, Keep: e.keeps(), AgeColumn: e.policy.Flush["age_column"], Most: need.Rows, Patience: w.opt.Patience}
	var limit hot.AgeLimit
	if e.ages() {
		var err error
		if limit, err = w.limit(ctx, e.policy.Flush["older_than"], e.policy.Flush["time_zone"]); err != nil {
			return t, err
		}
	}
	var err error
	if t.Predicate, err = e.predicate(limit); err != nil {
		return t, &StartError{Class: classInvalid, Err: err} // its column of ages is gone, or another
	}
	if need.Bytes > 0 {
		t.Most = max(need.Rows, firstSample)
		if e.width > 0 {
			t.Most = max(t.Most, (need.Bytes/e.width+firstSample)<<e.stretch)
		}
		for _, col := range e.table.Columns {
			t.Columns = append(t.Columns, col.Name)
		}
	}
	return t, nil
}

// tally begins a count.
func (w *Watcher) tally(ctx context.Context, c candidate, position string) error {
	e := c.e
	r := counted{e: e, policy: string(e.duty.Policy), position: position, at: w.now, tally: tally{need: c.need}}
	t, err := w.question(ctx, e, c.need)
	if errors.Is(err, errGone) {
		e.located = false
		return nil
	}
	r.tally.most, r.err = t.Most, err
	e.counting = true
	w.counts++
	w.cost.Counts++
	width := e.width
	go func() {
		begin := time.Now()
		if r.err == nil {
			r.tally.rows, r.tally.bytes, r.err = w.hot.TallyUp(ctx, t)
		}
		if hot.SQLState(r.err) == "57014" && ctx.Err() == nil { // too many to count in time: what does the planner think?
			r.guessed, r.err = true, w.guess(ctx, &r.tally, width, t)
		}
		r.took = time.Since(begin)
		w.counting <- r
	}()
	return nil
}

// look reads the columns and foreign keys of a table where its predicate or its size needs them.
func (w *Watcher) look(ctx context.Context, e *entry) error {
	if e.table != nil || !e.looksAtTable() {
		return nil
	}
	t, err := w.hot.Look(ctx, e.name.Schema, e.name.Name)
	if errors.Is(err, hot.ErrNoTable) {
		return nil
	}
	e.table = t
	return err
}

// limit is what an age means now. Tables mostly share a few ages.
func (w *Watcher) limit(ctx context.Context, interval, zone string) (hot.AgeLimit, error) {
	key := ageKey{interval, zone}
	if l, ok := w.limits[key]; ok {
		return l, nil
	}
	l, err := w.hot.AgeLimit(ctx, w.now, interval, zone)
	if err == nil {
		w.limits[key] = l
	}
	return l, err
}

// guess asks the planner for what cannot be counted in time.
func (w *Watcher) guess(ctx context.Context, t *tally, width int64, asked hot.Tally) error {
	table, err := w.hot.Look(ctx, asked.Schema, asked.Table)
	if err != nil {
		return err
	}
	scans := []hot.Scan{{Schema: asked.Schema, Table: asked.Table, Predicate: asked.Predicate}}
	if table.Partitioned() {
		scans = nil
		for _, l := range table.Leaves {
			scans = append(scans, hot.Scan{Schema: l.Schema, Table: l.Name, Predicate: asked.Predicate})
		}
	}
	found, err := w.hot.Estimates(ctx, hot.AnyWay, scans)
	for _, f := range found {
		if !f.Empty {
			t.rows += f.Rows
		}
	}
	t.rows = max(t.rows-asked.Keep, 0)
	t.bytes, t.most = t.rows*max(width, leastRow), t.rows+1 // it is all there is, as far as is known
	return err
}

// collect takes the answers that have come since the last tick.
func (w *Watcher) collect() {
	for {
		select {
		case r := <-w.counting:
			w.answer(r)
		case r := <-w.starting:
			w.started(r)
		default:
			return
		}
	}
}

// answer takes the answer of a count.
func (w *Watcher) answer(r counted) {
	w.counts--
	e := r.e
	e.counting = false
	e.nextCount = time.Now().Add(countShare * r.took)
	if r.policy != string(e.duty.Policy) || w.entries[e.name] != e {
		e.nextCount = time.Time{} // another policy asked
		return
	}
	if r.err != nil {
		w.uncounted(r)
		return
	}
	w.cost.Counting += r.took
	if r.tally.rows > 0 && r.tally.bytes > 0 && !r.guessed {
		e.width = max(r.tally.bytes/r.tally.rows, leastRow)
	}
	e.know(r.tally, r.at, r.position)
	if e.dirty { // bytes were counted, and not far enough
		if r.tally.most > firstSample {
			e.stretch = min(e.stretch+1, 20)
		}
		return
	}
	e.stretch = 0
}

// uncounted deals with a table that cannot be counted. What a flush would stumble over too is told in the ledger as its failure.
func (w *Watcher) uncounted(r counted) {
	e := r.e
	e.nextCount = time.Now().Add(max(countShare*r.took, w.opt.Tick))
	class := ""
	var refused *StartError
	switch state := hot.SQLState(r.err); {
	case errors.As(r.err, &refused):
		class = refused.Class
	case state == "42P01" || state == "3F000":
		e.located = false
	case state == "42501":
		class = classPrivilege
	case len(state) == 5 && state[:2] == "42", state == "22007", state == "22008", state == "22023":
		class = classInvalid
	case len(state) == 5 && state[:2] == "22":
		class = classData
	}
	if class == "" {
		w.opt.Logger.Debug("cannot count rows for a policy", obs.KeyTable, e.name.Schema+"."+e.name.Name, obs.KeyErr, r.err)
		return
	}
	w.refuse(e, class, r.err)
}
