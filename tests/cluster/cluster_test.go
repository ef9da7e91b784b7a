package cluster

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	sdk "go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/product"
)

var binary string

func TestMain(m *testing.M) { product.Main(m, &binary) }

// database makes a database with a table of 1000 rows and the rights that `spillway grants` prints.
func database(t *testing.T) *pgtest.DB {
	t.Helper()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.events AS SELECT i AS id, md5(i::text) AS note FROM generate_series(1, 1000) i")
	db.Super(t, product.MustRun(t, binary, nil, "grants", "--for", "app.events", "--database-url", db.SuperURL, "--role", db.Worker, "--reader", db.Owner, "--operators=false"))
	return db
}

// cluster is a Temporal that stands in for one: that of an `up` on a database that nobody else uses.
func cluster(t *testing.T) (address string) {
	t.Helper()
	dir := t.TempDir()
	up := product.Start(t, binary, nil, "up", "--data-dir", dir, "--database-url", database(t).WorkerURL, "--temporal-listen", "127.0.0.1:0",
		"--ui-listen", "127.0.0.1:0", "--sql-listen", "127.0.0.1:0", "--metrics-listen", "")
	up.Ready()
	return product.ReadUp(t, dir).TemporalAddress
}

// namespace makes an empty namespace.
func namespace(t *testing.T, address, name string) {
	t.Helper()
	c, err := sdk.NewNamespaceClient(sdk.Options{HostPort: address})
	must(t, err)
	defer c.Close()
	must(t, c.Register(t.Context(), &workflowservice.RegisterNamespaceRequest{
		Namespace: name, WorkflowExecutionRetentionPeriod: durationpb.New(3 * 24 * time.Hour),
	}))
}

// secured is a gateway that wants certificates of one authority and an API key, with the environment that satisfies it.
type secured struct {
	*gateway
	ca      *authority
	environ map[string]string
}

func newSecured(t *testing.T, upstream string) *secured {
	t.Helper()
	s := &secured{ca: newAuthority(t, "authority of the cluster")}
	serverCert, serverKey := s.ca.issue(t, "temporal.internal")
	pair, err := tls.LoadX509KeyPair(serverCert, serverKey)
	must(t, err)
	s.gateway = newGateway(t, upstream, gate{
		key: "right",
		tls: &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: s.ca.pool(), ClientAuth: tls.RequireAndVerifyClientCert},
	})
	cert, key := s.ca.issue(t, "spillway")
	s.environ = map[string]string{
		"TEMPORAL_ADDRESS": s.address, "TEMPORAL_API_KEY": "right",
		"TEMPORAL_TLS_SERVER_CA_CERT_PATH": s.ca.file, "TEMPORAL_TLS_SERVER_NAME": "temporal.internal",
		"TEMPORAL_TLS_CLIENT_CERT_PATH": cert, "TEMPORAL_TLS_CLIENT_KEY_PATH": key,
	}
	return s
}

// with is the environment with changes; "" leaves a variable out.
func (s *secured) with(changes map[string]string) []string {
	var environ []string
	for name, value := range s.environ {
		if changed, ok := changes[name]; ok {
			value = changed
		}
		if value != "" {
			environ = append(environ, name+"="+value)
		}
	}
	for name, value := range changes {
		if _, ok := s.environ[name]; !ok && value != "" {
			environ = append(environ, name+"="+value)
		}
	}
	return environ
}

// profile is the environment as a profile file of Temporal's tools.
func (s *secured) profile(t *testing.T) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "temporal.toml")
	must(t, os.WriteFile(path, fmt.Appendf(nil, `
[profile.prod]
address = %q
api_key = %q
[profile.prod.tls]
server_ca_cert_path = %q
server_name = %q
client_cert_path = %q
client_key_path = %q
`, s.address, s.key, s.ca.file, s.environ["TEMPORAL_TLS_SERVER_NAME"], s.environ["TEMPORAL_TLS_CLIENT_CERT_PATH"], s.environ["TEMPORAL_TLS_CLIENT_KEY_PATH"]), 0o600))
	return []string{"TEMPORAL_CONFIG_FILE=" + path, "TEMPORAL_PROFILE=prod"}
}

