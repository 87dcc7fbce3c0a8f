package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// StartMessage asks for one instance of an app. It is the cloud controller's start message; JSON names are the
// wire's (cloud_controller_ng, Dea::StartAppMessage).
type StartMessage struct {
	// AppID is the app's guid; the wire calls it droplet. Required.
	AppID string `json:"droplet"`
	// Version tells this state of the app from earlier ones. Required.
	Version string `json:"version"`
	// Name is what the user calls the app.
	Name string `json:"name"`
	// URIs are the routes of the app. An app with routes is healthy when its port answers.
	URIs []string `json:"uris,omitempty"`
	// Index is the instance's number, from 0.
	Index int `json:"index"`
	// SHA1 is the droplet's digest, in hex. Required.
	SHA1 string `json:"sha1"`
	// ExecutableURI is where the droplet is. Basic auth may stand in it. Required.
	ExecutableURI string `json:"executableUri"`
	// Stack is the root file system the droplet was staged on. Required.
	Stack  string `json:"stack"`
	Limits Limits `json:"limits"`
	// Env holds "NAME=value" pairs of the user's. Secret.
	Env      []string  `json:"env,omitempty"`
	Services []Service `json:"services,omitempty"`
	// StartCommand wins over the droplet's own.
	StartCommand string `json:"start_command,omitempty"`
	// HealthCheckTimeout is in seconds; 0 means the node's default.
	HealthCheckTimeout int `json:"health_check_timeout,omitempty"`
	// HealthCheck and ReadinessCheck are Cloud Foundry's of today, which no DEA knew; nil for the defaults, which
	// Liveness and Readiness give.
	HealthCheck        *HealthCheck   `json:"health_check,omitempty"`
	ReadinessCheck     *HealthCheck   `json:"readiness_health_check,omitempty"`
	EgressNetworkRules []EgressRule   `json:"egress_network_rules,omitempty"`
	VCAPApplication    map[string]any `json:"vcap_application,omitempty"`
	CCPartition        string         `json:"cc_partition,omitempty"`
}

// Limits of an app's container.
type Limits struct {
	// MemoryMB and DiskMB are in units of 1024 * 1024 bytes.
	MemoryMB int64 `json:"mem"`
	DiskMB   int64 `json:"disk"`
	// FDs is the number of open files a process may have.
	FDs int64 `json:"fds"`
}

// InstanceInput starts RunInstance.
type InstanceInput struct {
	// InstanceID is also the handle of its container and the id of its reservation.
	InstanceID string `json:"instance_id"`
	// Node has reserved the instance's resources; empty when the instance is to find a node for itself.
	Node string `json:"node,omitempty"`
	// FilesURL is the base URL of the node's directory server.
	FilesURL string `json:"files_url,omitempty"`
	// Message says what to run.
	Message StartMessage `json:"message"`
	// Owner is the id of the workflow that wants to hear of changes; empty for none.
	Owner string `json:"owner,omitempty"`
	// Listed is the state that the workflow's search attribute begins with, where that is not BORN: one that has its node is
	// STARTING within milliseconds, and needs no write to say so.
	Listed InstanceState `json:"listed,omitempty"`
	// Grace is how long the node may be without a worker before it is given up; 0 where that is not known.
	Grace time.Duration `json:"grace,omitempty"`
	// Shape is the workflow's shape that the instance goes through: InstanceShape for a new one, less where its history
	// began with earlier code.
	Shape int `json:"shape,omitempty"`
	// Digest is that of the message as it came, by which whoever starts the same id again is answered; empty for an app's own
	// instances.
	Digest string `json:"digest,omitempty"`
	// Run is what the last run of the instance's workflow has left to this one; nil in the first.
	Run *InstanceRun `json:"run,omitempty"`
}

// InstanceShape is the shape of RunInstance that new instances go through:
//
//	0  CreateInstance and LaunchInstance
//	1  StartInstance
//
// It stands in the input, as workflow.GetVersion would cost each instance a marker and a write to visibility.
const InstanceShape = 1

