package config

import (
	"math"
	"net/netip"
	"time"
)

// Node is the configuration of a node's worker. A name in the yaml tag is the key in dea.yml, as dea_ng had it where
// it had it. MB are 1024 * 1024 bytes. Durations are whole or broken seconds in the file, or a text such as "15m".
type Node struct {
	// BaseDir holds all that the node keeps: its id, droplets, workspaces, crashes. Required.
	BaseDir string  `yaml:"base_dir" kind:"path"`
	Logging Logging `yaml:"logging"`
	// Resources are what the node gives out.
	Resources Resources `yaml:"resources"`
	// WardenSocket is the unix socket of the Warden server. Required.
	WardenSocket string `yaml:"warden_socket" kind:"path"`
	// Stacks are the root file systems that the node offers: at least one.
	Stacks     []Stack     `yaml:"stacks"`
	Staging    Staging     `yaml:"staging"`
	Instance   Instance    `yaml:"instance"`
	Droplets   Droplets    `yaml:"droplets"`
	Drains     Drains      `yaml:"drains"`
	BindMounts []BindMount `yaml:"bind_mounts"`
	// Hooks are scripts on the node, by the moment at which they run: HookBeforeStart and its like.
	Hooks               map[string]string   `yaml:"hooks" kind:"path" keys:"before_start,after_start,before_stop,after_stop"`
	Intervals           Intervals           `yaml:"intervals"`
	PlacementProperties PlacementProperties `yaml:"placement_properties"`
	DirectoryServer     DirectoryServer     `yaml:"directory_server"`
	Exec                Exec                `yaml:"exec"`
	// NATSServers are those by which instances are registered with routers: nats:// or tls://, ws:// or wss://, with user
	// and password, or a token, where they ask for it. Without any no routes are registered.
	NATSServers []URL `yaml:"nats_servers"`
	// NATSTLS is for those that speak TLS.
	NATSTLS TLSFiles `yaml:"nats_tls"`
	Router  Router   `yaml:"router"`
	// CCURL is the cloud controller, with basic auth, to which a finished staging is reported. Empty: to nobody.
	CCURL URL `yaml:"cc_url"`
	// CrashLifetime is how long the files of a crashed instance are kept.
	CrashLifetime time.Duration `yaml:"crash_lifetime_secs"`
	// CrashBlockUsageRatio and CrashInodeUsageRatio are how full base_dir's file system may be, above 0 and at most 1,
	// before droplets that nobody uses go, and then the oldest crashes.
	CrashBlockUsageRatio float64 `yaml:"crash_block_usage_ratio_threshold"`
	CrashInodeUsageRatio float64 `yaml:"crash_inode_usage_ratio_threshold"`
	// OnStop is what becomes of the instances when the worker is told to end by TERM or INT: OnStopLeave or OnStopStop.
	OnStop string `yaml:"on_stop"`
	// EvacuationBailOut is when an evacuation stops waiting for its instances to be replaced.
	EvacuationBailOut time.Duration `yaml:"evacuation_bail_out_time_in_seconds"`
	// DefaultHealthCheckTimeout is how long an instance may take to accept connections when its app does not say.
	DefaultHealthCheckTimeout time.Duration `yaml:"default_health_check_timeout"`
	// Index tells the nodes of one deployment apart for people; 0 at least.
	Index int `yaml:"index"`
	// Domain, where it is not empty, has the routers lead <node id>.<domain> to the directory server, whose URLs are made
	// so then.
	Domain string `yaml:"domain"`
	// LocalRoute is the address, without a port, at which the node's instances are reached.
	LocalRoute string `yaml:"local_route"`
	// Runner is the dea-runner program; by default the one beside the worker's own program.
	Runner string `yaml:"runner" kind:"path"`
	// NodeGrace is how long the node may be without a worker before its instances are given up.
	NodeGrace time.Duration `yaml:"node_grace"`
	Telemetry Telemetry     `yaml:"telemetry"`
	Temporal  Temporal      `yaml:"temporal"`
}

