package api

import (
	"fmt"
	"time"
)

// Resources are what a node gives out.
type Resources struct {
	// MemoryMB and DiskMB are in units of 1024 * 1024 bytes.
	MemoryMB int64 `json:"memory_mb"`
	DiskMB   int64 `json:"disk_mb"`
}

// Kind tells what a workflow or a reservation is for. It is the value of the search attribute DeaKind.
type Kind string

// The kinds.
const (
	KindInstance Kind = "instance"
	KindStaging  Kind = "staging"
	// KindStagings: what keeps an app's stagings one at a time.
	KindStagings Kind = "stagings"
	KindDroplet  Kind = "droplet"
	KindApp      Kind = "app"
	KindNode     Kind = "node"
)

// NodeState says whether a node takes work.
type NodeState string

// The states of a node.
const (
	// NodeReady: it takes work.
	NodeReady NodeState = "READY"
	// NodeDraining: it keeps what it has and takes no more.
	NodeDraining NodeState = "DRAINING"
	// NodeEvacuating: it takes no more, and its instances are being replaced elsewhere.
	NodeEvacuating NodeState = "EVACUATING"
	// NodeSuspect: its heartbeat was missed; nothing is placed there.
	NodeSuspect NodeState = "SUSPECT"
	// NodeStateLost: no worker came back within the grace time; its instances were given up.
	NodeStateLost NodeState = "LOST"
)

// NodeInput starts Node, and is carried from each of its runs to the next.
type NodeInput struct {
	// Node is the node's id.
	Node string `json:"node"`
	// Advertisement is the last one heard; zero at the very first start.
	Advertisement NodeAdvertisement `json:"advertisement"`
	// State is the state at the end of the last run; empty at the first start.
	State NodeState `json:"state,omitempty"`
	// Reservations are what the last run had booked.
	Reservations []Reservation `json:"reservations,omitempty"`
	// Draining is set when an operator keeps work off.
	Draining bool `json:"draining,omitempty"`
	// Leaving is set when the node's worker keeps work off until it ends, Evacuating when its instances are to go.
	Leaving    bool `json:"leaving,omitempty"`
	Evacuating bool `json:"evacuating,omitempty"`
}

// NodeAdvertisement is what a node's worker says of it when it takes the node over.
type NodeAdvertisement struct {
	// Capacity is what may be reserved: the configured size times the overcommit factors.
	Capacity Resources `json:"capacity"`
	// NoStaging keeps stagings off the node.
	NoStaging bool `json:"no_staging,omitempty"`
	// StagingMinimum is what a staging takes at least.
	StagingMinimum Resources `json:"staging_minimum"`
	Stacks         []string  `json:"stacks"`
	Zone           string    `json:"zone"`
	// Host is the address at which the node's instances are reached.
	Host string `json:"host"`
	// FilesURL is the base URL of the node's directory server.
	FilesURL string `json:"files_url"`
	// Grace is how long the node may be without a worker before it is lost.
	Grace time.Duration `json:"grace"`
	// CompletionPatience is how long the outcome of a staging on the node is offered to a cloud controller that does not
	// take it.
	CompletionPatience time.Duration `json:"completion_patience,omitempty"`
	// EvacuationBailOut is when an evacuated instance ends that was not replaced.
	EvacuationBailOut time.Duration `json:"evacuation_bail_out,omitempty"`
	// Exec is where sessions are served; nil where they are not.
	Exec *ExecEndpoint `json:"exec,omitempty"`
	// Worker is another one for each start of the node's worker.
	Worker string `json:"worker,omitempty"`
	// Version is the worker's.
	Version string `json:"version,omitempty"`
}

// ExecEndpoint is where a node serves sessions in its instances, by SSH.
type ExecEndpoint struct {
	// Address is host:port.
	Address string `json:"address"`
	// HostKey is the public key that the node shows there, in the form of an authorized key.
	HostKey string `json:"host_key"`
}

// Reservation books resources of a node for one instance or one staging.
type Reservation struct {
	// ID is the instance's id or the staging's handle: the container's handle too.
	ID        string    `json:"id"`
	Kind      Kind      `json:"kind"`
	AppID     string    `json:"app_id"`
	Index     int       `json:"index"`
	Resources Resources `json:"resources"`
	// Stack is the root file system that it needs.
	Stack string `json:"stack"`
	// Workflow is the id of the workflow that holds it, told when the node is lost.
	Workflow string `json:"workflow"`
	// Owner is the id of the workflow that is told when the holder is found gone without a word; empty for none.
	Owner string `json:"owner,omitempty"`
	// Bookings are the ids of the updates that booked it, each of which may be taken back: the ledger's own.
	Bookings []string `json:"bookings,omitempty"`
}

