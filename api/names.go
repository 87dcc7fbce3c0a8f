package api

import (
	"cmp"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
)

// TaskQueue is the queue of all workflow tasks and of the activities that touch no node. Every worker polls it.
const TaskQueue = "dea"

// NodeTaskQueue is the queue of the activities that touch the node's own resources. Only its worker polls it.
func NodeTaskQueue(node string) string { return "dea.node." + node }

// WorkflowTaskTimeout is the workflow task timeout of every workflow of ours: how long a worker that was killed can
// hold one up. A task of ours takes milliseconds; Temporal's default is 10 s.
const WorkflowTaskTimeout = 2 * time.Second

// Workflow types, as the Temporal UI shows them.
const (
	WorkflowStageApp       = "StageApp"
	WorkflowAppStagings    = "AppStagings"
	WorkflowFetchDroplet   = "FetchDroplet"
	WorkflowRunInstance    = "RunInstance"
	WorkflowEvaluateHealth = "EvaluateHealth"
	WorkflowNode           = "Node"
)

// StageWorkflowID names the staging of an app by its task.
func StageWorkflowID(app, task string) string { return "stage/" + app + "/" + task }

// StagingsWorkflowID names the workflow that lets only the newest staging of an app go on.
func StagingsWorkflowID(app string) string { return "stagings/" + app }

// DropletWorkflowID names the download of a droplet to a node.
func DropletWorkflowID(node, sha1 string) string { return "droplet/" + node + "/" + sha1 }

// InstanceWorkflowID names the life of an instance.
func InstanceWorkflowID(instance string) string { return "instance/" + instance }

// AppWorkflowID names the workflow that keeps an app at its wanted number of instances.
func AppWorkflowID(app string) string { return "app/" + app }

// NodeWorkflowID names a node's ledger.
func NodeWorkflowID(node string) string { return "node/" + node }

// Signals.
var (
	// SignalAdvertise is sent to Node by the supervisor when it has taken over the node.
	SignalAdvertise = Signal[NodeAdvertisement]{"advertise"}
	// SignalRelease is sent to Node when what was reserved is no longer there.
	SignalRelease = Signal[ReleaseRequest]{"release"}
	// SignalInstanceExited is sent to RunInstance when the instance's job has ended.
	SignalInstanceExited = Signal[InstanceExit]{"exited"}
	// SignalNodeLost is sent to RunInstance and to StageApp when their node is given up.
	SignalNodeLost = Signal[NodeLost]{"node_lost"}
	// SignalStopInstance is sent to RunInstance to end the instance.
	SignalStopInstance = Signal[StopInstance]{"stop"}
	// SignalInstanceUnhealthy is sent to RunInstance when its liveness check has failed: it crashes.
	SignalInstanceUnhealthy = Signal[InstanceExit]{"unhealthy"}
	// SignalInstanceReadiness is sent to RunInstance when its readiness check finds otherwise than before.
	SignalInstanceReadiness = Signal[InstanceReadiness]{"readiness"}
	// SignalResumeInstance is sent to RunInstance by a worker that came back.
	SignalResumeInstance = Signal[ResumeInstance]{"resume"}
	// SignalEvacuateInstance is sent to RunInstance when its node is evacuated.
	SignalEvacuateInstance = Signal[EvacuateInstance]{"evacuate"}
	// SignalUpdateInstance is sent to RunInstance when its routes change.
	SignalUpdateInstance = Signal[UpdateInstance]{"update"}
	// SignalInstanceChanged is sent to EvaluateHealth at each change of an instance's state.
	SignalInstanceChanged = Signal[InstanceStatus]{"instance_changed"}
)

