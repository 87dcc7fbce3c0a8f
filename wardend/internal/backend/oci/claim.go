package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrClaimed: another wardend that runs gives out the same addresses or ports.
var ErrClaimed = errors.New("another wardend has the same addresses or ports")

// claim is what a wardend gives out in a network namespace. It stands in its name's file, on the line after the depot.
type claim struct {
	Namespace string       `json:"network_namespace"`
	Pool      netip.Prefix `json:"pool"`
	// The first of the host's ports, and how many; none when PortSize is 0.
	PortStart uint32 `json:"port_start,omitempty"`
	PortSize  uint32 `json:"port_size,omitempty"`
}

func (o *Options) claim() (claim, error) {
	namespace, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return claim{}, fmt.Errorf("find the network namespace: %w", err)
	}
	return claim{Namespace: namespace, Pool: o.Pool.Masked(), PortStart: o.PortStart, PortSize: o.PortSize}, nil
}

// refusal says what two wardends cannot both have; empty when all is well.
func (c claim) refusal(other claim) string {
	switch {
	case c.Namespace != other.Namespace:
		return ""
	case c.Pool.Overlaps(other.Pool):
		return fmt.Sprintf("--pool-network %s overlaps with its %s", c.Pool, other.Pool)
	case c.PortStart < other.PortStart+other.PortSize && other.PortStart < c.PortStart+c.PortSize:
		return fmt.Sprintf("--port-pool %d:%d overlaps with its %d:%d", c.PortStart, c.PortSize, other.PortStart, other.PortSize)
	}
	return ""
}

// claim writes down what the name's holder gives out, and then looks at the others: of two that come at once at least
// one sees the other. The error is ErrClaimed.
func (l *nameLock) claim(c claim) error {
	raw, err := json.Marshal(c)
	if err != nil {
		return err
	}
	depot, _, err := readName(l.file.Name())
	if err != nil {
		return fmt.Errorf("claim addresses: %w", err)
	}
	if err := errors.Join(l.file.Truncate(0), writeAt(l.file, depot+"\n"+string(raw)+"\n")); err != nil {
		return fmt.Errorf("claim addresses: %w", err)
	}
	others, err := filepath.Glob(filepath.Join(filepath.Dir(l.file.Name()), "*"))
	if err != nil {
		return fmt.Errorf("claim addresses: %w", err)
	}
	for _, path := range others {
		depot, other, err := readName(path)
		if path == l.file.Name() || err != nil || other == nil {
			continue
		}
		if why := c.refusal(*other); why != "" && held(path) {
			return fmt.Errorf("%w: %s, that of depot %s", ErrClaimed, why, depot)
		}
	}
	return nil
}

// readName reads whose a name is, and what it gives out if it says so.
func readName(path string) (depot string, c *claim, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	depot, rest, _ := strings.Cut(string(raw), "\n")
	if strings.TrimSpace(rest) == "" {
		return depot, nil, nil
	}
	c = &claim{}
	return depot, c, json.Unmarshal([]byte(rest), c)
}

// held says whether a server lives that has the name.
func held(path string) bool {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	return errors.Is(unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}
