package hot

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Vacuum runs VACUUM on a table. It waits up to a minute for another VACUUM, for whom it waits holds nothing meanwhile and stands in
// no writer's way; an automatic one gives way to it. The session is of no use for chunks afterwards: its limits are others.
func (s *Session) Vacuum(ctx context.Context, schema, table string) error {
	for _, sql := range []string{"SET statement_timeout = 0", "SET lock_timeout = '1min'", "VACUUM " + pgx.Identifier{schema, table}.Sanitize()} {
		if _, err := s.execTag(ctx, sql); err != nil {
			return fmt.Errorf("vacuum %s.%s: %w", schema, table, err)
		}
	}
	return nil
}
