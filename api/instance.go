package api

import "time"

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
	HealthCheckTimeout int            `json:"health_check_timeout,omitempty"`
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
	// Node has reserved the instance's resources.
	Node string `json:"node"`
	// FilesURL is the base URL of the node's directory server.
	FilesURL string `json:"files_url,omitempty"`
	// Message says what to run.
	Message StartMessage `json:"message"`
	// Owner is the id of the workflow that wants to hear of changes; empty for none.
	Owner string `json:"owner,omitempty"`
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
	// Address is host:port, where the instance answers; empty until it has a port.
	Address string `json:"address,omitempty"`
	// FilesURL is the base URL of the node's directory server.
	FilesURL string `json:"files_url,omitempty"`
	// Exit is set from CRASHED and STOPPED on.
	Exit *InstanceExit `json:"exit,omitempty"`
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
	Node string `json:"node"`
}

// StopInstance ends an instance.
type StopInstance struct {
	// Reason is for the operator, in the history.
	Reason string `json:"reason"`
}
