package sqlfront

import (
	"context"

	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// audited reports whether runs of a statement are recorded: all but those that only show.
func audited(s parse.Statement) bool { return s.Tag() != "SHOW" && s.Tag() != "EXPLAIN" }

// audit records what became of a statement. It must not hide the outcome, so its own failure is only reported.
func (r *request) audit(ctx context.Context, a actor, jobID, outcome string) {
	if r.reads {
		return
	}
	r.told = true
	entry := AuditEntry{User: a.String(), Statement: r.text, JobID: jobID, Outcome: outcome}
	if err := r.catalog.Audit(context.WithoutCancel(ctx), entry); err != nil {
		r.opt.Logger.Error("audit not written", "user", entry.User, "job", jobID, "outcome", outcome, "error", err)
		r.notice(pgwire.Notice{Code: "01000", Message: "the audit record of this statement could not be written"})
	}
}

// auditError records an error of a statement.
func (r *request) auditError(ctx context.Context, a actor, err error, pos int) {
	if a.user == "" { // PostgreSQL was not even asked who acts
		a = actor{user: r.user, role: r.user}
	}
	r.audit(ctx, a, "", sqlError(err, pos).Code)
}

// auditRest records the error of a statement that nothing was recorded of yet.
func (r *request) auditRest(ctx context.Context, err error) {
	if !r.told {
		r.auditError(ctx, actor{}, err, 0)
	}
}
