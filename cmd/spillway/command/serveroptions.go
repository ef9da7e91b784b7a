package command

import (
	"io"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spillwaydb/spillway/internal/cli/datadir"
	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/embedtemporal"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/telemetry"
)

// serverOptions are the settings of processes that serve: up, worker, front; doctor looks at the same ones.
type serverOptions struct {
	databaseURL         string
	dataDir             string
	storage             string
	installation        string
	ledgerSchema        string
	systemSchema        string
	temporalAddress     string
	temporalNamespace   string
	temporalUI          string
	temporalStore       string
	temporalStoreSchema string
	temporalStoreShards int
	temporalRetention   time.Duration
	retention           time.Duration
	sqlListen           string
	sqlCert, sqlKey     string
	predicateFunctions  []string
	temporalListen      string
	uiListen            string
	metricsListen       string
	pprof               bool
	otlpEndpoint        string
	role                string // the command's name
	slots               int
	attempts            int
	heartbeat           time.Duration
	shutdownTimeout     time.Duration
	flushOnShutdown     bool
	policyTick          time.Duration
	policyBackoff       time.Duration
	logLevel            string
	logFormat           string

	listens []listenFlag // of the addresses above, those that the command has flags for
}

// listenFlag is a flag that takes the address of a listener.
type listenFlag struct {
	flag     *pflag.Flag
	optional bool // "" means: do not listen
}

// The default addresses of /metrics. They differ, so that up, front and worker fit on one machine, and each is found.
const (
	upMetrics     = "127.0.0.1:9464"
	frontMetrics  = "127.0.0.1:9465"
	workerMetrics = "127.0.0.1:9466"
)

// databaseFlags belong to every process that touches the database.
func (o *serverOptions) databaseFlags(cmd *cobra.Command, database string) {
	f := cmd.Flags()
	f.StringVar(&o.databaseURL, "database-url", "", "the database to serve, postgres://spillway@host/database, as the worker's role"+database)
	f.StringVar(&o.installation, "installation", "", "name of this installation in Temporal (default: the database's name)")
	f.StringVar(&o.ledgerSchema, "ledger-schema", ledger.DefaultSchema, "schema of the ledger")
	f.StringVar(&o.systemSchema, "system-schema", ledger.DefaultSystemSchema, "schema of the views that people read")
}

func (o *serverOptions) storageFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.storage, "storage", "", "where segments go: a directory, or a bucket as s3://bucket/prefix?region=…, gs://…, az://… (default: the ledger's; the first time <data-dir>/segments)")
}

func (o *serverOptions) dataDirFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.dataDir, "data-dir", datadir.Default, "directory of everything that is kept beside the database")
}

func (o *serverOptions) temporalFlags(cmd *cobra.Command, address string) {
	f := cmd.Flags()
	f.StringVar(&o.temporalAddress, "temporal-address", "", "host:port of a Temporal cluster"+address)
	f.StringVar(&o.temporalNamespace, "temporal-namespace", "", "namespace in Temporal (default: default)")
	f.StringVar(&o.temporalUI, "temporal-ui-url", "", "address of that cluster's Web UI, to which jobs link: https://temporal.example.com (default: no links)")
}

func (o *serverOptions) frontFlag(cmd *cobra.Command) {
	o.listenFlag(cmd, &o.sqlListen, "sql-listen", "127.0.0.1:7432", "address of the SQL front-end")
	f := cmd.Flags()
	f.StringVar(&o.sqlCert, "sql-tls-cert", "", "certificate (PEM, with its chain) by which the SQL front-end offers TLS; read again when the file changes")
	f.StringVar(&o.sqlKey, "sql-tls-key", "", "private key (PEM) of --sql-tls-cert")
	f.StringArrayVar(&o.predicateFunctions, "predicate-functions", nil,
		"a function, schema.name(types), that WHERE of a FLUSH may call; it runs with the worker's rights, see docs/sql.md (may be repeated)")
	f.IntVar(&o.attempts, "attempts", 10, "how often a step of a job is tried before the job fails")
	f.DurationVar(&o.heartbeat, "heartbeat-timeout", 10*time.Second, "silence after which a worker counts as lost and its chunks go to another")
}

func (o *serverOptions) workerFlags(cmd *cobra.Command) {
	cmd.Flags().IntVar(&o.slots, "slots", 4, "chunks that this process moves at once")
}

// temporalStoreFlags say where a Temporal of the process's own keeps its state. The URL may hold a password, so that it is
// never shown.
func (o *serverOptions) temporalStoreFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.temporalStore, "temporal-store", "sqlite", "where the embedded Temporal keeps its state: sqlite (in the data directory), or postgres://user@host/database, where a second 'up' is a standby")
	f.StringVar(&o.temporalStoreSchema, "temporal-store-schema", embedtemporal.DefaultSchema, "schema of Temporal's tables in that database; a second one has the same name with _visibility")
	f.IntVar(&o.temporalStoreShards, "temporal-store-shards", 0, "history shards of a store in PostgreSQL, fixed when it is made (default: as stored; a new one has 4)")
}

func (o *serverOptions) temporalRetentionFlag(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&o.temporalRetention, "temporal-retention", embedtemporal.DefaultRetention, "how long the embedded Temporal keeps the histories of finished workflows, 24h or more")
}

// retentionFlag belongs to every process that lists or ends jobs.
func (o *serverOptions) retentionFlag(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&o.retention, "retention", defaultRetention, "how long finished jobs stay in system.jobs")
}

