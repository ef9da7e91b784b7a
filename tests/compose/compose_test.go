package compose

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/freeport"
	"github.com/spillwaydb/spillway/tests/product"
	"github.com/spillwaydb/spillway/workflows"
)

var binary string

func TestMain(m *testing.M) { product.Main(m, &binary) }

// load reads the file with no variable set, as on a fresh machine.
func load(t *testing.T) *types.Project {
	t.Helper()
	p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  product.Root(),
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(product.Root(), "docker-compose.yml")}},
		Environment: types.Mapping{},
	})
	must(t, err)
	return p
}

// The file is a valid one, and every service has what it needs to be run unattended.
func TestFile(t *testing.T) {
	t.Parallel()
	p := load(t)
	for _, name := range []string{"postgres", "temporal-schema", "temporal", "temporal-namespace", "temporal-ui", "s3", "front", "worker", "prometheus", "grafana"} {
		if _, ok := p.Services[name]; !ok {
			t.Errorf("no service %s", name)
		}
	}
	pinned := regexp.MustCompile(`:v?\d+\.\d+(\.\d+)?(-\w+)?$`)
	for name, s := range p.Services {
		if s.Build == nil && !pinned.MatchString(s.Image) {
			t.Errorf("%s: the image %s is not pinned to a version", name, s.Image)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to other machines", name, port.Published)
			}
		}
		for on, d := range s.DependsOn {
			if d.Condition == types.ServiceConditionHealthy && p.Services[on].HealthCheck == nil {
				t.Errorf("%s waits for the health of %s, which has no healthcheck", name, on)
			}
		}
		for variable, value := range s.Environment {
			secret := strings.HasSuffix(variable, "PASSWORD") || strings.HasSuffix(variable, "PWD")
			if secret && (value == nil || !strings.HasPrefix(*value, "dev-only-")) {
				t.Errorf("%s: the default of %s is not marked as one for trying", name, variable)
			}
		}
	}
	for _, name := range []string{"postgres", "temporal", "front", "worker"} {
		if h := p.Services[name].HealthCheck; h == nil || h.Disable || len(h.Test) < 2 {
			t.Errorf("%s has no healthcheck", name)
		}
	}
	for _, name := range []string{"front", "worker"} {
		s := p.Services[name]
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || s.User != "" {
			t.Errorf("%s may do more than it needs", name)
		}
	}
	if r := p.Services["worker"].Deploy.Replicas; r == nil || *r != 2 {
		t.Errorf("%v workers, want 2", r)
	}
	for volume, mounts := range map[string][2]string{"postgres": {"postgres", "/var/lib/postgresql/data"}, "segments": {"worker", "/segments"}} {
		if _, ok := p.Volumes[volume]; !ok {
			t.Errorf("no named volume %s", volume)
		}
		if !slices.ContainsFunc(p.Services[mounts[0]].Volumes, func(v types.ServiceVolumeConfig) bool {
			return v.Type == types.VolumeTypeVolume && v.Source == volume && v.Target == mounts[1]
		}) {
			t.Errorf("%s does not mount the volume %s on %s", mounts[0], volume, mounts[1])
		}
	}
	for _, s := range p.Services {
		for _, v := range s.Volumes {
			if _, err := os.Stat(v.Source); v.Type == types.VolumeTypeBind && err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
		}
	}
}

// The image: the toolchain that go.mod asks for, a static binary, nobody is root, the file's commands are its binary.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	text := read(t, "Dockerfile")
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(read(t, "go.mod"))[1]
	for _, want := range []string{
		"FROM golang:" + version + "-", "\nFROM scratch\n", "CGO_ENABLED=0 go build ", "\nUSER 65532:65532\n", "\nENTRYPOINT [\"/spillway\"]\n",
		" --chown=65532:65532 /out/own/ /", "/out/own/segments",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the Dockerfile lacks %q", want)
		}
	}
	// Only the standard library may bring C along: it has the same in Go.
	list := exec.Command("go", "list", "-deps", "-f", "{{if .CgoFiles}}{{if not .Standard}}{{.ImportPath}}{{end}}{{end}}", "./cmd/spillway")
	list.Dir = product.Root()
	out, err := list.Output()
	if found := strings.TrimSpace(string(out)); err != nil || found != "" {
		t.Errorf("packages that need C: %q, %v", found, err)
	}
	ignored := strings.Fields(read(t, ".dockerignore"))
	for _, want := range []string{".git", "bin", "spillway-data"} {
		if !slices.Contains(ignored, want) {
			t.Errorf(".dockerignore lets %s into the image's build", want)
		}
	}
}

// The worker's rights are those that `spillway grants` prints, word for word.
func TestWorkerScriptIsWhatGrantsPrints(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	r := product.Run(t, binary, nil, "grants", "--for", "app.events", "--reader", "app", "--database-url", s.superURL)
	if want := read(t, "deploy/compose/postgres/20-worker.sql"); r.Code != 0 || r.Out != want {
		t.Errorf("exit code %d: %s\ndeploy/compose/postgres/20-worker.sql should be\n%s", r.Code, r.Err, r.Out)
	}
}

// stack is a PostgreSQL that the file's scripts have prepared, and a Temporal.
type stack struct {
	project  *types.Project
	postgres string // host:port
	temporal string
	superURL string // of the database app
}

