package agent

import (
	"net"

	"github.com/durable-dea/dea/internal/registrar"
	"github.com/durable-dea/dea/internal/routing"
)

// openRoutes begins to speak with the routers, if there is anything to speak by.
func (a *agent) openRoutes() error {
	n := a.node
	var err error
	a.registrar, err = registrar.New(registrar.Options{
		NATS:     registrar.NATS{Servers: n.NATSServers, TLS: n.NATSTLS, Name: "dea " + a.id},
		Interval: n.Intervals.RouterRegister, Drain: n.Router.Drain,
		Index: n.Index, Zone: n.PlacementProperties.Zone, IsolationSegment: n.Router.IsolationSegment,
		Log: a.log,
	})
	if err == nil && !a.registrar.Enabled() {
		a.log.Info("no routes are registered: nats_servers names none; instances are reached at their own addresses")
	}
	return err
}

// filesRoute is the registrar's name of the directory server.
const filesRoute = "directory server"

// filesHost is what the routers know the directory server by; empty where they do not.
func (a *agent) filesHost() string {
	if !a.registrar.Enabled() || a.node.Domain == "" {
		return ""
	}
	return a.id + "." + a.node.Domain
}

// routeFiles has the routers lead to the directory server.
func (a *agent) routeFiles(listening net.Addr) {
	host := a.filesHost()
	if host == "" {
		return
	}
	port := listening.(*net.TCPAddr).AddrPort().Port() //nolint:forcetypeassert // it was listened at as tcp
	a.registrar.Serve(filesRoute, routing.RegistryMessage{
		Host: routing.Host(a.node.LocalRoute), Port: port, URIs: []string{host},
		Tags: map[string]string{"component": "directory-server-" + a.id},
	})
}
