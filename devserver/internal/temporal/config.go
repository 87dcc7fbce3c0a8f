package temporal

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/primitives"

	settings "github.com/durable-dea/dea/deploy/temporal"
)

const (
	clusterName = "active"
	storeName   = "sqlite"
	loopback    = "127.0.0.1"
	// shards cannot be changed for an existing database.
	shards = 4
)

// Ports are where the server's parts listen, all on 127.0.0.1. All are required.
type Ports struct {
	// Frontend is the gRPC address for clients, HTTP the same API over HTTP.
	Frontend, HTTP int
	// History, Matching and Worker are spoken to by the server itself only.
	History, Matching, Worker int
}

func (p Ports) services() map[primitives.ServiceName]int {
	return map[primitives.ServiceName]int{
		primitives.FrontendService: p.Frontend,
		primitives.HistoryService:  p.History,
		primitives.MatchingService: p.Matching,
		primitives.WorkerService:   p.Worker,
	}
}

func (p Ports) hosts() map[primitives.ServiceName]static.Hosts {
	hosts := make(map[primitives.ServiceName]static.Hosts)
	for name, port := range p.services() {
		hosts[name] = static.SingleLocalHost(address(port))
	}
	return hosts
}

func address(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

// serverConfig describes one server with all services in this process.
func serverConfig(options Options) *config.Config {
	ports := options.Ports
	services := make(map[string]config.Service)
	for name, port := range ports.services() {
		services[string(name)] = config.Service{RPC: config.RPC{GRPCPort: port, BindOnIP: loopback}}
	}
	frontend := services[string(primitives.FrontendService)]
	frontend.RPC.HTTPPort = ports.HTTP
	services[string(primitives.FrontendService)] = frontend

	var shown *metrics.Config
	if options.Metrics != "" {
		shown = &metrics.Config{Prometheus: &metrics.PrometheusConfig{
			Framework: metrics.FrameworkOpentelemetry, ListenAddress: options.Metrics,
		}}
	}
	return &config.Config{
		Global: config.Global{
			Metrics:    shown,
			Membership: config.Membership{MaxJoinDuration: 30 * time.Second, BroadcastAddress: loopback},
		},
		Persistence: config.Persistence{
			DefaultStore:     storeName,
			VisibilityStore:  storeName,
			NumHistoryShards: shards,
			DataStores:       map[string]config.DataStore{storeName: {SQL: connection(options.File)}},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10,
			MasterClusterName:        clusterName,
			CurrentClusterName:       clusterName,
			ClusterInformation: map[string]cluster.ClusterInformation{clusterName: {
				Enabled:                true,
				InitialFailoverVersion: 1,
				RPCAddress:             address(ports.Frontend),
				HTTPAddress:            address(ports.HTTP),
			}},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		Services:            services,
		Archival: config.Archival{
			History:    config.HistoryArchival{State: config.ArchivalDisabled},
			Visibility: config.VisibilityArchival{State: config.ArchivalDisabled},
		},
		NamespaceDefaults: config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
			History:    config.HistoryArchivalNamespaceDefaults{State: config.ArchivalDisabled},
			Visibility: config.VisibilityArchivalNamespaceDefaults{State: config.ArchivalDisabled},
		}},
		PublicClient: config.PublicClient{HostPort: address(ports.Frontend)},
	}
}

// dynamicConfig reads our settings. A key that this version of the server does not know is an error here, where the
// server itself would only warn: it would silently bring the slow default back.
func dynamicConfig() (dynamicconfig.Client, error) {
	loaded := dynamicconfig.LoadYamlFile(settings.DynamicConfig())
	if err := errors.Join(append(loaded.Errors, loaded.Warnings...)...); err != nil {
		return nil, fmt.Errorf("dynamic configuration: %w", err)
	}
	values := make(dynamicconfig.StaticClient, len(loaded.Map))
	for key, constrained := range loaded.Map {
		values[key] = constrained
	}
	return values, nil
}
