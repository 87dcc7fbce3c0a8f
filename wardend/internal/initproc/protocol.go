package initproc

import "time"

// Version of the protocol that this package speaks, and the oldest one that it can still drive.
const (
	Version       = 2
	OldestVersion = 1
)

// listenerFD is where an init finds its listening control socket.
const listenerFD = 3

// Operations, all of version 1.
const (
	opSpawn    = "spawn"
	opJobs     = "jobs"
	opStop     = "stop"
	opWatch    = "watch"
	opUnwatch  = "unwatch"
	opForget   = "forget"
	opForward  = "forward"
	opShutdown = "shutdown"
)

// request is what wardend sends. ID is answered; 0 wants no answer.
type request struct {
	ID      uint64       `json:"id,omitempty"`
	Op      string       `json:"op"`
	Job     uint32       `json:"job,omitempty"`
	Spawn   *SpawnSpec   `json:"spawn,omitempty"`
	Stop    *stopSpec    `json:"stop,omitempty"`
	Forward *ForwardSpec `json:"forward,omitempty"`
}

// reply is what an init sends: hello when somebody connects, answers to requests, and events.
type reply struct {
	ID    uint64 `json:"id,omitempty"`
	Error string `json:"error,omitempty"`

	Hello   *hello      `json:"hello,omitempty"`
	Jobs    []JobStatus `json:"jobs,omitempty"`
	PID     int         `json:"pid,omitempty"`
	Lowered []string    `json:"lowered,omitempty"`

	// Ended is the event that a job has ended.
	Ended *JobStatus `json:"ended,omitempty"`
	// Output is the event that a watched job has more output.
	Output uint32 `json:"output,omitempty"`
}

type hello struct {
	Version int `json:"version"`
	PID     int `json:"pid"`
}

// SpawnSpec says how a job is run.
type SpawnSpec struct {
	// Job is the job's id, new in this container.
	Job uint32 `json:"job"`
	// Args is the program, found at Args[0], and its arguments.
	Args []string `json:"args"`
	// Stdin is fed to the program's standard input.
	Stdin []byte   `json:"stdin"`
	Env   []string `json:"env"`
	Dir   string   `json:"dir"`
	// Rlimits are set on the process before it can read its standard input. The init's own where absent.
	Rlimits []Rlimit `json:"rlimits,omitempty"`
	// User runs the job as somebody else than the init; absent as the init itself. Version 2.
	User *User `json:"user,omitempty"`
	// Discard keeps no output.
	Discard bool `json:"discard,omitempty"`
	// OutputLimit is how many bytes of stdout and stderr together are kept; the job is ended by the first one more.
	OutputLimit int64 `json:"output_limit"`
}

// Rlimit is one resource limit, both soft and hard. Resource is the kernel's number; see prlimit(2).
type Rlimit struct {
	Name     string `json:"name"`
	Resource int    `json:"resource"`
	Value    uint64 `json:"value"`
}

// stopSpec says how processes are ended.
type stopSpec struct {
	Kill  bool          `json:"kill,omitempty"`
	Grace time.Duration `json:"grace,omitempty"`
}

// ForwardSpec is a TCP port that an init forwards, both "address:port".
type ForwardSpec struct {
	Listen string `json:"listen"`
	Target string `json:"target"`
}

// ExitKilled is the exit status of a job that did not end by itself.
const ExitKilled = 255

// JobStatus is where a job is.
type JobStatus struct {
	Job uint32 `json:"job"`
	// PID is the main process's; it may be another process's once the job has ended.
	PID   int  `json:"pid,omitempty"`
	Ended bool `json:"ended,omitempty"`
	// ExitStatus is the main process's own, or ExitKilled after a signal.
	ExitStatus uint32 `json:"exit_status"`
	// Overflow: it was ended because of its output.
	Overflow bool `json:"overflow,omitempty"`
}

// User is who a job runs as, in ids of the init's user namespace. Groups are those beside GID.
type User struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
}

// userVersion is the first version that knows SpawnSpec.User.
const userVersion = 2
