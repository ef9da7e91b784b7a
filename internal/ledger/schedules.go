package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ErrScheduleExists is returned by CreateSchedule for a name that is taken.
var ErrScheduleExists = errors.New("the schedule already exists")

// The states of schedules.
const (
	ScheduleCreating = "creating" // Temporal may not know it yet
	ScheduleReady    = "ready"
	ScheduleDropping = "dropping" // Temporal may still know it
)

// The scopes of schedules.
const (
	ScopeTable     = "table"
	ScopeNamespace = "namespace"
	ScopeAll       = "all" // every table, or what has no table
)

// ScheduleRow is what is done at set times.
type ScheduleRow struct {
	Name         string
	ID           uuid.UUID
	TemporalID   string
	Statement    string // as typed
	JobStatement string // what it runs
	JobType      string
	Scope        string
	Schema       string // "": all
	Table        string // "": not one
	Params       map[string]string

	Every          string // as PostgreSQL prints the interval; "": Cron is set
	EverySeconds   int64
	Cron           string
	Zone           string // of Cron; "": UTC
	JitterSeconds  int64
	CatchupSeconds int64
	Overlap        string
	PauseOnFailure bool

	State     string
	CreatedBy string // who had logged in
	RunAs     string // whose rights it needs
	CreatedAt time.Time
	ChangedAt time.Time
	PausedAt  *time.Time
	PausedBy  *string

	Runs        int64
	LastRunAt   *time.Time
	LastEndedAt *time.Time
	LastStatus  *string // running, completed, failed, cancelled
	LastJobID   *string
	LastError   *string
}

const scheduleColumns = `name, schedule_id::text, temporal_id, statement, job_statement, job_type, scope, table_schema, table_name, params, every, every_seconds, cron, time_zone,
	jitter_seconds, catchup_seconds, overlap, pause_on_failure, state, created_by, run_as, created_at, changed_at, paused_at, paused_by, runs, last_run_at, last_ended_at,
	last_status, last_job_id, last_error`

func scanSchedule(row pgx.CollectableRow) (ScheduleRow, error) {
	var s ScheduleRow
	var id string
	err := row.Scan(&s.Name, &id, &s.TemporalID, &s.Statement, &s.JobStatement, &s.JobType, &s.Scope, &s.Schema, &s.Table, &s.Params, &s.Every, &s.EverySeconds, &s.Cron, &s.Zone,
		&s.JitterSeconds, &s.CatchupSeconds, &s.Overlap, &s.PauseOnFailure, &s.State, &s.CreatedBy, &s.RunAs, &s.CreatedAt, &s.ChangedAt, &s.PausedAt, &s.PausedBy, &s.Runs, &s.LastRunAt,
		&s.LastEndedAt, &s.LastStatus, &s.LastJobID, &s.LastError)
	if err == nil {
		s.ID, err = uuid.Parse(id)
	}
	return s, err
}

// CreateSchedule enters a schedule that Temporal does not know yet. paused_at is set if s.PausedBy is. Error: ErrScheduleExists.
func (l *Ledger) CreateSchedule(ctx context.Context, s ScheduleRow) error {
	params := s.Params
	if params == nil {
		params = map[string]string{}
	}
	tag, err := l.pool.Exec(ctx, l.expand(`
		INSERT INTO @schema@.schedules (name, schedule_id, temporal_id, statement, job_statement, job_type, scope, table_schema, table_name, params, every, every_seconds, cron,
			time_zone, jitter_seconds, catchup_seconds, overlap, pause_on_failure, created_by, run_as, paused_by, paused_at)
		VALUES ($1, $2::text::uuid, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, CASE WHEN $21::text IS NOT NULL THEN clock_timestamp() END)
		ON CONFLICT (name) DO NOTHING`),
		s.Name, s.ID.String(), s.TemporalID, storable(s.Statement), storable(s.JobStatement), s.JobType, s.Scope, s.Schema, s.Table, params, s.Every, s.EverySeconds, s.Cron,
		s.Zone, s.JitterSeconds, s.CatchupSeconds, s.Overlap, s.PauseOnFailure, s.CreatedBy, s.RunAs, s.PausedBy)
	if err == nil && tag.RowsAffected() == 0 {
		return ErrScheduleExists
	}
	return wrap("create schedule", err)
}

