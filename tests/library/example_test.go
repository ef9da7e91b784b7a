package library

import (
	"context"
	"fmt"
	"log"
	"os"

	"go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/localjobs"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
)

// connect is what the examples with Temporal begin with. The installation is the name of the database, unless the workers were given another.
func connect(ctx context.Context) (jobs *temporaljobs.Manager, disconnect func()) {
	c, err := client.Dial(client.Options{HostPort: os.Getenv("TEMPORAL_ADDRESS")})
	if err != nil {
		log.Fatal(err)
	}
	jobs, closeAll, err := temporaljobs.Open(ctx, c, os.Getenv("DATABASE_URL"), temporaljobs.Options{Installation: "app"})
	if err != nil {
		log.Fatal(err)
	}
	return jobs, func() { closeAll(); c.Close() }
}

// Start a flush on the workers of an installation, and wait for its end.
func Example() {
	ctx := context.Background()
	jobs, disconnect := connect(ctx)
	defer disconnect()

	started, err := jobs.StartJob(ctx, jobmanager.JobSpec{
		Type: "flush", Table: jobmanager.Table{Namespace: "app", Name: "events"},
		Params:      map[string]string{"where": "(id <= 60000)"},
		RequestedBy: "my-program", Trigger: jobmanager.TriggerCommand,
	})
	if err != nil {
		log.Fatal(err)
	}
	info, err := jobs.WaitJob(ctx, started.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Status, info.RowsFlushed)
	// Output: completed 60000
}

// Watch the jobs that live, and kill one.
func Example_kill() {
	ctx := context.Background()
	jobs, disconnect := connect(ctx)
	defer disconnect()

	// At ten rows a second it would take hours.
	started, err := jobs.StartJob(ctx, jobmanager.JobSpec{
		Type: "flush", Table: jobmanager.Table{Namespace: "app", Name: "clicks"},
		Params:      map[string]string{"max_rows_per_second": "10"},
		RequestedBy: "my-program", Trigger: jobmanager.TriggerCommand,
	})
	if err != nil {
		log.Fatal(err)
	}
	for job, err := range jobs.ListJobs(ctx, jobmanager.JobFilter{}) { // without a filter: those that live
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(job.ID.Table, job.RequestedBy)
	}
	if err := jobs.CancelJob(ctx, started.ID); err != nil {
		log.Fatal(err)
	}
	info, err := jobs.WaitJob(ctx, started.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Status)
	// Output:
	// app.clicks my-program
	// cancelled
}

// Run a flush in this process, without Temporal.
func Example_local() {
	ctx := context.Background()
	jobs, closeAll, err := localjobs.Open(ctx, os.Getenv("DATABASE_URL"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer closeAll()
	defer func() { _ = jobs.Stop(ctx) }()

	started, err := jobs.StartJob(ctx, jobmanager.JobSpec{
		Type: localjobs.FlushType, Table: jobmanager.Table{Namespace: "app", Name: "visits"},
		RequestedBy: "my-program", Trigger: jobmanager.TriggerCommand,
	})
	if err != nil {
		log.Fatal(err)
	}
	info, err := jobs.WaitJob(ctx, started.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Status, info.RowsFlushed)
	// Output: completed 100000
}