const (
	defaultRetention = 30 * 24 * time.Hour
	leastRetention   = time.Second
)

// temporalListenFlags belong to a process that may run a Temporal of its own.
func (o *serverOptions) temporalListenFlags(cmd *cobra.Command) {
	o.listenFlag(cmd, &o.temporalListen, "temporal-listen", "127.0.0.1:7233", "address of the embedded Temporal")
	o.listenFlag(cmd, &o.uiListen, "ui-listen", "127.0.0.1:8233", "address of the Temporal Web UI")
}

func (o *serverOptions) runFlags(cmd *cobra.Command, metrics string) {
	f := cmd.Flags()
	f.StringVar(&o.metricsListen, metricsFlag, metrics, "address of /metrics, /healthz and /readyz; where the default is taken, a free port instead; empty: none")
	o.listens = append(o.listens, listenFlag{flag: f.Lookup(metricsFlag), optional: true})
	f.BoolVar(&o.pprof, "pprof", false, "serve Go's profiles under /debug/pprof/ at the address of /metrics")
	f.StringVar(&o.otlpEndpoint, "otlp-endpoint", "", "where traces go, by OpenTelemetry's protocol: http://host:4317, https://host:4317 (default: OTEL_EXPORTER_OTLP_ENDPOINT; without it none)")
	o.role = cmd.Name()
	f.DurationVar(&o.shutdownTimeout, "shutdown-timeout", 5*time.Minute, "how long a graceful stop waits for running chunks")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
}

const metricsFlag = "metrics-listen"

// listenFlag adds the flag of a listener that the process cannot do without.
func (o *serverOptions) listenFlag(cmd *cobra.Command, to *string, name, address, usage string) {
	cmd.Flags().StringVar(to, name, address, usage)
	o.listens = append(o.listens, listenFlag{flag: cmd.Flags().Lookup(name)})
}

// metricsChosen reports whether somebody chose the address of /metrics, and did not just leave the default.
func (o *serverOptions) metricsChosen() bool {
	for _, l := range o.listens {
		if l.flag.Name == metricsFlag {
			return l.flag.Changed
		}
	}
	return true
}

// logger builds the process's logger.
func (o *serverOptions) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, fail.Usagef("--log-level %s: expected debug, info, warn or error", o.logLevel)
	}
	h := &slog.HandlerOptions{Level: level}
	switch o.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, h)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, h)), nil
	}
	return nil, fail.Usagef("--log-format %s: expected text or json", o.logFormat)
}

// check refuses what this version cannot do and what makes no sense, before anything is started.
func (o *serverOptions) check() error {
	if err := o.checkStore(); err != nil {
		return err
	}
	if err := checkUI(o.temporalUI); err != nil {
		return err
	}
	if (o.sqlCert == "") != (o.sqlKey == "") {
		return fail.Usagef("--sql-tls-cert and --sql-tls-key go together: only one of them is set")
	}
	if err := checkFunctions(o.predicateFunctions); err != nil {
		return err
	}
	if o.retention < leastRetention {
		return fail.Usagef("--retention %s: expected %s or more", o.retention, leastRetention)
	}
	if o.temporalRetention != 0 && o.temporalRetention < embedtemporal.LeastRetention {
		return fail.Usagef("--temporal-retention %s: expected 24h or more, which is Temporal's own limit", o.temporalRetention)
	}
	if o.slots < 1 {
		return fail.Usagef("--slots %d: expected 1 or more", o.slots)
	}
	if o.shutdownTimeout <= 0 {
		return fail.Usagef("--shutdown-timeout %s: expected more than 0", o.shutdownTimeout)
	}
	if err := o.checkPolicies(); err != nil {
		return err
	}
	if o.otlpEndpoint != "" {
		if err := telemetry.CheckEndpoint(o.otlpEndpoint); err != nil {
			return fail.Usagef("--otlp-endpoint: %v", err) // it may hold a password, and is not shown
		}
	}
	if o.pprof && o.metricsListen == "" {
		return fail.Usagef("--pprof needs an address to serve at, and --metrics-listen is empty")
	}
	return o.checkListens()
}

// checkStore refuses a store that cannot be, without showing a URL that may hold a password.
func (o *serverOptions) checkStore() error {
	switch {
	case !o.inPostgres():
		return nil
	case !strings.HasPrefix(o.temporalStore, "postgres://") && !strings.HasPrefix(o.temporalStore, "postgresql://"):
		return &fail.Usage{Msg: "--temporal-store: expected sqlite or a postgres:// URL", Todo: "the form is postgres://user@host:5432/database"}
	case o.databaseURL == "":
		return &fail.Usage{Msg: "--temporal-store in PostgreSQL needs --database-url: a private PostgreSQL belongs to one process, and could not be taken over",
			Todo: "name the database to serve, or leave --temporal-store out"}
	}
	opt := o.storeOptions("")
	if err := opt.Check(); err != nil {
		return &fail.Usage{Msg: err.Error(), Todo: hintOf(err)}
	}
	return nil
}

// checkListens refuses addresses on which nobody could listen, whatever else runs on this machine.
func (o *serverOptions) checkListens() error {
	for _, l := range o.listens {
		address := l.flag.Value.String()
		if l.optional && address == "" {
			continue
		}
		if _, _, err := hostPort(l.flag.Name, address); err != nil {
			return err
		}
	}
	return nil
}

// checkUI refuses an address that no job could link to.
func checkUI(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fail.Usagef("--temporal-ui-url %q: expected http://host or https://host, with a path if there is one", address)
	}
	return nil
}
