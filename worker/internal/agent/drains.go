package agent

import (
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/drain"
	"github.com/durable-dea/dea/internal/tlsfiles"
)

// openDrains is ready to send what instances write on to their services.
func (a *agent) openDrains() error {
	security, err := tlsfiles.Load("drains", config.TLSFiles{CAFile: a.node.Drains.CAFile})
	if err != nil {
		return err
	}
	a.drains, err = drain.New(drain.Options{
		BaseDir: a.node.BaseDir, Node: a.id, MaxAge: a.node.Drains.MaxAge, Max: int(a.node.Drains.Max),
		Networks: drain.Networks{Denied: a.node.Drains.Denied(), Allowed: a.node.Drains.Allowed()},
		CAs:      security.RootCAs, Log: a.log,
	})
	return err
}