// newStack prepares a PostgreSQL as the image's entry point does: the database, then the scripts in the order of their names.
func newStack(t *testing.T) *stack {
	t.Helper()
	psql, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("psql is not installed")
	}
	s := &stack{project: load(t)}
	srv := pgtest.Own(t, nil)
	service := s.project.Services["postgres"]
	database := *service.Environment["POSTGRES_DB"]
	s.superURL = srv.SuperURL(database)
	u, err := url.Parse(s.superURL)
	must(t, err)
	s.postgres = u.Host
	environ := append(os.Environ(), "PGCONNECT_TIMEOUT=10")
	for name, value := range service.Environment {
		environ = append(environ, name+"="+*value)
	}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), psql, append([]string{"-X", "-w", "-v", "ON_ERROR_STOP=1", "--no-psqlrc"}, args...)...)
		cmd.Env = environ
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("psql %q: %v\n%s", args, err, out)
		}
	}
	run("-d", srv.SuperURL("postgres"), "-c", "CREATE DATABASE "+database)
	scripts, err := filepath.Glob(filepath.Join(product.Root(), "deploy/compose/postgres/*.sql"))
	must(t, err)
	if len(scripts) < 4 {
		t.Fatalf("only %d scripts", len(scripts))
	}
	for _, script := range scripts { // sorted
		run("-d", s.superURL, "-f", script)
	}
	return s
}

// startTemporal runs a Temporal that stands in for the image's.
func (s *stack) startTemporal(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	up := product.Start(t, binary, nil, "up", "--data-dir", dir, "--database-url", pgtest.Database(t).WorkerURL, "--temporal-listen", "127.0.0.1:0",
		"--ui-listen", "127.0.0.1:0", "--sql-listen", "127.0.0.1:0", "--metrics-listen", "")
	up.Ready()
	s.temporal = product.ReadUp(t, dir).TemporalAddress
}

// container is a service that runs as a process.
type container struct {
	*product.Process
	t       *testing.T
	service types.ServiceConfig
	environ []string
	ports   map[string]string // where the process listens for what the file says
}

// start runs a service's command with its environment. Other machines' addresses lead to the stand-ins, listeners take free
// ports, and the mounted volume is a folder.
func (s *stack) start(t *testing.T, name, segments string) *container {
	t.Helper()
	c := &container{t: t, service: s.project.Services[name], ports: map[string]string{}}
	listener := regexp.MustCompile(`^0\.0\.0\.0:(\d+)$`)
	for variable, value := range c.service.Environment {
		text := strings.NewReplacer("postgres:5432", s.postgres, "temporal:7233", s.temporal).Replace(*value)
		if m := listener.FindStringSubmatch(text); m != nil {
			port, err := freeport.Pick("127.0.0.1")
			must(t, err)
			c.ports[m[1]] = net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
			text = c.ports[m[1]]
		}
		if text == "/segments" {
			text = segments
		}
		c.environ = append(c.environ, variable+"="+text)
	}
	c.Process = product.Start(t, binary, c.environ, c.service.Command...)
	return c
}

// healthy runs the service's healthcheck, word for word but for where the binary is.
func (c *container) healthy() {
	c.t.Helper()
	test := c.service.HealthCheck.Test
	if test[0] != "CMD" || test[1] != "/spillway" {
		c.t.Fatalf("healthcheck %q", test)
	}
	if r := product.Run(c.t, binary, c.environ, test[2:]...); r.Code != 0 || r.Out != "ready\n" {
		c.t.Errorf("healthcheck of %s: exit code %d: %s%s", c.service.Name, r.Code, r.Out, r.Err)
	}
}

// A51: what docker-compose.yml starts works together: the front-end accepts a flush of the table that the scripts made, both
// workers are connected, and the rows are in the volume.
func TestServicesWorkTogether(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.startTemporal(t)
	segments := t.TempDir()
	front := s.start(t, "front", segments)
	front.Ready()
	var workers []*container
	for range *s.project.Services["worker"].Deploy.Replicas {
		workers = append(workers, s.start(t, "worker", segments))
	}
	for _, w := range workers {
		w.Ready()
		w.healthy()
	}
	front.healthy()

	password := *s.project.Services["postgres"].Environment["APP_PASSWORD"]
	u := url.URL{Scheme: "postgres", User: url.UserPassword("app", password), Host: front.ports["7432"], Path: "/app", RawQuery: "sslmode=disable"}
	run := func(args ...string) string {
		t.Helper()
		return product.MustRun(t, binary, nil, append(args, "--sql-url", u.String())...)
	}
	out := run("flush", "app.events", "--where", "id <= 90000", "--with", "chunk_bytes=64kB", "--wait", "-o", "json")
	if !strings.Contains(out, `"rows_flushed":90000`) {
		t.Errorf("flush: %s", out)
	}
	if out := run("sql", "-c", "SELECT count(*) AS hot FROM app.events", "-o", "json"); out != `{"hot":10000}`+"\n" {
		t.Errorf("hot rows: %s", out)
	}
	files, err := filepath.Glob(filepath.Join(segments, "app", "events", "*.parquet"))
	if err != nil || len(files) == 0 {
		t.Errorf("no segment in the volume: %v", err)
	}
	s.connected(t, workers)
	for _, c := range append(workers, front) {
		c.Terminate()
	}
}

// connected waits until each worker asks Temporal for work.
func (s *stack) connected(t *testing.T, workers []*container) {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: s.temporal, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	must(t, err)
	defer c.Close()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		found, err := c.DescribeTaskQueue(t.Context(), workflows.TaskQueue("app"), enumspb.TASK_QUEUE_TYPE_ACTIVITY)
		must(t, err)
		asking := 0
		for _, w := range workers {
			if slices.ContainsFunc(found.GetPollers(), func(p *taskqueue.PollerInfo) bool {
				return strings.HasPrefix(p.GetIdentity(), fmt.Sprint(w.PID())+"@")
			}) {
				asking++
			}
		}
		if asking == len(workers) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d of %d workers ask for work: %v", asking, len(workers), found.GetPollers())
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(product.Root(), path))
	must(t, err)
	return string(text)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
