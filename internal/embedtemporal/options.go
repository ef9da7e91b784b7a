package embedtemporal

import (
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"
)

const (
	// DefaultNamespace is the namespace when Options names none.
	DefaultNamespace = "default"
	// DefaultRetention is how long closed workflows are kept when Options does not say. The ledger remembers jobs longer.
	DefaultRetention = 7 * 24 * time.Hour
	// LeastRetention is Temporal's own limit.
	LeastRetention = 24 * time.Hour

	loopback     = "127.0.0.1"
	startTimeout = time.Minute
	stopTimeout  = time.Minute
)

// Options say where and how the server runs. The zero value is a server in memory on free loopback ports.
type Options struct {
	// DataDir is the folder of the store, made if absent. "" means memory.
	DataDir string
	// Store is a store in PostgreSQL, instead of DataDir. It stays with the caller: a stopped server leaves it open.
	Store *Postgres
	// Host is the IP address to listen on; "" and "localhost" mean 127.0.0.1.
	Host string
	// Port of the server (gRPC) and UIPort of the Web UI; 0 means a free one.
	Port, UIPort int
	// NoUI leaves the Web UI out.
	NoUI bool
	// Namespace is made if absent. "" means DefaultNamespace.
	Namespace string
	// Retention of closed workflows, set at every start; at least a day, which is Temporal's own limit. 0 means
	// DefaultRetention.
	Retention time.Duration
	// Logger gets the server's own messages from LogLevel on; nil means slog.Default.
	Logger *slog.Logger
	// LogLevel is the lowest level of the server's messages that are logged; nil means errors only.
	LogLevel slog.Leveler
}

// withDefaults checks the options and fills them in.
func (o *Options) withDefaults() (*Options, error) {
	var opt Options
	if o != nil {
		opt = *o
	}
	if opt.Namespace == "" {
		opt.Namespace = DefaultNamespace
	}
	if opt.Retention == 0 {
		opt.Retention = DefaultRetention
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	if opt.LogLevel == nil {
		opt.LogLevel = slog.LevelError
	}
	if opt.Host == "" || opt.Host == "localhost" {
		opt.Host = loopback
	}
	if opt.DataDir != "" {
		dir, err := filepath.Abs(opt.DataDir)
		if err != nil {
			return nil, fmt.Errorf("data directory of Temporal: %w", err)
		}
		opt.DataDir = dir
	}
	return &opt, opt.check()
}

func (o *Options) check() error {
	switch {
	case net.ParseIP(o.Host) == nil:
		return fmt.Errorf("host %q of Temporal is no IP address", o.Host)
	case o.Port < 0 || o.Port > 65535:
		return fmt.Errorf("port %d of Temporal is out of range", o.Port)
	case o.UIPort < 0 || o.UIPort > 65535:
		return fmt.Errorf("port %d of the Temporal Web UI is out of range", o.UIPort)
	case o.UIPort != 0 && o.UIPort == o.Port && !o.NoUI:
		return fmt.Errorf("port %d cannot serve both Temporal and its Web UI", o.Port)
	case o.Retention < LeastRetention:
		return fmt.Errorf("retention %s of Temporal is shorter than %s", o.Retention, LeastRetention)
	}
	return nil
}

// dialHost is where a client in this process finds a server that listens on host.
func dialHost(host string) string {
	ip := net.ParseIP(host)
	switch {
	case !ip.IsUnspecified():
		return host
	case ip.To4() != nil:
		return loopback
	default:
		return "::1"
	}
}
