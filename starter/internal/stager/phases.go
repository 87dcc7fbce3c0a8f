package stager

import (
	"context"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/pause"
)

// phaseLook is how often a staging is asked what it does, and so how long a phase lasts at least that is told of.
const phaseLook = time.Second

// tellPhases tells of each phase that lasts, once, until ctx ends. What cannot be asked is not told: whoever waits for the
// staging and its log says so.
func (s *Stager) tellPhases(ctx context.Context, staging *controller.Staging, every time.Duration) {
	seen, told := api.StagingPlacing, false
	for pause.For(ctx, every) {
		status, err := staging.Status(ctx)
		switch {
		case err != nil:
		case status.Phase != seen:
			seen, told = status.Phase, false
		case !told:
			told = true
			if words := phaseWords(status); words != "" {
				s.Report.Line(words)
			}
		}
	}
}

// phaseWords say what a staging is doing, empty for one that is over.
func phaseWords(status api.StagingStatus) string {
	switch status.Phase {
	case api.StagingPlacing:
		return "Looking for a node that has room"
	case api.StagingFetching:
		return "Fetching the app and its buildpacks to node " + status.Node
	case api.StagingBuilding:
		return "Building on node " + status.Node
	case api.StagingUploading:
		return "Uploading the droplet"
	case api.StagingReporting:
		return "Telling the cloud controller"
	default:
		return ""
	}
}
