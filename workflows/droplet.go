package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// FetchDroplet downloads one droplet to one node. Its id names both, so there is one download at a time however
// many instances wait; it ends with the download.
func FetchDroplet(ctx workflow.Context, in api.FetchDropletInput) error {
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("Downloading droplet `%s` to node `%s`.", in.SHA1, in.Node))
	ctx = onNode(ctx, in.Node, transferTimeout, retryOutage(), "download the droplet")
	_, err := activities.DownloadDroplet.Run(ctx, activities.DropletParams{SHA1: in.SHA1, URI: in.URI})
	if err != nil {
		workflow.SetCurrentDetails(ctx, "Failed: "+api.Explain(err, api.ErrDroplet).Message)
		return err
	}
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("Droplet `%s` is on node `%s`.", in.SHA1, in.Node))
	return nil
}
