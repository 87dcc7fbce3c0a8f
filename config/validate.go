package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxSocketPath is what a kernel takes as the name of a unix socket.
	maxSocketPath = 107
	// maxMB bounds sizes, so that they still are a number of bytes, overcommitted too.
	maxMB = 1 << 40
	// maxFactor bounds overcommitting: over this it is a slip.
	maxFactor = 1000
	// maxShares is the kernel's bound of CPU shares.
	maxShares = 262_144
	// minLogRate is in bytes a second, minLogBurst in bytes: the launcher's window; maxLogRate is the most of both.
	minLogRate, minLogBurst, maxLogRate = 4096, 65536, 1 << 40
	// maxKeyword is Temporal's bound of a search attribute of type Keyword: zones and stacks become such.
	maxKeyword = 255
)

// finishNode fills in what depends on other keys.
func (l *loader) finishNode(n *Node) {
	for i := range n.BindMounts {
		m := &n.BindMounts[i]
		m.DstPath = cmp.Or(m.DstPath, m.SrcPath)
		m.Mode = cmp.Or(m.Mode, "ro")
	}
	n.DirectoryServer.AdvertiseURL = strings.TrimSuffix(n.DirectoryServer.AdvertiseURL, "/")
}

// checkNode notes every value that cannot be.
func (l *loader) checkNode(n *Node) {
	l.required("base_dir", n.BaseDir)
	l.required("warden_socket", n.WardenSocket)
	if len(n.WardenSocket) > maxSocketPath {
		l.wrong("warden_socket", nil, "must be at most %d bytes long, the kernel's limit, is %d", maxSocketPath, len(n.WardenSocket))
	}
	l.oneOf("logging.level", n.Logging.Level, "trace", "debug", "info", "warn", "error", "off")
	l.oneOf("logging.format", n.Logging.Format, "text", "json")
	l.checkResources(n)
	l.checkStacks(n.Stacks)
	l.checkStaging(n.Staging)
	l.checkInstance(n.Instance)
	l.within("droplets.max_mb", n.Droplets.MaxMB, 0, maxMB)
	l.within("droplets.max_droplet_mb", n.Droplets.MaxDropletMB, 1, maxMB)
	l.checkDrains(n.Drains)
	l.checkMounts(n.BindMounts)
	for moment, script := range n.Hooks {
		l.regularFile("hooks."+moment, script)
	}
	l.checkTimes(n)
	l.factor("crash_block_usage_ratio_threshold", n.CrashBlockUsageRatio, 1)
	l.factor("crash_inode_usage_ratio_threshold", n.CrashInodeUsageRatio, 1)
	l.checkAddresses(n)
	l.within("index", int64(n.Index), 0, 1<<31-1)
	if l.required("placement_properties.zone", n.PlacementProperties.Zone); len(n.PlacementProperties.Zone) > maxKeyword {
		l.wrong("placement_properties.zone", nil, "must be at most %d bytes long", maxKeyword)
	}
	if l.required("runner", n.Runner); l.given("runner") {
		l.regularFile("runner", n.Runner)
	}
	l.checkTemporal(n.Temporal)
}

// checkClient notes every value that cannot be.
func (l *loader) checkClient(c *Client) {
	l.address("cc_url", c.CloudController.Reveal(), "http", "https")
	l.address("router_url", c.Router.Reveal(), "http", "https")
	l.checkTemporal(c.Temporal)
}

func (l *loader) checkResources(n *Node) {
	l.within("resources.memory_mb", n.Resources.MemoryMB, 1, maxMB)
	l.within("resources.disk_mb", n.Resources.DiskMB, 1, maxMB)
	l.factor("resources.memory_overcommit_factor", n.Resources.MemoryOvercommitFactor, maxFactor)
	l.factor("resources.disk_overcommit_factor", n.Resources.DiskOvercommitFactor, maxFactor)
}

