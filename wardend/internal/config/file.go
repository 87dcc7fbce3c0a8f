package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// file is the original's configuration. What it has no meaning for is named in other, so that an original file can be
// used as it is and a slip of the pen is still found.
type file struct {
	Server  *serverSection  `yaml:"server"`
	Logging *loggingSection `yaml:"logging"`
	Network *networkSection `yaml:"network"`
	Port    *portSection    `yaml:"port"`
	IPPool  any             `yaml:"ip_pool"`
	User    any             `yaml:"user"`
	Health  any             `yaml:"health_check_server"`
}

type serverSection struct {
	UnixDomainPath        *string           `yaml:"unix_domain_path"`
	UnixDomainPermissions yaml.Node         `yaml:"unix_domain_permissions"`
	ContainerKlass        *string           `yaml:"container_klass"`
	ContainerGraceTime    *uint32           `yaml:"container_grace_time"`
	ContainerRootfsPath   *string           `yaml:"container_rootfs_path"`
	ContainerDepotPath    *string           `yaml:"container_depot_path"`
	ContainerRlimits      map[string]uint64 `yaml:"container_rlimits"`
	JobOutputLimit        *int64            `yaml:"job_output_limit"`

	Quota             any `yaml:"quota"`
	AllowNestedWarden any `yaml:"allow_nested_warden"`
	Pidfile           any `yaml:"pidfile"`
	SyslogSocket      any `yaml:"syslog_socket"`
}

type loggingSection struct {
	Level  *string `yaml:"level"`
	File   *string `yaml:"file"`
	Syslog any     `yaml:"syslog"`
}

type networkSection struct {
	PoolNetwork      *string `yaml:"pool_network"`
	PoolStartAddress *string `yaml:"pool_start_address"`
	PoolSize         *uint32 `yaml:"pool_size"`

	DenyNetworks  []string `yaml:"deny_networks"`
	AllowNetworks []string `yaml:"allow_networks"`

	MTU             any `yaml:"mtu"`
	AllowHostAccess any `yaml:"allow_host_access"`
	ReleaseDelay    any `yaml:"release_delay"`
}

type portSection struct {
	PoolStartPort *uint32 `yaml:"pool_start_port"`
	PoolSize      *uint32 `yaml:"pool_size"`
}

// LoadFile puts what a file says over the configuration.
func (c *Config) LoadFile(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)
	var f file
	if err := decoder.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	if err := errors.Join(c.applyServer(f.Server), c.applyNetwork(f.Network), c.applyPort(f.Port)); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	c.applyLogging(f.Logging)
	c.ignore("", map[string]any{"ip_pool": f.IPPool, "user": f.User, "health_check_server": f.Health})
	return nil
}

func (c *Config) ignore(section string, keys map[string]any) {
	for key, value := range keys {
		if value != nil {
			c.Ignored = append(c.Ignored, section+key)
		}
	}
}

func put[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (c *Config) applyServer(s *serverSection) error {
	if s == nil {
		return nil
	}
	put(&c.Socket, s.UnixDomainPath)
	put(&c.GraceTime, s.ContainerGraceTime)
	put(&c.Rootfs, s.ContainerRootfsPath)
	put(&c.Depot, s.ContainerDepotPath)
	put(&c.JobOutputLimit, s.JobOutputLimit)
	c.ignore("server.", map[string]any{
		"quota": s.Quota, "allow_nested_warden": s.AllowNestedWarden, "pidfile": s.Pidfile, "syslog_socket": s.SyslogSocket,
	})
	var errs []error
	if !s.UnixDomainPermissions.IsZero() {
		// As it is written: 0777 is octal for a person, whatever it is for a YAML version.
		mode, err := ParseMode(s.UnixDomainPermissions.Value)
		if err != nil {
			errs = append(errs, fmt.Errorf("server.unix_domain_permissions (line %d): %w", s.UnixDomainPermissions.Line, err))
		}
		c.SocketMode = mode
	}
	if s.ContainerKlass != nil {
		switch *s.ContainerKlass {
		case "Warden::Container::Linux":
			// Who asks for isolation by name does not get less without a word.
			c.Backend = BackendOCI
		case "Warden::Container::Insecure":
			c.Backend = BackendProcess
		default:
			errs = append(errs, fmt.Errorf("server.container_klass: %q is not known", *s.ContainerKlass))
		}
	}
	var err error
	if c.Rlimits, err = parseRlimits(s.ContainerRlimits); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// parseRlimits finds each limit's field by its name, which is the protocol's.
func parseRlimits(limits map[string]uint64) (*wardenpb.ResourceLimits, error) {
	all := &wardenpb.ResourceLimits{}
	fields := all.ProtoReflect().Descriptor().Fields()
	var errs []error
	for name, value := range limits {
		var found bool
		for i := range fields.Len() {
			if field := fields.Get(i); string(field.Name()) == name {
				all.ProtoReflect().Set(field, protoreflect.ValueOfUint64(value))
				found = true
			}
		}
		if !found {
			errs = append(errs, fmt.Errorf("server.container_rlimits: %q is not known", name))
		}
	}
	return all, errors.Join(errs...)
}

func (c *Config) applyNetwork(n *networkSection) error {
	if n == nil {
		return nil
	}
	c.ignore("network.", map[string]any{
		"mtu": n.MTU, "allow_host_access": n.AllowHostAccess, "release_delay": n.ReleaseDelay,
	})
	var err error
	if c.DenyNetworks, err = ParseNetworks(n.DenyNetworks); err != nil {
		return fmt.Errorf("network.deny_networks: %w", err)
	}
	if c.AllowNetworks, err = ParseNetworks(n.AllowNetworks); err != nil {
		return fmt.Errorf("network.allow_networks: %w", err)
	}
	if n.PoolNetwork != nil {
		network, err := netip.ParsePrefix(*n.PoolNetwork)
		if err != nil {
			return fmt.Errorf("network.pool_network: %w", err)
		}
		c.PoolNetwork = network
		return nil
	}
	if n.PoolStartAddress == nil {
		return nil
	}
	start, err := netip.ParseAddr(*n.PoolStartAddress)
	if err != nil {
		return fmt.Errorf("network.pool_start_address: %w", err)
	}
	// The smallest network that holds as many containers.
	const addressesEach, bits = 4, 32
	size, prefix := uint32(256), bits //nolint:mnd // the original's default
	put(&size, n.PoolSize)
	for have := uint64(1); have < uint64(size)*addressesEach && prefix > 0; have *= 2 {
		prefix--
	}
	c.PoolNetwork = netip.PrefixFrom(start, prefix)
	return nil
}

func (c *Config) applyPort(p *portSection) error {
	if p == nil {
		return nil
	}
	if (p.PoolStartPort == nil) != (p.PoolSize == nil) {
		return errors.New("port: pool_start_port and pool_size belong together")
	}
	put(&c.PortStart, p.PoolStartPort)
	put(&c.PortSize, p.PoolSize)
	return nil
}

func (c *Config) applyLogging(l *loggingSection) {
	if l == nil {
		return
	}
	put(&c.LogFile, l.File)
	c.ignore("logging.", map[string]any{"syslog": l.Syslog})
	if l.Level == nil {
		return
	}
	// The original has finer levels: debug1, debug2.
	c.LogLevel = strings.TrimRight(*l.Level, "0123456789")
}
