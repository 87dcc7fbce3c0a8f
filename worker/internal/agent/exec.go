package agent

import (
	"net"
	"strconv"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/execserver"
)

// serveExec begins to serve sessions in instances, where the operator lets anybody.
func (a *agent) serveExec() error {
	c := a.node.Exec
	if c.Listen == "" {
		return nil
	}
	var err error
	a.exec, err = execserver.Start(execserver.Options{
		Listen: c.Listen, AuthorizedKeys: c.AuthorizedKeys, HostKey: execserver.HostKeyFile(a.node.BaseDir),
		MaxSessions: int(c.MaxSessions), IdleTimeout: c.IdleTimeout, MaxDuration: c.MaxDuration, NProc: a.node.Instance.NProc,
		Instances: a.supervisor.Instances, Warden: a.warden, Log: a.log,
	})
	return err
}

func (a *agent) closeExec() {
	if a.exec != nil {
		a.exec.Close()
	}
}

// execEndpoint is nil where sessions are not served.
func (a *agent) execEndpoint() *api.ExecEndpoint {
	if a.exec == nil {
		return nil
	}
	address := a.node.Exec.AdvertiseAddress
	if address == "" {
		port := a.exec.Address().(*net.TCPAddr).Port //nolint:forcetypeassert // it was listened at as tcp
		address = net.JoinHostPort(a.node.LocalRoute, strconv.Itoa(port))
	}
	return &api.ExecEndpoint{Address: address, HostKey: a.exec.HostKey()}
}