// Schedule returns a schedule by name. Error: ErrNotFound.
func (l *Ledger) Schedule(ctx context.Context, name string) (ScheduleRow, error) {
	return l.oneSchedule(ctx, `name = $1`, name)
}

// ScheduleByID returns a schedule by its id. Error: ErrNotFound.
func (l *Ledger) ScheduleByID(ctx context.Context, id uuid.UUID) (ScheduleRow, error) {
	return l.oneSchedule(ctx, `schedule_id = $1::text::uuid`, id.String())
}

func (l *Ledger) oneSchedule(ctx context.Context, where string, arg any) (ScheduleRow, error) {
	rows, err := collect(ctx, l.pool, "read schedule", scanSchedule, l.expand(`SELECT `+scheduleColumns+` FROM @schema@.schedules WHERE `+where), arg)
	if err != nil {
		return ScheduleRow{}, err
	}
	if len(rows) == 0 {
		return ScheduleRow{}, wrap("read schedule", pgx.ErrNoRows)
	}
	return rows[0], nil
}

// Schedules lists all schedules by name.
func (l *Ledger) Schedules(ctx context.Context) ([]ScheduleRow, error) {
	return collect(ctx, l.pool, "list schedules", scanSchedule, l.expand(`SELECT `+scheduleColumns+` FROM @schema@.schedules ORDER BY name`))
}

// SetScheduleState records that Temporal knows a schedule, or that it is to be dropped. One that is being dropped stays so.
func (l *Ledger) SetScheduleState(ctx context.Context, id uuid.UUID, state string) error {
	_, err := l.pool.Exec(ctx, l.expand(`UPDATE @schema@.schedules SET state = $2 WHERE schedule_id = $1::text::uuid AND state <> 'dropping'`), id.String(), state)
	return wrap("record the state of a schedule", err)
}

// SetSchedulePaused records that a schedule is paused, by whom, or no longer: by is nil.
func (l *Ledger) SetSchedulePaused(ctx context.Context, id uuid.UUID, by *string) error {
	_, err := l.pool.Exec(ctx, l.expand(`
		UPDATE @schema@.schedules SET changed_at = clock_timestamp(), paused_by = $2::text,
			paused_at = CASE WHEN $2::text IS NOT NULL THEN coalesce(paused_at, clock_timestamp()) END
		WHERE schedule_id = $1::text::uuid`), id.String(), by)
	return wrap("record the pause of a schedule", err)
}

// DeleteSchedule forgets a schedule.
func (l *Ledger) DeleteSchedule(ctx context.Context, id uuid.UUID) error {
	_, err := l.pool.Exec(ctx, l.expand(`DELETE FROM @schema@.schedules WHERE schedule_id = $1::text::uuid`), id.String())
	return wrap("delete schedule", err)
}

// ScheduleBegan records that a run has begun.
func (l *Ledger) ScheduleBegan(ctx context.Context, id uuid.UUID) error {
	_, err := l.pool.Exec(ctx, l.expand(`
		UPDATE @schema@.schedules SET runs = runs + 1, last_run_at = clock_timestamp(), last_ended_at = NULL, last_status = 'running', last_job_id = NULL, last_error = NULL
		WHERE schedule_id = $1::text::uuid`), id.String())
	return wrap("record a run of a schedule", err)
}

// ScheduleStarted records the newest job of a schedule.
func (l *Ledger) ScheduleStarted(ctx context.Context, id uuid.UUID, jobID string) error {
	_, err := l.pool.Exec(ctx, l.expand(`UPDATE @schema@.schedules SET last_job_id = $2 WHERE schedule_id = $1::text::uuid`), id.String(), jobID)
	return wrap("record a job of a schedule", err)
}

