package command

import "testing"

func TestPolicyStatement(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		o    policyOptions
		want string // "": an error
	}{
		{policyOptions{interval: "1 hour", rows: 5, bytes: "1GB", minRows: 2, olderThan: "7 days", ageColumn: `"At"`, keepRows: 9, where: "kind = 'x'", storage: "Old ones",
			partitionBy: []string{"tenant", "month(at)"}, with: []string{"codec=zstd", "order_by=(a DESC)"}, paused: true},
			`ALTER TABLE app.t SET FLUSH POLICY (interval = '1 hour', rows = 5, bytes = '1GB', min_rows = 2, older_than = '7 days', age_column = "At", keep_rows = 9, ` +
				`where = 'kind = ''x''', storage = "Old ones", partition_by = (tenant, month(at)), paused = true, codec = 'zstd', order_by = (a DESC))`},
		{policyOptions{rows: -1}, "ALTER TABLE app.t SET FLUSH POLICY (rows = -1)"},
		{policyOptions{where: `a = '\'`, rows: 1}, `ALTER TABLE app.t SET FLUSH POLICY (rows = 1, where = E'a = ''\\''')`},
		{policyOptions{}, ""},
		{policyOptions{with: []string{"codec"}}, ""},
	} {
		if got, err := c.o.statement("app.t"); got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%+v:\n%s, %v, not\n%s", c.o, got, err, c.want)
		}
	}
}
