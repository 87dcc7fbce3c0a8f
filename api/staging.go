package api

import "time"

// StagingRequest asks for one app to be staged. It is the cloud controller's staging message; JSON names are the
// wire's (cloud_controller_ng, Dea::StagingMessage). Fields of the wire that are not here are dropped when it is read, and
// so never reach a history. Properties.Buildpacks alone is not of that wire.
type StagingRequest struct {
	// AppID is the app's guid. Required.
	AppID string `json:"app_id"`
	// TaskID names this staging and no other. Required.
	TaskID string `json:"task_id"`
	// Stack is the name of the root file system to stage on. Required.
	Stack string `json:"stack"`
	// Properties is what the user asked for.
	Properties StagingProperties `json:"properties"`
	// DownloadURI is where the app's package is, a zip. Basic auth may stand in it. Required.
	DownloadURI string `json:"download_uri"`
	// UploadURI is where the droplet goes. Required.
	UploadURI string `json:"upload_uri"`
	// BuildpackCacheDownloadURI is where the last staging's cache is; empty when there is none.
	BuildpackCacheDownloadURI string `json:"buildpack_cache_download_uri,omitempty"`
	// BuildpackCacheUploadURI is where this staging's cache goes; empty when it is not kept.
	BuildpackCacheUploadURI string `json:"buildpack_cache_upload_uri,omitempty"`
	// StartMessage, when present, is started on the same node after a successful staging. An empty object is none.
	StartMessage *StartMessage `json:"start_message,omitempty"`
	// AdminBuildpacks are the operator's buildpacks, in the order of detection.
	AdminBuildpacks []AdminBuildpack `json:"admin_buildpacks,omitempty"`
	// EgressNetworkRules are what the staging container may reach.
	EgressNetworkRules []EgressRule `json:"egress_network_rules,omitempty"`
	// MemoryLimit and DiskLimit are in MB; the node's staging minimum applies where it is larger.
	MemoryLimit int64 `json:"memory_limit,omitempty"`
	DiskLimit   int64 `json:"disk_limit,omitempty"`
	// AcceptsHTTP is sent by controllers that take the result over HTTP; the result always goes there.
	AcceptsHTTP bool `json:"accepts_http,omitempty"`
}

// StagingProperties is what the user asked for.
type StagingProperties struct {
	Services  []Service `json:"services,omitempty"`
	Resources Limits    `json:"resources"`
	// Environment holds "NAME=value" pairs. Secret.
	Environment []string    `json:"environment,omitempty"`
	Meta        StagingMeta `json:"meta"`
	// Buildpack and BuildpackGitURL, two names of one thing, name a custom buildpack by git URL; "#" and a branch, a tag
	// or a commit may follow. See ParseGitSource. Secret, as credentials may stand in it.
	Buildpack       string `json:"buildpack,omitempty"`
	BuildpackGitURL string `json:"buildpack_git_url,omitempty"`
	// BuildpackKey picks one of the admin buildpacks.
	BuildpackKey string `json:"buildpack_key,omitempty"`
	// Buildpacks are several to run in this order, each the key of an admin buildpack or a git URL: all but the last supply
	// dependencies, the last one builds the app, as today's Cloud Foundry has it. Without this and the three above, the app
	// is detected.
	Buildpacks []string `json:"buildpacks,omitempty"`
}

// StagingMeta holds what the user set about the app itself.
type StagingMeta struct {
	// Command is the start command; it wins over the Procfile's and the buildpack's.
	Command string `json:"command,omitempty"`
}

// AdminBuildpack is a buildpack of the operator's: a zip at URL, told from its other versions by Key.
type AdminBuildpack struct {
	Key string `json:"key"`
	URL string `json:"url"`
}

// Service is a bound service. Credentials are secret.
type Service struct {
	Name           string         `json:"name"`
	Label          string         `json:"label"`
	Tags           []string       `json:"tags,omitempty"`
	Plan           string         `json:"plan,omitempty"`
	PlanOption     any            `json:"plan_option,omitempty"`
	Credentials    map[string]any `json:"credentials,omitempty"`
	SyslogDrainURL string         `json:"syslog_drain_url,omitempty"`
	// Provider is of the first version of Cloud Foundry's service API. Apps do not see it, as they never did.
	Provider string `json:"provider,omitempty"`
	// VolumeMounts must be empty: a DEA has never mounted any, and an app without its volume would lose data.
	VolumeMounts []any `json:"volume_mounts,omitempty"`
}

// EgressRule lets a container reach something outside.
type EgressRule struct {
	// Protocol is tcp, udp, icmp or all.
	Protocol string `json:"protocol"`
	// Destination is a CIDR or a range of addresses "a-b".
	Destination string `json:"destination"`
	// Ports is "80,443" or "8000-9000", for tcp and udp.
	Ports string `json:"ports,omitempty"`
	// Type and Code are those of icmp.
	Type *int32 `json:"type,omitempty"`
	Code *int32 `json:"code,omitempty"`
	Log  bool   `json:"log,omitempty"`
}

// StagingPhase is what a staging is doing.
type StagingPhase string

// The phases of a staging, in order. A staging can end from each of them.
const (
	StagingPlacing   StagingPhase = "PLACING"
	StagingFetching  StagingPhase = "FETCHING"
	StagingBuilding  StagingPhase = "BUILDING"
	StagingUploading StagingPhase = "UPLOADING"
	StagingReporting StagingPhase = "REPORTING"
	StagingDone      StagingPhase = "DONE"
	StagingFailed    StagingPhase = "FAILED"
)

// StagingStatus is the progress of a staging.
type StagingStatus struct {
	AppID  string       `json:"app_id"`
	TaskID string       `json:"task_id"`
	Phase  StagingPhase `json:"phase"`
	// Node is where it runs, empty until it is placed.
	Node string `json:"node,omitempty"`
	// FilesURL is the base URL of the node's directory server, empty until it is placed; the staging's log is
	// the file staging.log of the task there.
	FilesURL string    `json:"files_url,omitempty"`
	Since    time.Time `json:"since"`
	// SetUp is when everything that the staging needs was on the node and its container made; nil before. It is what a
	// DEA answered first, and what its log can be followed from.
	SetUp *time.Time `json:"set_up,omitempty"`
	// Result is set when Phase is StagingDone or StagingFailed.
	Result *StagingResult `json:"result,omitempty"`
}

// StagingResult is the outcome of a staging. It is the body of the completion callback; JSON names are the wire's.
type StagingResult struct {
	TaskID               string            `json:"task_id"`
	AppID                string            `json:"app_id"`
	NodeID               string            `json:"dea_id"`
	DetectedBuildpack    string            `json:"detected_buildpack"`
	BuildpackKey         string            `json:"buildpack_key"`
	DropletSHA1          string            `json:"droplet_sha1"`
	DetectedStartCommand string            `json:"detected_start_command"`
	Procfile             map[string]string `json:"procfile"`
	// Error is the sentence for the user, "" when staging worked.
	Error string `json:"error,omitempty"`
	// ErrorInfo is nil when staging worked.
	ErrorInfo *ErrorInfo `json:"error_info,omitempty"`
}

// ErrorInfo is the wire's form of a staging error.
type ErrorInfo struct {
	Type    ErrorType `json:"type"`
	Message string    `json:"message"`
}