// ScheduleEnded records what became of a run, and the job that tells most about it: "" leaves the one that is there.
func (l *Ledger) ScheduleEnded(ctx context.Context, id uuid.UUID, status, jobID, message string) error {
	_, err := l.pool.Exec(ctx, l.expand(`
		UPDATE @schema@.schedules SET last_ended_at = clock_timestamp(), last_status = $2, last_job_id = coalesce(nullif($3, ''), last_job_id), last_error = nullif($4, '')
		WHERE schedule_id = $1::text::uuid`), id.String(), status, jobID, storable(message))
	return wrap("record the end of a run of a schedule", err)
}

// RoleRights says what a role may do, without a session of its own.
type RoleRights struct {
	Exists   bool // both roles do, and the one may still act as the other
	Anywhere bool // it may work on tables of others: superuser or operator
}

// RoleRights asks for the rights of runAs, as which login acted.
func (l *Ledger) RoleRights(ctx context.Context, login, runAs, operator string) (RoleRights, error) {
	var r RoleRights
	err := l.pool.QueryRow(ctx, `
		SELECT coalesce(bool_or(u.rolsuper OR pg_has_role(u.oid, a.oid, 'MEMBER')), false),
		       coalesce(bool_or(a.rolsuper OR coalesce((SELECT pg_has_role(a.oid, o.oid, 'USAGE') FROM pg_roles AS o WHERE o.rolname = $3), false)), false)
		FROM pg_roles AS u, pg_roles AS a WHERE u.rolname = $1 AND a.rolname = $2`, login, runAs, operator).Scan(&r.Exists, &r.Anywhere)
	return r, wrap("read the rights of a role", err)
}

// TableRights is a table and whether a role has its owner's rights.
type TableRights struct {
	Schema, Table string
	Owner         bool
}

// TableRights finds the tables among names, "schema" and "name" in turn, that exist, and says what role may. With owned it adds
// those of a schema whose owner's rights the role has; partitions go with their parents.
func (l *Ledger) TableRights(ctx context.Context, role string, schemas, names []string, owned string) ([]TableRights, error) {
	return collect(ctx, l.pool, "read the rights on tables", func(row pgx.CollectableRow) (t TableRights, err error) {
		err = row.Scan(&t.Schema, &t.Table, &t.Owner)
		return t, err
	}, `
		SELECT n.nspname, c.relname, pg_has_role($1::name, c.relowner, 'USAGE')
		FROM unnest($2::text[], $3::text[]) AS w(s, t) JOIN pg_namespace AS n ON n.nspname = w.s JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.t
		WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
		UNION
		SELECT n.nspname, c.relname, true
		FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE $4 <> '' AND n.nspname = $4 AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' AND pg_has_role($1::name, c.relowner, 'USAGE')
		ORDER BY 1, 2`, role, schemas, names, owned)
}

// TablesWithSegments lists the tables that have cold rows, in one namespace or, if it is "", in all.
func (l *Ledger) TablesWithSegments(ctx context.Context, namespace string) ([]RegisteredTable, error) {
	return collect(ctx, l.pool, "list tables with segments", func(row pgx.CollectableRow) (t RegisteredTable, err error) {
		err = row.Scan(&t.Schema, &t.Table)
		return t, err
	}, l.expand(`
		SELECT DISTINCT table_schema, table_name FROM @schema@.segments
		WHERE restored_at IS NULL AND replaced_at IS NULL AND ($1 = '' OR table_schema = $1) ORDER BY 1, 2`), namespace)
}

// ScheduledJob returns the first ended job of a schedule on a table that was asked for at since or later, or "".
func (l *Ledger) ScheduledJob(ctx context.Context, schedule, jobType, schema, table string, since time.Time) (jobID string, err error) {
	err = l.pool.QueryRow(ctx, l.expand(`
		SELECT coalesce((SELECT job_id FROM @schema@.job_history
		                 WHERE table_schema = $1 AND table_name = $2 AND created_at >= $3 AND schedule = $4 AND job_type = $5
		                 ORDER BY created_at LIMIT 1), '')`), schema, table, since, schedule, jobType).Scan(&jobID)
	return jobID, wrap("look for the job of a schedule", err)
}
