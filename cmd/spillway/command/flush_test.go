package command

import "testing"

// A list in --with is SQL as it stands; any other value is a constant.
func TestFlushStatementOfLists(t *testing.T) {
	t.Parallel()
	o := flushOptions{with: []string{"partition_by=(tenant_id, day(at))", "path={namespace}/{table}", "order_by = (at DESC)", "codec=snappy"}}
	got, err := o.statement([]string{"app.events"})
	want := `FLUSH TABLE app.events WITH (partition_by = (tenant_id, day(at)), path = '{namespace}/{table}', order_by = (at DESC), codec = 'snappy')`
	if err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}