// Same tells whether two are of the same id and holder, and so are one at a ledger.
func (r Reservation) Same(as Reservation) bool { return r.ID == as.ID && r.Workflow == as.Workflow }

// Releases give back what was booked so far, and not what is booked later under the same id.
func (r Reservation) Releases() []ReleaseRequest {
	if len(r.Bookings) == 0 { // From before they were noted.
		return []ReleaseRequest{{IDs: []string{r.ID}}}
	}
	var all []ReleaseRequest
	for _, booking := range r.Bookings {
		all = append(all, ReleaseRequest{IDs: []string{r.ID}, Booking: booking})
	}
	return all
}

// ReserveRequest books several at once. Each is taken or refused on its own; the same id twice is one reservation.
type ReserveRequest struct {
	// Reservations are from 1 to MaxInstances.
	Reservations []Reservation `json:"reservations"`
}

// ReserveResult says which were taken.
type ReserveResult struct {
	Accepted []string `json:"accepted,omitempty"`
	// Refused says of each other one what there was not enough of.
	Refused map[string]Constraint `json:"refused,omitempty"`
	// FilesURL and Host are the node's, for what was accepted.
	FilesURL string `json:"files_url,omitempty"`
	Host     string `json:"host,omitempty"`
	// CompletionPatience is the node's own; see NodeAdvertisement.
	CompletionPatience time.Duration `json:"completion_patience,omitempty"`
	// Grace is the node's own; see NodeAdvertisement.
	Grace time.Duration `json:"grace,omitempty"`
}

// Constraint is why a node refused.
type Constraint string

// The constraints.
const (
	ConstraintMemory Constraint = "memory"
	ConstraintDisk   Constraint = "disk"
	ConstraintStack  Constraint = "stack"
	ConstraintState  Constraint = "state"
	// ConstraintTaken: the id is another workflow's.
	ConstraintTaken Constraint = "taken"
)

// ReleaseRequest gives reservations back.
type ReleaseRequest struct {
	IDs []string `json:"ids"`
	// Booking is the id of one UpdateReserve, when what that one booked is taken back and nothing else: a reservation
	// that another update has booked as well stays. Empty gives back whatever has the ids.
	Booking string `json:"booking,omitempty"`
}

// DrainRequest keeps work off a node, or lets it on again.
type DrainRequest struct {
	Draining bool `json:"draining"`
	// UntilRestart is set by the node's worker: the next worker of the node takes work again.
	UntilRestart bool `json:"until_restart,omitempty"`
}

// EvacuateRequest has a node's instances replaced elsewhere. The next worker of the node takes work again; an evacuated
// node that stays drained for good is drained as well.
type EvacuateRequest struct {
	Reason string `json:"reason"`
}

// ForgetRequest ends the workflow of a node that is LOST. One whose worker is heard of again has another.
type ForgetRequest struct {
	// Reason is for the operator, in the history.
	Reason string `json:"reason"`
}

// NodeStatus is a node as its ledger sees it.
type NodeStatus struct {
	Node     string    `json:"node"`
	State    NodeState `json:"state"`
	Zone     string    `json:"zone"`
	Stacks   []string  `json:"stacks"`
	Host     string    `json:"host"`
	FilesURL string    `json:"files_url"`
	// Exec is where sessions are served; nil where they are not.
	Exec      *ExecEndpoint `json:"exec,omitempty"`
	Capacity  Resources     `json:"capacity"`
	Reserved  Resources     `json:"reserved"`
	Remaining Resources     `json:"remaining"`
	// MemoryRatio and DiskRatio are Remaining over Capacity, from 0 to 1; 0 where there is no capacity.
	MemoryRatio float64 `json:"available_memory_ratio"`
	DiskRatio   float64 `json:"available_disk_ratio"`
	// Instances is how many instances of each app are booked.
	Instances map[string]int `json:"instances_by_app,omitempty"`
	// Reservations are all that is booked.
	Reservations []Reservation `json:"reservations,omitempty"`
}

// Validate says what is wrong with the request, all of it in one error of type ErrInvalidRequest.
func (r ReserveRequest) Validate() error {
	var f findings
	f.between("reservations", int64(len(r.Reservations)), 1, MaxInstances)
	for i, reservation := range r.Reservations {
		at := fmt.Sprintf("reservations[%d].", i)
		f.required(at+"id", reservation.ID)
		f.required(at+"workflow", reservation.Workflow)
		f.required(at+"stack", reservation.Stack)
		f.between(at+"resources.memory_mb", reservation.Resources.MemoryMB, 1, maxMemoryMB)
		f.between(at+"resources.disk_mb", reservation.Resources.DiskMB, 1, maxDiskMB)
	}
	return f.err("the reservation is not valid")
}
