package workflows_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/worker"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/workflows"
)

// TestReplay runs today's workflow code over histories that earlier code made, as integration/histories recorded them:
// a directory of testdata for each shape that the code had, the oldest first.
// One that fails here would fail in every installation that has such a run: change the code under workflow.GetVersion.
func TestReplay(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.json")
	require.NoError(t, err)
	recorded := map[string]int{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		kind, _, _ := strings.Cut(name, "-")
		recorded[kind]++
		t.Run(filepath.Base(filepath.Dir(file))+"/"+name, func(t *testing.T) {
			replayer := worker.NewWorkflowReplayer()
			workflows.Register(replayer)
			require.NoError(t, replayer.ReplayWorkflowHistoryFromJSONFile(nil, file))
		})
	}
	for _, kind := range []string{
		api.WorkflowAppStagings, api.WorkflowStageApp, api.WorkflowFetchDroplet, api.WorkflowRunInstance, api.WorkflowEvaluateHealth, api.WorkflowNode,
	} {
		require.NotZero(t, recorded[kind], "no history of %s was recorded", kind)
	}
}