func (l *loader) checkStacks(stacks []Stack) {
	if len(stacks) == 0 {
		l.wrong("stacks", nil, "must have at least one stack")
	}
	seen := make(map[string]bool)
	for i, s := range stacks {
		at := fmt.Sprintf("stacks[%d].name", i)
		l.required(at, s.Name)
		if len(s.Name) > maxKeyword {
			l.wrong(at, nil, "must be at most %d bytes long", maxKeyword)
		}
		if s.Name != "" && seen[s.Name] {
			l.wrong(at, nil, "%q stands in the list already", s.Name)
		}
		seen[s.Name] = true
	}
}

func (l *loader) checkStaging(s Staging) {
	l.within("staging.memory_limit_mb", s.MemoryLimitMB, 1, maxMB)
	l.within("staging.disk_limit_mb", s.DiskLimitMB, 1, maxMB)
	l.within("staging.disk_inode_limit", s.DiskInodeLimit, 1, 1<<40)
	l.within("staging.cpu_limit_shares", s.CPULimitShares, 1, maxShares)
	l.bandwidth("staging.bandwidth_limit", s.BandwidthLimit)
	l.checkStagingLimits(s.Limits)
	name := regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	for key, value := range s.Environment {
		at := "staging.environment." + key
		if !name.MatchString(key) {
			l.wrong(at, nil, "is no name of an environment variable")
		}
		if strings.ContainsRune(value.Reveal(), 0) {
			l.wrong(at, nil, "must not hold a zero byte")
		}
	}
}

func (l *loader) checkStagingLimits(s StagingLimits) {
	// So that they still are a number of bytes.
	const most = 1 << 30
	for at, mb := range map[string]int64{
		"package_mb": s.PackageMB, "unpacked_mb": s.UnpackedMB, "buildpack_mb": s.BuildpackMB,
		"buildpack_unpacked_mb": s.BuildpackUnpackedMB, "log_mb": s.LogMB,
	} {
		l.within("staging.limits."+at, mb, 1, most)
	}
	l.within("staging.limits.entries", s.Entries, 1, 100_000_000)
}

func (l *loader) checkInstance(i Instance) {
	l.within("instance.disk_inode_limit", i.DiskInodeLimit, 1, 1<<40)
	l.within("instance.memory_to_cpu_share_ratio", i.MemoryToCPUShareRatio, 1, maxMB)
	l.within("instance.max_cpu_share_limit", i.MaxCPUShareLimit, 1, maxShares)
	l.within("instance.min_cpu_share_limit", i.MinCPUShareLimit, 1, maxShares)
	if i.MinCPUShareLimit > i.MaxCPUShareLimit {
		l.wrong("instance.min_cpu_share_limit", nil, "must be at most instance.max_cpu_share_limit, which is %d", i.MaxCPUShareLimit)
	}
	l.within("instance.nproc_limit", i.NProc, 1, 1<<22)
	// Below this, what waits for its turn would wait for longer than somebody who reads the log.
	if i.LogRate != 0 && i.LogRate < minLogRate || i.LogRate > maxLogRate {
		l.wrong("instance.log_rate_bytes", nil, "must be 0, for no limit, or from %d to %d, is %d", minLogRate, maxLogRate, i.LogRate)
	}
	l.within("instance.log_burst_bytes", i.LogBurst, minLogBurst, maxLogRate)
	l.bandwidth("instance.bandwidth_limit", i.BandwidthLimit)
}

func (l *loader) bandwidth(at string, limit *BandwidthLimit) {
	if limit == nil {
		return
	}
	for key, value := range map[string]int64{".rate": limit.Rate, ".burst": limit.Burst} {
		if !l.given(at + key) {
			l.wrong(at+key, nil, "is missing")
			continue
		}
		l.within(at+key, value, 1, 1<<50)
	}
}

func (l *loader) checkDrains(d Drains) {
	l.regularFile("drains.ca_file", d.CAFile)
	l.within("drains.max", d.Max, 1, 100_000)
	l.networks("drains.denied_networks", d.DeniedNetworks)
	l.networks("drains.allowed_networks", d.AllowedNetworks)
}