// The moments at which a hook runs: keys of Node.Hooks.
const (
	HookBeforeStart = "before_start"
	HookAfterStart  = "after_start"
	HookBeforeStop  = "before_stop"
	HookAfterStop   = "after_stop"
)

// What a worker does with its instances when TERM or INT ends it: values of Node.OnStop.
const (
	// OnStopLeave leaves them running for the next worker.
	OnStopLeave = "leave"
	// OnStopStop stops them first.
	OnStopStop = "stop"
)

// Logging says what is logged, how and where.
type Logging struct {
	// Level is trace, debug, info, warn, error or off.
	Level string `yaml:"level"`
	// Format is text or json.
	Format string `yaml:"format"`
	// File is appended to; empty means standard error.
	File string `yaml:"file" kind:"path"`
}

// Resources are the node's size and how far it is overcommitted. Sizes are 1 at least, factors above 0.
type Resources struct {
	MemoryMB               int64   `yaml:"memory_mb"`
	MemoryOvercommitFactor float64 `yaml:"memory_overcommit_factor"`
	DiskMB                 int64   `yaml:"disk_mb"`
	DiskOvercommitFactor   float64 `yaml:"disk_overcommit_factor"`
}

// CapacityMemoryMB is the memory that may be reserved: the size times the factor, rounded down.
func (r Resources) CapacityMemoryMB() int64 { return capacity(r.MemoryMB, r.MemoryOvercommitFactor) }

// CapacityDiskMB is the disk space that may be reserved: the size times the factor, rounded down.
func (r Resources) CapacityDiskMB() int64 { return capacity(r.DiskMB, r.DiskOvercommitFactor) }

func capacity(mb int64, factor float64) int64 { return int64(math.Floor(float64(mb) * factor)) }

// Stack is a root file system by the name that apps ask for.
type Stack struct {
	Name string `yaml:"name"`
	// PackagePath is the root file system's directory. Empty leaves the choice to Warden.
	PackagePath string `yaml:"package_path" kind:"path"`
}

// Staging limits what a staging takes. Memory and disk are what it gets at least: an app that is larger gets its own.
type Staging struct {
	// Enabled false keeps stagings off this node.
	Enabled        bool  `yaml:"enabled"`
	MemoryLimitMB  int64 `yaml:"memory_limit_mb"`
	DiskLimitMB    int64 `yaml:"disk_limit_mb"`
	DiskInodeLimit int64 `yaml:"disk_inode_limit"`
	CPULimitShares int64 `yaml:"cpu_limit_shares"`
	// MaxStagingDuration ends a staging that takes longer.
	MaxStagingDuration time.Duration `yaml:"max_staging_duration"`
	// CompletionTimeout is how long the outcome of a staging is offered to a cloud controller that does not take it, as one
	// that restarts does.
	CompletionTimeout time.Duration `yaml:"completion_timeout"`
	// BuildpackLifetime is how long an admin buildpack is kept that no request names and no staging uses; 0 is at once.
	BuildpackLifetime time.Duration `yaml:"buildpack_lifetime"`
	// LogLifetime is how long the log of a staging that is over can still be read; 0 is not at all.
	LogLifetime time.Duration `yaml:"log_lifetime"`
	// Limits bound what is taken in; see StagingLimits.
	Limits StagingLimits `yaml:"limits"`
	// Environment is added to that of every staging; it may well hold a password.
	Environment map[string]Secret `yaml:"environment"`
	// BandwidthLimit is nil when there is none.
	BandwidthLimit *BandwidthLimit `yaml:"bandwidth_limit"`
}

// StagingLimits bound what a staging takes in, so that no archive fills a node, a container or the worker's memory. All
// are 1 at least.
type StagingLimits struct {
	// PackageMB bounds an app's package, and a buildpack cache, as it is downloaded.
	PackageMB int64 `yaml:"package_mb"`
	// UnpackedMB and Entries bound what each of them unpacks to; the container's own disk does as well.
	UnpackedMB int64 `yaml:"unpacked_mb"`
	Entries    int64 `yaml:"entries"`
	// BuildpackMB bounds an admin buildpack as it is downloaded, BuildpackUnpackedMB and Entries what it unpacks to.
	BuildpackMB         int64 `yaml:"buildpack_mb"`
	BuildpackUnpackedMB int64 `yaml:"buildpack_unpacked_mb"`
	// LogMB bounds the staging's log.
	LogMB int64 `yaml:"log_mb"`
}