// Digest tells a valid message from others, whatever their size: SHA-256 of its JSON, in hex. Secrets go into it, so it
// stays where the message does.
func (m StartMessage) Digest() string {
	text, _ := json.Marshal(m) // Validate has written it before
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// InstanceStart is what an instance answers whoever starts one of its id again.
type InstanceStart struct {
	// Digest is that of InstanceInput.
	Digest string `json:"digest,omitempty"`
}

// InstanceRun is what one run of RunInstance leaves to the next. Only an instance that was started is continued so.
type InstanceRun struct {
	Status InstanceStatus `json:"status"`
	// HostPort is the node's port that leads to ContainerPort.
	HostPort      uint32 `json:"host_port"`
	ContainerPort uint32 `json:"container_port"`
	// Job is RunningInstance.Job.
	Job uint32 `json:"job,omitempty"`
	// Evacuation is nil unless the instance is to be replaced elsewhere; at BailOut it then ends in any case, never where
	// that is zero.
	Evacuation *EvacuateInstance `json:"evacuation,omitempty"`
	BailOut    time.Time         `json:"bail_out,omitzero"`
}

// InstanceStatus is what is known of an instance.
type InstanceStatus struct {
	InstanceID string        `json:"instance_id"`
	AppID      string        `json:"app_id"`
	Version    string        `json:"version"`
	Index      int           `json:"index"`
	Node       string        `json:"node"`
	State      InstanceState `json:"state"`
	// Since is when State was entered.
	Since time.Time `json:"since"`
	// RunningSince is when it was RUNNING first; zero until then.
	RunningSince time.Time `json:"running_since,omitzero"`
	// Changes are the states up to now, the oldest first, at most MaxStateChanges: the first FirstStateChanges and the
	// latest ones. They are in the instance's own answer alone.
	Changes []StateChange `json:"changes,omitempty"`
	// Unready is set while the readiness check fails: no route leads to the instance.
	Unready bool `json:"unready,omitempty"`
	// Evacuating is set once the instance is to be replaced elsewhere, whatever its state is by then.
	Evacuating bool `json:"evacuating,omitempty"`
	// Rerouted is set once the instance has routes that are others than those of its start message, and URIs are those
	// then. Its app's workflow has them once for all its instances: see AppStatus.
	Rerouted bool     `json:"rerouted,omitempty"`
	URIs     []string `json:"uris,omitempty"`
	// Address is host:port, where the instance answers; empty until it has a port.
	Address string `json:"address,omitempty"`
	// FilesURL is the base URL of the node's directory server.
	FilesURL string `json:"files_url,omitempty"`
	// Exit is set from CRASHED and STOPPED on.
	Exit *InstanceExit `json:"exit,omitempty"`
}

// StateChange is the entry of a state.
type StateChange struct {
	State InstanceState `json:"state"`
	At    time.Time     `json:"at"`
}

// MaxStateChanges bounds InstanceStatus.Changes. Where there were more, the FirstStateChanges stay and the latest.
const (
	MaxStateChanges   = 32
	FirstStateChanges = MaxStateChanges / 4
)

// RunningInstance is what a node's worker has to know of an instance to look after it: of one that it did not start
// itself, since it is another process than the one that did, it asks the instance's workflow.
type RunningInstance struct {
	Status InstanceStatus `json:"status"`
	// HostPort is the node's port that leads to ContainerPort; both 0 until the instance has them.
	HostPort      uint32 `json:"host_port,omitempty"`
	ContainerPort uint32 `json:"container_port,omitempty"`
	// Job is Warden's id of the app's job in its container; 0 where that is not known.
	Job uint32 `json:"job,omitempty"`
	// Liveness and Readiness are its checks, with every default filled in.
	Liveness  HealthCheck `json:"liveness"`
	Readiness HealthCheck `json:"readiness"`
	// URIs are its routes as they are now.
	URIs []string `json:"uris,omitempty"`
	// Limits are those of its container.
	Limits Limits `json:"limits"`
	// LogDrains are where its lines go.
	LogDrains LogDrains `json:"log_drains,omitzero"`
}

// InstanceExit says how an instance ended.
type InstanceExit struct {
	// Status is the job's exit status; -1 when it cannot be determined.
	Status int `json:"status"`
	// Description is one of the sentences that users know.
	Description string `json:"description"`
}

// NodeLost tells an instance that its node is given up.
type NodeLost struct {
	// Node is that node. An instance on another one, whose room there is left from an earlier placement, is not meant.
	Node string `json:"node"`
}

// StopInstance ends an instance.
type StopInstance struct {
	// Reason is for the operator, in the history.
	Reason string `json:"reason"`
	// TellOwner is set by whoever is not the instance's owner: it is told that the instance stops.
	TellOwner bool `json:"tell_owner,omitempty"`
	// Node is set by a node's worker, which means the instance only if it is there; empty means it wherever it is.
	Node string `json:"node,omitempty"`
}

// InstanceReadiness is what the readiness check has found now, other than before.
type InstanceReadiness struct {
	Ready bool `json:"ready"`
	// At is when it was found, by the node's clock.
	At time.Time `json:"at,omitzero"`
}

// ResumeInstance tells an instance what has become of it while no worker looked.
type ResumeInstance struct {
	// Found is false while it is still looked for, true when it was found running.
	Found bool `json:"found"`
}

// EvacuateInstance has an instance run on until it is replaced elsewhere.
type EvacuateInstance struct {
	Reason string `json:"reason"`
	// Node is the node that is evacuated. An instance on another one, whose room there is left from an earlier
	// placement, is not meant.
	Node string `json:"node,omitempty"`
	// BailOut is when it ends whether it was replaced or not; zero is never.
	BailOut time.Duration `json:"bail_out"`
}

// UpdateInstance gives a running instance other routes, and another version where Version is not empty.
type UpdateInstance struct {
	Version string   `json:"version,omitempty"`
	URIs    []string `json:"uris"`
}