// A51: a front-end and two workers as processes of their own, on a cluster behind TLS with client certificates and an API
// key. One worker has its settings in a profile. The front-end accepts, the workers do.
func TestFrontAndWorkersOnACluster(t *testing.T) {
	t.Parallel()
	s := newSecured(t, cluster(t))
	db := database(t)
	storage := t.TempDir()
	front := product.Start(t, binary, s.with(nil), "front", "--database-url", db.WorkerURL, "--sql-listen", "127.0.0.1:0", "--metrics-listen", "",
		"--temporal-ui-url", "https://ui.test/temporal/")
	line := front.Ready()
	worker := []string{"worker", "--database-url", db.WorkerURL, "--storage", storage, "--slots", "1", "--metrics-listen", ""}
	one := product.Start(t, binary, s.with(nil), worker...)
	two := product.Start(t, binary, s.profile(t), worker...)
	one.Ready()
	two.Ready()
	if n := s.connections(); n < 3 {
		t.Errorf("%d connections were let in, want one of each process", n)
	}

	sqlURL := product.Through(t, db.OwnerURL, line)
	r := product.Run(t, binary, nil, "flush", "app.events", "--wait", "-o", "json", "--sql-url", sqlURL)
	if r.Code != 0 || !strings.Contains(r.Out, `"rows_flushed":1000`) {
		t.Fatalf("flush: exit code %d: %s%s", r.Code, r.Out, r.Err)
	}
	link := product.Run(t, binary, nil, "sql", "-c", "SELECT ui_url FROM system.jobs", "-o", "csv", "--sql-url", sqlURL)
	if !strings.Contains(link.Out, "https://ui.test/temporal/namespaces/default/workflows/") {
		t.Errorf("the job links to %s%s", link.Out, link.Err)
	}
	if n := pgtest.Value[int](t, db, "SELECT count(*)::int FROM app.events"); n != 0 {
		t.Errorf("%d rows are still hot", n)
	}
	doctor := product.Run(t, binary, s.with(nil), "doctor", "-o", "json", "--database-url", db.WorkerURL)
	for _, want := range []string{`"answers at ` + s.address, "keeps finished workflows for 7 days", "default has all "} {
		if !strings.Contains(doctor.Out, want) {
			t.Errorf("doctor does not say %q:\n%s", want, doctor.Out)
		}
	}
	for _, p := range []*product.Process{two, one, front} {
		p.Terminate()
	}
}