func (l *loader) networks(at string, networks []string) {
	for i, network := range networks {
		// One of IPv4 addresses that are written as IPv6 ones would have none of them in it.
		if prefix, err := netip.ParsePrefix(network); err != nil || prefix.Addr().Is4In6() {
			l.wrong(fmt.Sprintf("%s[%d]", at, i), nil, "must be a network such as 10.0.0.0/8, is %q", network)
		}
	}
}

func (l *loader) checkMounts(mounts []BindMount) {
	for i, m := range mounts {
		at := fmt.Sprintf("bind_mounts[%d]", i)
		l.required(at+".src_path", m.SrcPath)
		if m.DstPath != "" && (!path.IsAbs(m.DstPath) || path.Clean(m.DstPath) != strings.TrimRight(m.DstPath, "/")) {
			l.wrong(at+".dst_path", nil, "must be an absolute path other than / without . and .., is %q", m.DstPath)
		}
		l.oneOf(at+".mode", m.Mode, "ro", "rw")
	}
}

func (l *loader) checkTimes(n *Node) {
	l.oneOf("on_stop", n.OnStop, OnStopLeave, OnStopStop)
	for at, d := range map[string]time.Duration{
		"staging.max_staging_duration":         n.Staging.MaxStagingDuration,
		"staging.completion_timeout":           n.Staging.CompletionTimeout,
		"intervals.heartbeat":                  n.Intervals.Heartbeat,
		"intervals.advertise":                  n.Intervals.Advertise,
		"intervals.router_register_in_seconds": n.Intervals.RouterRegister,
		"intervals.droplet_gc":                 n.Intervals.DropletGC,
		"intervals.orphan_reap":                n.Intervals.OrphanReap,
		"evacuation_bail_out_time_in_seconds":  n.EvacuationBailOut,
		"default_health_check_timeout":         n.DefaultHealthCheckTimeout,
		"node_grace":                           n.NodeGrace,
		"drains.max_age":                       n.Drains.MaxAge,
	} {
		if d <= 0 {
			l.wrong(at, nil, "must be above 0 seconds, is %s", d)
		}
	}
	// A workflow waits for so long at most; see its timeouts.
	for at, bound := range map[string]struct{ value, most time.Duration }{
		"staging.max_staging_duration": {n.Staging.MaxStagingDuration, 24 * time.Hour},
		"staging.completion_timeout":   {n.Staging.CompletionTimeout, 24 * time.Hour},
		"default_health_check_timeout": {n.DefaultHealthCheckTimeout, time.Hour},
		"router.drain":                 {n.Router.Drain, time.Minute},
	} {
		if bound.value > bound.most {
			l.wrong(at, nil, "must be %s at most, is %s", bound.most, bound.value)
		}
	}
	for at, d := range map[string]time.Duration{
		"crash_lifetime_secs":        n.CrashLifetime,
		"staging.buildpack_lifetime": n.Staging.BuildpackLifetime,
		"staging.log_lifetime":       n.Staging.LogLifetime,
		"droplets.unused_lifetime":   n.Droplets.UnusedLifetime,
		"router.drain":               n.Router.Drain,
		"exec.idle_timeout":          n.Exec.IdleTimeout,
		"exec.max_duration":          n.Exec.MaxDuration,
	} {
		if d < 0 {
			l.wrong(at, nil, "must be 0 seconds or more, is %s", d)
		}
	}
}

