// Package ports lays out the ports of a devserver in one row, so that several run side by side and a firewall or a
// person can tell them apart. All are on 127.0.0.1.
//
//	offset              what listens
//	0                   Temporal (gRPC)
//	1                   Temporal UI
//	2                   codec server
//	3                   cloud controller
//	4                   routing proxy
//	5                   NATS
//	6                   Temporal (HTTP)
//	7, 8, 9             Temporal's history, matching and worker services
//	10 to 19            kept
//	20 + n*(10+P)       directory server of node n, n from 0
//	  + 1 to + 9        kept for node n
//	  + 10 to + 9+P     port pool of node n's wardend, P ports for its instances
package ports

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

const (
	// DefaultBase is Temporal's own port.
	DefaultBase = 7233
	// DefaultInstancePorts is the size of a node's port pool.
	DefaultInstancePorts = 200

	shared  = 20
	perNode = 10
	highest = 65535
)

// Row is a row of ports.
type Row struct {
	base, nodes, instancePorts int
}

// Named is a port together with what listens there, in words for the user.
type Named struct {
	Name string
	Port int
}

// NewRow lays out the ports from base on. It fails when they do not fit beneath 65536 or a number is senseless.
func NewRow(base, nodes, instancePorts int) (Row, error) {
	row := Row{base: base, nodes: nodes, instancePorts: instancePorts}
	switch {
	case nodes < 0:
		return Row{}, fmt.Errorf("there cannot be %d nodes", nodes)
	case instancePorts < 1:
		return Row{}, fmt.Errorf("a node needs at least 1 port for instances, not %d", instancePorts)
	case base < 1 || row.end() > highest:
		return Row{}, fmt.Errorf("%d ports in a row from %d do not fit between 1 and %d", row.size(), base, highest)
	}
	return row, nil
}

func (r Row) size() int { return shared + r.nodes*(perNode+r.instancePorts) }
func (r Row) end() int  { return r.base + r.size() - 1 }

// Temporal is the port of Temporal's gRPC API.
func (r Row) Temporal() int { return r.base }

// UI is the port of Temporal's web UI.
func (r Row) UI() int { return r.base + 1 }

// Codec is the port of the codec server.
func (r Row) Codec() int { return r.base + 2 }

// CloudController is the port of the cloud controller's stand-in.
func (r Row) CloudController() int { return r.base + 3 }

// Router is the port of the routing proxy.
func (r Row) Router() int { return r.base + 4 }

// NATS is the port of the NATS server.
func (r Row) NATS() int { return r.base + 5 }

// TemporalHTTP is the port of Temporal's HTTP API.
func (r Row) TemporalHTTP() int { return r.base + 6 }

// History, Matching and Worker are the ports between Temporal's own services.
func (r Row) History() int { return r.base + 7 }

// Matching is said at History.
func (r Row) Matching() int { return r.base + 8 }

// Worker is said at History.
func (r Row) Worker() int { return r.base + 9 }

// Files is the port of the directory server of node n, from 0.
func (r Row) Files(n int) int { return r.base + shared + n*(perNode+r.instancePorts) }

// Pool is the first port of the pool of node n, and how many they are.
func (r Row) Pool(n int) (start, size int) { return r.Files(n) + perNode, r.instancePorts }

// Named are all ports that something listens on from the start. A pool's ports are not among them: instances that
// outlived the last devserver may hold some.
func (r Row) Named() []Named {
	named := []Named{
		{"Temporal", r.Temporal()},
		{"Temporal UI", r.UI()},
		{"codec server", r.Codec()},
		{"cloud controller", r.CloudController()},
		{"router", r.Router()},
		{"NATS", r.NATS()},
		{"Temporal over HTTP", r.TemporalHTTP()},
		{"Temporal's history service", r.History()},
		{"Temporal's matching service", r.Matching()},
		{"Temporal's worker service", r.Worker()},
	}
	for n := range r.nodes {
		named = append(named, Named{fmt.Sprintf("files of node %d", n+1), r.Files(n)})
	}
	return named
}

// Address is host:port of a port of the row.
func Address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Check tells every named port that cannot be listened on, all of them in one error.
func (r Row) Check() error {
	var taken []error
	for _, named := range r.Named() {
		listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: named.Port})
		if err != nil {
			taken = append(taken, fmt.Errorf("port %d (%s): %w", named.Port, named.Name, err))
			continue
		}
		_ = listener.Close()
	}
	return errors.Join(taken...)
}