// What keeps a process out of a cluster is said with what to do, the same by front and worker.
func TestKeptOut(t *testing.T) {
	t.Parallel()
	temporal := cluster(t)
	s := newSecured(t, temporal)
	strangers := newAuthority(t, "authority of strangers")
	cert, key := strangers.issue(t, "stranger")
	db := database(t)
	for _, c := range []struct {
		name       string
		changes    map[string]string
		says, hint string
	}{
		{"wrong API key", map[string]string{"TEMPORAL_API_KEY": "wrong"}, "does not let us into the namespace", "check TEMPORAL_API_KEY"},
		{"no API key", map[string]string{"TEMPORAL_API_KEY": ""}, "does not let us into the namespace", "check TEMPORAL_API_KEY"},
		{"wrong client certificate", map[string]string{"TEMPORAL_TLS_CLIENT_CERT_PATH": cert, "TEMPORAL_TLS_CLIENT_KEY_PATH": key},
			"cannot be reached", "may want a client certificate"},
		{"no client certificate", map[string]string{"TEMPORAL_TLS_CLIENT_CERT_PATH": "", "TEMPORAL_TLS_CLIENT_KEY_PATH": ""},
			"cannot be reached", "may want a client certificate"},
		{"signed by somebody else", map[string]string{"TEMPORAL_TLS_SERVER_CA_CERT_PATH": strangers.file}, "x509: ", "TEMPORAL_TLS_SERVER_CA_CERT_PATH"},
		{"another name", map[string]string{"TEMPORAL_TLS_SERVER_NAME": "temporal.external"}, "x509: ", "TEMPORAL_TLS_SERVER_NAME"},
		{"no TLS", map[string]string{"TEMPORAL_TLS": "false"}, "cannot be reached", "set TEMPORAL_TLS=true"},
		{"no TLS there", map[string]string{"TEMPORAL_ADDRESS": temporal}, "cannot be reached", "this Temporal speaks no TLS"},
		{"no such namespace", map[string]string{"TEMPORAL_NAMESPACE": "nothing"}, `has no namespace "nothing"`, "temporal operator namespace create --namespace nothing"},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			for _, command := range []string{"front", "worker"} {
				r := start(t, s.with(c.changes), command, db)
				if r.Code != 3 || !strings.Contains(r.Err, c.says) || !strings.Contains(r.Err, "\nhint: ") || !strings.Contains(r.Err, c.hint) {
					t.Errorf("%s: exit code %d: %s", command, r.Code, r.Err)
				}
				if strings.Contains(r.Err, "wrong\"") || strings.Contains(r.Err, "Bearer") {
					t.Errorf("the key is shown: %s", r.Err)
				}
			}
		})
	}
}

// start runs a command that is not to become ready.
func start(t *testing.T, environ []string, command string, db *pgtest.DB) product.Result {
	t.Helper()
	args := []string{command, "--database-url", db.WorkerURL, "--metrics-listen", ""}
	if command == "front" {
		args = append(args, "--sql-listen", "127.0.0.1:0")
	} else {
		args = append(args, "--storage", t.TempDir())
	}
	return product.Run(t, binary, environ, args...)
}

// Search attributes that we may not create are named, with the command for those who may. Once they are there, the rights of
// an operator are not needed, as on a cluster that gives them to nobody.
func TestAttributesOfOthers(t *testing.T) {
	t.Parallel()
	temporal := cluster(t)
	namespace(t, temporal, "theirs")
	const add = "/temporal.api.operatorservice.v1.OperatorService/AddSearchAttributes"
	for name, denied := range map[string][]string{
		"may_list": {add},
		"may_not":  {add, "/temporal.api.workflowservice.v1.WorkflowService/GetSearchAttributes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, temporal, gate{denied: denied})
			environ := []string{"TEMPORAL_ADDRESS=" + g.address, "TEMPORAL_NAMESPACE=theirs"}
			db := database(t)
			command := "temporal operator search-attribute create --namespace theirs --name Spillway"
			for _, process := range []string{"front", "worker"} {
				r := start(t, environ, process, db)
				if r.Code != 1 || !strings.Contains(r.Err, `search attributes missing in the Temporal namespace "theirs": Spillway`) ||
					!strings.Contains(r.Err, "\nhint: let an administrator of the namespace run: "+command) || !strings.Contains(r.Err, " --name SpillwayRows --type Int ") {
					t.Errorf("%s: exit code %d: %s", process, r.Code, r.Err)
				}
			}
			doctor := product.Run(t, binary, environ, "doctor", "-o", "json")
			if !strings.Contains(doctor.Out, "theirs has 0 of ") || !strings.Contains(doctor.Out, command) {
				t.Errorf("doctor:\n%s", doctor.Out)
			}
			// In this namespace all are there.
			worker := product.Start(t, binary, []string{"TEMPORAL_ADDRESS=" + g.address}, "worker", "--database-url", db.WorkerURL,
				"--storage", t.TempDir(), "--metrics-listen", "")
			worker.Ready()
			worker.Terminate()
		})
	}
}
