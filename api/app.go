package api

import "time"

// AppSpec is what an app should be.
type AppSpec struct {
	// Message is what each instance is started with; its Index is set for each.
	Message StartMessage `json:"message"`
	// Instances is how many there should be, 0 for a stopped app.
	Instances int `json:"instances"`
}

// ScaleRequest changes an app's wanted number of instances.
type ScaleRequest struct {
	// Instances is from 0 to MaxInstances.
	Instances int `json:"instances"`
}

// MaxInstances is the most instances an app may have: each is a pending signal target and a row of the app's
// status, and a status must stay far under Temporal's payload limit of 2 MB.
const MaxInstances = 500

// RoutesRequest gives an app other routes, at once and without a restart; the wire's dea.update.
type RoutesRequest struct {
	// URIs are the new routes, all of them; empty for none.
	URIs []string `json:"uris"`
	// Version is the app's new version, which its instances take on as they run; empty leaves it.
	Version string `json:"version,omitempty"`
}

// DeleteRequest ends an app.
type DeleteRequest struct {
	// Reason is for the operator, in the history.
	Reason string `json:"reason,omitempty"`
}

// AppStatus is an app, wanted and actual.
type AppStatus struct {
	AppID   string   `json:"app_id"`
	Name    string   `json:"name"`
	Version string   `json:"version"`
	URIs    []string `json:"uris,omitempty"`
	// Desired is the wanted number of instances.
	Desired int `json:"desired"`
	// Running is the number of instances of the wanted version in state RUNNING.
	Running int `json:"running"`
	// Deleting is set once the app is to go.
	Deleting bool `json:"deleting,omitempty"`
	// Instances are all that live, and of each index the last that crashed when none lives. In the workflow's own answers
	// none has URIs: those that are Rerouted have the app's.
	Instances []InstanceStatus `json:"instances,omitempty"`
	// Problem is why wanted and actual differ, in words for the user; empty when nothing is wrong.
	Problem string `json:"problem,omitempty"`
	// RetryAt is when the next start is tried after crashes or a refused placement.
	RetryAt *time.Time `json:"retry_at,omitempty"`
}
