package registrar

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/durable-dea/dea/internal/routing"
	"github.com/durable-dea/dea/internal/supervisor"
)

// message is what routers are told of an instance. It has no URIs where there is nothing to tell: no port, or no route.
func (o Options) message(i supervisor.Instance) routing.RegistryMessage {
	host, text, err := net.SplitHostPort(i.Address)
	if err != nil || len(i.URIs) == 0 {
		return routing.RegistryMessage{}
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return routing.RegistryMessage{}
	}
	index := strconv.Itoa(i.Index)
	return routing.RegistryMessage{
		Host: routing.Host(host), Port: uint16(port), URIs: i.URIs, App: i.AppID,
		PrivateInstanceID: i.ID, PrivateInstanceIndex: index,
		Tags: map[string]string{
			// What the original said of itself, and what routers' metrics go by today.
			"component": fmt.Sprintf("dea-%d", o.Index), "source_id": i.AppID, "app_id": i.AppID, "instance_id": index,
			"process_instance_id": i.ID,
			// gorouter's X-CF-Process-Instance chooses by it. An app is one process here, and that has the app's guid.
			"process_id": i.AppID,
		},
		IsolationSegment: o.IsolationSegment, AvailabilityZone: o.Zone, Protocol: routing.ProtocolHTTP1,
	}
}

// maxURIs bounds the bytes of URIs in one message: NATS takes 1 MB by default, and an app may have more.
const maxURIs = 64 << 10

// encode gives what to publish: one message, or several where there are many URIs.
func encode(m routing.RegistryMessage) [][]byte {
	var all [][]byte
	for uris := m.URIs; len(uris) > 0; {
		n, size := 1, len(uris[0])
		for ; n < len(uris) && size+len(uris[n]) <= maxURIs; n++ {
			size += len(uris[n])
		}
		m.URIs, uris = uris[:n], uris[n:]
		text, _ := json.Marshal(m) // of texts and numbers alone
		all = append(all, text)
	}
	return all
}

// isSame tells whether two messages are of the same place.
func isSame(a, b routing.RegistryMessage) bool { return a.Host == b.Host && a.Port == b.Port }

// without is m with those of its URIs that another message, of the same place, has not. Two that are the same to a router count
// as one: to take one back would end the other, too.
func without(m, other routing.RegistryMessage) routing.RegistryMessage {
	kept := make(map[string]bool, len(other.URIs))
	for _, uri := range other.URIs {
		kept[routing.Key(uri)] = true
	}
	m.URIs = slices.DeleteFunc(slices.Clone(m.URIs), func(uri string) bool { return kept[routing.Key(uri)] })
	return m
}