// Instance limits what an instance takes.
type Instance struct {
	DiskInodeLimit int64 `yaml:"disk_inode_limit"`
	// MemoryToCPUShareRatio divides an app's memory in MB into CPU shares, which then stay within Min- and
	// MaxCPUShareLimit.
	MemoryToCPUShareRatio int64 `yaml:"memory_to_cpu_share_ratio"`
	MaxCPUShareLimit      int64 `yaml:"max_cpu_share_limit"`
	MinCPUShareLimit      int64 `yaml:"min_cpu_share_limit"`
	// NProc is the most processes and threads.
	NProc int64 `yaml:"nproc_limit"`
	// LogRate is how many bytes a second an app may say to each of stdout and stderr in the long run, LogBurst how many at
	// once; what is over it is dropped by whole lines, and counted. A LogRate of 0 is no limit; other values are 4096, and
	// those of LogBurst 65536, at least.
	LogRate  int64 `yaml:"log_rate_bytes"`
	LogBurst int64 `yaml:"log_burst_bytes"`
	// BandwidthLimit is nil when there is none.
	BandwidthLimit *BandwidthLimit `yaml:"bandwidth_limit"`
}

// CPUShares are the shares of an instance with so much memory.
func (i Instance) CPUShares(memoryMB int64) int64 {
	return min(max(memoryMB/max(i.MemoryToCPUShareRatio, 1), i.MinCPUShareLimit), i.MaxCPUShareLimit)
}

// Droplets says which droplets the node keeps that no instance on it uses, so that the next instance starts sooner.
type Droplets struct {
	// MaxMB is how much droplets may take, packed, unpacked and as they come: while it is more, those that are not in use go, the least
	// recently used first. 0 keeps none of them. Those in use are kept whatever they take.
	MaxMB int64 `yaml:"max_mb"`
	// MaxDropletMB is how large one may be that is downloaded.
	MaxDropletMB int64 `yaml:"max_droplet_mb"`
	// UnusedLifetime is how long one is kept from when it came or its last instance ended; 0 is not at all.
	UnusedLifetime time.Duration `yaml:"unused_lifetime"`
}

// Drains say how the lines of instances are sent to the syslog drains of their services.
type Drains struct {
	// CAFile has the authorities that are trusted instead of the machine's; PEM.
	CAFile string `yaml:"ca_file" kind:"path"`
	// DeniedNetworks are those, in CIDR notation, to which no drain may lead beside those that are denied by themselves (see
	// drain.Networks), whatever its name resolves to.
	DeniedNetworks []string `yaml:"denied_networks"`
	// AllowedNetworks are those to which drains may lead although they are denied, by themselves or by DeniedNetworks. With
	// 127.0.0.1 or ::1 in one, the machine's own addresses are allowed as well.
	AllowedNetworks []string `yaml:"allowed_networks"`
	// Max is how many drains are sent to at once, from 1 to 100,000, of which one app may have a quarter; further ones wait until
	// another ends.
	Max int64 `yaml:"max"`
	// MaxAge is how long a line may wait for its drain before it is lost, above 0.
	MaxAge time.Duration `yaml:"max_age"`
}

// Denied are the DeniedNetworks, but for those that are none.
func (d Drains) Denied() []netip.Prefix { return networks(d.DeniedNetworks) }

// Allowed are the AllowedNetworks, but for those that are none.
func (d Drains) Allowed() []netip.Prefix { return networks(d.AllowedNetworks) }

func networks(texts []string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		if network, err := netip.ParsePrefix(text); err == nil {
			all = append(all, network)
		}
	}
	return all
}

// BandwidthLimit limits a container's network, both ways.
type BandwidthLimit struct {
	// Rate is in bytes a second, Burst in bytes; both 1 at least.
	Rate  int64 `yaml:"rate"`
	Burst int64 `yaml:"burst"`
}

