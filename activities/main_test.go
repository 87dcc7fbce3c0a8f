package activities_test

import (
	"os"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/internal/wardentest"
)

func TestMain(m *testing.M) { os.Exit(wardentest.Main(m, "dea-runner")) }

// containers are the activities of a node whose Warden is s. runner is the directory of the dea-runner program.
func (n *node) containers(s *wardentest.Server, runner string) *activities.Containers {
	return activities.NewContainers(activities.ContainersDeps{
		Warden: s.Client, Config: n.config, Workspaces: n.workspaces, Packages: n.packages(),
		Cache: n.droplets, Runner: runner, Log: hclog.NewNullLogger(),
	})
}