func (l *loader) checkAddresses(n *Node) {
	l.hostPort("directory_server.listen", n.DirectoryServer.Listen, 0)
	if n.Telemetry.MetricsListen != "" {
		l.hostPort("telemetry.metrics_listen", n.Telemetry.MetricsListen, 0)
	}
	if n.Exec.Listen != "" {
		l.hostPort("exec.listen", n.Exec.Listen, 0)
		l.required("exec.authorized_keys", n.Exec.AuthorizedKeys)
	}
	if n.Exec.AdvertiseAddress != "" {
		l.hostPort("exec.advertise_address", n.Exec.AdvertiseAddress, 1)
	}
	l.within("exec.max_sessions", n.Exec.MaxSessions, 1, 10_000)
	l.oneOf("directory_server.protocol", n.DirectoryServer.Protocol, "http", "https")
	l.address("directory_server.advertise_url", n.DirectoryServer.AdvertiseURL, "http", "https")
	for i, server := range n.NATSServers {
		at := fmt.Sprintf("nats_servers[%d]", i)
		l.required(at, server.Reveal())
		l.address(at, server.Reveal(), "nats", "tls", "ws", "wss")
	}
	l.tlsFiles("nats_tls", n.NATSTLS)
	l.address("cc_url", n.CCURL.Reveal(), "http", "https")
	if n.Domain != "" && !isHostName(n.Domain) {
		l.wrong("domain", nil, "must be a domain's name, is %q", n.Domain)
	}
	if _, err := netip.ParseAddr(n.LocalRoute); err != nil && !isHostName(n.LocalRoute) {
		l.wrong("local_route", nil, "must be an address or a host's name, without a port, is %q", n.LocalRoute)
	}
}

func (l *loader) checkTemporal(t Temporal) {
	l.hostPort("temporal.address", t.Address, 1)
	l.required("temporal.namespace", t.Namespace)
	l.required("temporal.encryption_key_file", t.EncryptionKeyFile)
	l.regularFile("temporal.encryption_key_file", t.EncryptionKeyFile)
	l.tlsFiles("temporal.tls", t.TLS.Files())
}

func (l *loader) tlsFiles(at string, t TLSFiles) {
	l.regularFile(at+".ca_file", t.CAFile)
	l.regularFile(at+".cert_file", t.CertFile)
	l.regularFile(at+".key_file", t.KeyFile)
	if t.CertFile != "" && t.KeyFile == "" {
		l.wrong(at+".key_file", nil, "is missing: cert_file is set, and each needs the other")
	}
	if t.CertFile == "" && t.KeyFile != "" {
		l.wrong(at+".cert_file", nil, "is missing: key_file is set, and each needs the other")
	}
}

func (l *loader) required(at, value string) {
	if value == "" {
		l.wrong(at, nil, "is missing")
	}
}

func (l *loader) within(at string, n, least, most int64) {
	if n < least || n > most {
		l.wrong(at, nil, "must be from %d to %d, is %d", least, most, n)
	}
}

// factor checks a number that is above 0.
func (l *loader) factor(at string, f, most float64) {
	if f <= 0 || f > most {
		l.wrong(at, nil, "must be above 0 and at most %g, is %g", most, f)
	}
}

func (l *loader) oneOf(at, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	hint := ""
	if near := nearest(value, allowed); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", near)
	}
	l.wrong(at, nil, "must be one of %s, is %q%s", strings.Join(allowed, ", "), value, hint)
}

// regularFile checks that a file is there when one is named.
func (l *loader) regularFile(at, name string) {
	if name == "" {
		return
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.wrong(at, err, "there is no file %s", name)
	case err != nil:
		l.wrong(at, err, "%s: %s", name, words(err))
	case !info.Mode().IsRegular():
		l.wrong(at, nil, "%s is no regular file", name)
	}
}

func (l *loader) hostPort(at, value string, leastPort int) {
	_, port, err := net.SplitHostPort(value)
	number, notNumber := strconv.Atoi(port)
	if err != nil || notNumber != nil || number < leastPort || number > 65535 {
		l.wrong(at, nil, "must be host:port with a port from %d to 65535, is %q", leastPort, value)
	}
}

// address checks a URL when there is one. Its words never hold the URL, which may hold a password.
func (l *loader) address(at, value string, schemes ...string) {
	if value == "" {
		return
	}
	u, err := url.Parse(value)
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		l.wrong(at, nil, "must be an address such as %s://host:port, without query", schemes[0])
	}
}

func isHostName(name string) bool {
	return len(name) <= 253 &&
		regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$`).MatchString(name)
}