// Updates.
var (
	// UpdateStage begins a staging of an app, in place of the one that goes on.
	UpdateStage = Update[StageInput, StageAnswer]{"stage"}
	// UpdateReserve books resources on a node. The node has the last word.
	UpdateReserve = Update[ReserveRequest, ReserveResult]{"reserve"}
	// UpdateDrain keeps new work off a node, or lets it on again.
	UpdateDrain = Update[DrainRequest, NodeStatus]{"drain"}
	// UpdateEvacuate keeps new work off a node, and has its instances replaced elsewhere.
	UpdateEvacuate = Update[EvacuateRequest, NodeStatus]{"evacuate"}
	// UpdateForget ends the workflow of a node that is lost for good.
	UpdateForget = Update[ForgetRequest, NodeStatus]{"forget"}
	// UpdateRoutes gives an app other routes, and another version without a restart: dea.update.
	UpdateRoutes = Update[RoutesRequest, AppStatus]{"routes"}
	// UpdateDesire says what an app should be: its start message and how many instances.
	UpdateDesire = Update[AppSpec, AppStatus]{"desire"}
	// UpdateScale changes how many instances an app should have.
	UpdateScale = Update[ScaleRequest, AppStatus]{"scale"}
	// UpdateDelete stops all of an app's instances and ends its workflow when they are gone.
	UpdateDelete = Update[DeleteRequest, AppStatus]{"delete"}
)

// Queries.
var (
	// QueryNode asks Node for its status.
	QueryNode = Query[NodeStatus]{"status"}
	// QueryApp asks EvaluateHealth for its status.
	QueryApp = Query[AppStatus]{"status"}
	// QueryInstance asks RunInstance for its status.
	QueryInstance = Query[InstanceStatus]{"status"}
	// QueryStart asks RunInstance what it was started with.
	QueryStart = Query[InstanceStart]{"start"}
	// QueryRunning asks RunInstance for what its node's worker has to know.
	QueryRunning = Query[RunningInstance]{"running"}
	// QueryStagings asks AppStagings which staging is the newest.
	QueryStagings = Query[StagingsStatus]{"status"}
	// QueryStaging asks StageApp for its progress.
	QueryStaging = Query[StagingStatus]{"status"}
)

// Search attributes. On SQL visibility Temporal allows 3 of type Int, 10 Keyword and 3 KeywordList a namespace:
// these take 3, 7 and 1 of them. Values are seen by a query up to about 2 s after they were set.
var (
	SearchApp        = temporal.NewSearchAttributeKeyKeyword("DeaApp")
	SearchVersion    = temporal.NewSearchAttributeKeyKeyword("DeaVersion")
	SearchNode       = temporal.NewSearchAttributeKeyKeyword("DeaNode")
	SearchZone       = temporal.NewSearchAttributeKeyKeyword("DeaZone")
	SearchState      = temporal.NewSearchAttributeKeyKeyword("DeaState")
	SearchKind       = temporal.NewSearchAttributeKeyKeyword("DeaKind")
	SearchIndex      = temporal.NewSearchAttributeKeyInt64("DeaIndex")
	SearchFreeMemory = temporal.NewSearchAttributeKeyInt64("DeaFreeMemoryMB")
	SearchFreeDisk   = temporal.NewSearchAttributeKeyInt64("DeaFreeDiskMB")
	SearchStacks     = temporal.NewSearchAttributeKeyKeywordList("DeaStacks")
)

// SearchAttributes are what the workflow of an instance begins with. Without a node the instance finds one for itself.
func (in InstanceInput) SearchAttributes() temporal.SearchAttributes {
	m := in.Message
	values := []temporal.SearchAttributeUpdate{
		SearchKind.ValueSet(string(KindInstance)),
		SearchApp.ValueSet(m.AppID),
		SearchVersion.ValueSet(m.Version),
		SearchIndex.ValueSet(int64(m.Index)),
		SearchState.ValueSet(string(cmp.Or(in.Listed, StateBorn))),
	}
	if in.Node != "" {
		values = append(values, SearchNode.ValueSet(in.Node))
	}
	return temporal.NewSearchAttributes(values...)
}

// Details says, for the operator, what the workflow of an instance is for.
func (in InstanceInput) Details() string {
	return fmt.Sprintf("Instance %d of app `%s`, version `%s`.", in.Message.Index, in.Message.AppID, in.Message.Version)
}

// SearchAttributes lists every key that a namespace needs before the first workflow starts.
func SearchAttributes() []temporal.SearchAttributeKey {
	return []temporal.SearchAttributeKey{
		SearchApp, SearchVersion, SearchNode, SearchZone, SearchState, SearchKind,
		SearchIndex, SearchFreeMemory, SearchFreeDisk, SearchStacks,
	}
}

// StagingHandle is the handle of a staging's container and the id of its reservation.
func StagingHandle(task string) string { return "staging-" + task }
