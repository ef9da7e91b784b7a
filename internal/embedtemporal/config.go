package embedtemporal

import (
	"net"
	"strconv"
	"time"

	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/primitives"

	"github.com/spillwaydb/spillway/internal/freeport"
)

const (
	clusterName = "active"
	storeName   = "sqlite"
	// The number of shards is fixed once stored. One process on one SQLite connection gains nothing from more.
	historyShards = 1
)

// ports of the services. All but the frontend's listen on loopback only.
type ports struct {
	frontend, frontendHTTP, history, matching, worker int
}

func pickPorts(host string, frontend int) (ports, error) {
	p := ports{frontend: frontend}
	if frontend == 0 {
		var err error
		if p.frontend, err = freeport.Pick(host); err != nil {
			return p, &PortError{Service: serverService, Addr: net.JoinHostPort(host, "0"), Err: err}
		}
	}
	taken := map[int]bool{p.frontend: true}
	for _, port := range []*int{&p.frontendHTTP, &p.history, &p.matching, &p.worker} {
		for *port == 0 || taken[*port] {
			var err error
			if *port, err = freeport.Pick(loopback); err != nil {
				return p, &PortError{Service: serverService, Addr: net.JoinHostPort(loopback, "0"), Err: err}
			}
		}
		taken[*port] = true
	}
	return p, nil
}

func addr(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// serverConfig is the whole configuration of a single-process server.
func serverConfig(host string, p ports, persistence config.Persistence) *config.Config {
	frontend := addr(dialHost(host), p.frontend)
	disabled := config.ArchivalNamespaceDefaults{
		History:    config.HistoryArchivalNamespaceDefaults{State: "disabled"},
		Visibility: config.VisibilityArchivalNamespaceDefaults{State: "disabled"},
	}
	return &config.Config{
		Global: config.Global{
			Membership: config.Membership{MaxJoinDuration: 10 * time.Second, BroadcastAddress: loopback},
		},
		Persistence: persistence,
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10,
			MasterClusterName:        clusterName,
			CurrentClusterName:       clusterName,
			ClusterInformation: map[string]cluster.ClusterInformation{clusterName: {
				Enabled:                true,
				InitialFailoverVersion: 1,
				RPCAddress:             frontend,
				HTTPAddress:            addr(dialHost(host), p.frontendHTTP),
			}},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		Services: map[string]config.Service{
			"frontend": {RPC: config.RPC{GRPCPort: p.frontend, HTTPPort: p.frontendHTTP, BindOnIP: host}},
			"history":  {RPC: config.RPC{GRPCPort: p.history, BindOnIP: loopback}},
			"matching": {RPC: config.RPC{GRPCPort: p.matching, BindOnIP: loopback}},
			"worker":   {RPC: config.RPC{GRPCPort: p.worker, BindOnIP: loopback}},
		},
		PublicClient: config.PublicClient{HostPort: frontend},
		Archival: config.Archival{
			History:    config.HistoryArchival{State: "disabled"},
			Visibility: config.VisibilityArchival{State: "disabled"},
		},
		NamespaceDefaults: config.NamespaceDefaults{Archival: disabled},
	}
}

// staticHosts spares the services the search for each other.
func staticHosts(host string, p ports) map[primitives.ServiceName]static.Hosts {
	return map[primitives.ServiceName]static.Hosts{
		primitives.FrontendService: static.SingleLocalHost(addr(dialHost(host), p.frontend)),
		primitives.HistoryService:  static.SingleLocalHost(addr(loopback, p.history)),
		primitives.MatchingService: static.SingleLocalHost(addr(loopback, p.matching)),
		primitives.WorkerService:   static.SingleLocalHost(addr(loopback, p.worker)),
	}
}

const (
	fast         = 20_000  // requests a second: more than one machine answers
	eventsCache  = 3 << 20 // bytes at most as they are stored, 1.6 kB for the first event of a job; in memory they take six to seven times as much
	historyCache = 10_000  // workflows at most
	historyTTL   = 5 * time.Minute
)

// dynamicConfig holds what the defaults, made for large clusters, get wrong here.
func dynamicConfig() dynamicconfig.StaticClient {
	return dynamicconfig.StaticClient{
		// A cancelled activity hears of it at once, not with its next heartbeat. Both switches are needed.
		dynamicconfig.EnableCancelActivityWorkerCommand.Key(): true,
		dynamicconfig.WorkerCommandsEnabled.Key():             true,
		// A worker that stops is asked nothing more: its open polls end first. Without it the server may hand a task to a poll
		// that nobody listens to any more, and the chunk is lost until its heartbeat timeout.
		dynamicconfig.EnableCancelWorkerPollsOnShutdown.Key(): true,
		// The default of 10 per second makes lists of jobs wait.
		dynamicconfig.FrontendMaxNamespaceVisibilityRPSPerInstance.Key(): 1000,
		// A list of jobs describes each of them, so a few lists of a thousand in a row would be held up for a second and more.
		dynamicconfig.FrontendRPS.Key():                        fast,
		dynamicconfig.FrontendMaxNamespaceRPSPerInstance.Key(): fast,
		dynamicconfig.HistoryRPS.Key():                         fast,
		// To describe a workflow its first event is read. The default is made for hundreds of shards and holds those of a few
		// hundred workflows of the only one here; others would come from disk each time. One cache for all shards, or each would have its own.
		dynamicconfig.EnableHostLevelEventsCache.Key():       true,
		dynamicconfig.EventsHostLevelCacheMaxSizeBytes.Key(): eventsCache,
		// By default what is known of a workflow is kept until a hundred thousand others took its place: what is older than the limit is
		// only not used any more. So memory would grow with every job.
		dynamicconfig.HistoryCacheTTL.Key():              historyTTL,
		dynamicconfig.HistoryCacheHostLevelMaxSize.Key(): historyCache,
		dynamicconfig.HistoryCacheBackgroundEvict.Key(): dynamicconfig.CacheBackgroundEvictSettings{
			Enabled: true, LoopInterval: time.Minute, MaxEntryPerCall: 1024,
		},
		// This one feeds other clusters, and there are none. It takes no less.
		dynamicconfig.XDCCacheMaxSizeBytes.Key(): 0,
		// There are few history shards, and the queues of each are asked at most 20 times a second by default: every step of
		// a workflow would wait 50 ms for the next.
		dynamicconfig.TransferProcessorMaxPollRPS.Key():   1000,
		dynamicconfig.TimerProcessorMaxPollRPS.Key():      1000,
		dynamicconfig.VisibilityProcessorMaxPollRPS.Key(): 1000,
		// One process has no use for spreading a task queue.
		dynamicconfig.MatchingNumTaskqueueReadPartitions.Key():  1,
		dynamicconfig.MatchingNumTaskqueueWritePartitions.Key(): 1,
	}
}