// BindMount shows a directory of the node in every container.
type BindMount struct {
	SrcPath string `yaml:"src_path" kind:"path"`
	// DstPath is where in the container, absolute; the same as SrcPath when it is not given.
	DstPath string `yaml:"dst_path"`
	// Mode is ro (when it is not given) or rw.
	Mode string `yaml:"mode"`
}

// Intervals are the times between two runs of what the node does again and again.
type Intervals struct {
	// Heartbeat and Advertise are checked and have no effect: Temporal sees to heartbeats, and a worker tells of itself
	// when it begins.
	Heartbeat time.Duration `yaml:"heartbeat"`
	Advertise time.Duration `yaml:"advertise"`
	// RouterRegister is between two registrations of an instance while no router says how often it wants them.
	RouterRegister time.Duration `yaml:"router_register_in_seconds"`
	// DropletGC is between two looks for droplets that are not to be kept; see Droplets.
	DropletGC time.Duration `yaml:"droplet_gc"`
	// OrphanReap is between two looks for containers that nobody owns.
	OrphanReap time.Duration `yaml:"orphan_reap"`
}

// Router says what routers are told of the node's instances, beside where they are.
type Router struct {
	// IsolationSegment has only the routers of that segment take the instances; empty for those of none.
	IsolationSegment string `yaml:"isolation_segment"`
	// Drain is how long an instance that is to stop serves on after its routes were taken back: until every router has
	// heard of it, and begun no request that the instance would refuse. 0 is not at all.
	Drain time.Duration `yaml:"drain"`
}

// TLSFiles says how a server is known that speaks TLS, and what it is shown. All are PEM files, and may be empty.
type TLSFiles struct {
	// CAFile has the authorities that are trusted instead of the machine's.
	CAFile string `yaml:"ca_file" kind:"path"`
	// CertFile and KeyFile are the client's certificate; both or neither.
	CertFile string `yaml:"cert_file" kind:"path"`
	KeyFile  string `yaml:"key_file" kind:"path"`
	// ServerName is expected in the server's certificate instead of the address's host.
	ServerName string `yaml:"server_name"`
}

// PlacementProperties are what placement looks at beside the resources.
type PlacementProperties struct {
	// Zone is the availability zone: an app's instances are spread over the zones.
	Zone string `yaml:"zone"`
}

// DirectoryServer serves the files of instances and stagings.
type DirectoryServer struct {
	// Listen is host:port; port 0 takes a free one.
	Listen string `yaml:"listen"`
	// Protocol is http or https: the scheme in the URLs that are made for the server. It speaks http itself; https is
	// for one that stands behind a proxy.
	Protocol string `yaml:"protocol"`
	// AdvertiseURL is the base of those URLs; empty makes it of Protocol and the address that is listened at.
	AdvertiseURL string `yaml:"advertise_url"`
}

// Exec lets people run commands in instances; see package execserver.
type Exec struct {
	// Listen is host:port, where SSH is spoken; port 0 takes a free one. Empty lets nobody.
	Listen string `yaml:"listen"`
	// AdvertiseAddress is host:port at which clients find it; empty makes it of LocalRoute and the port that is listened at.
	AdvertiseAddress string `yaml:"advertise_address"`
	// AuthorizedKeys is the file of those who are let in, in OpenSSH's form. Required where Listen is set; while it is not
	// there nobody is let in.
	AuthorizedKeys string `yaml:"authorized_keys" kind:"path"`
	// MaxSessions bounds the sessions of the node at one time; 1 at least.
	MaxSessions int64 `yaml:"max_sessions"`
	// IdleTimeout ends a session in which nothing is read or written for so long; 0 ends none.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// MaxDuration ends a session that lasts so long; 0 ends none.
	MaxDuration time.Duration `yaml:"max_duration"`
}

// Telemetry says how the worker is measured from outside.
type Telemetry struct {
	// MetricsListen is host:port at which Prometheus finds the metrics, in clear and for whoever asks; port 0 takes a
	// free one. Empty serves none.
	MetricsListen string `yaml:"metrics_listen"`
}
