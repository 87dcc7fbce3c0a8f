package api

import "time"

// StageInput starts StageApp.
type StageInput struct {
	Request StagingRequest `json:"request"`
	// RoomPatience is how long to try again where no node has room: an earlier staging of the app that was cancelled for
	// this one is about to give its own back. 0 is not at all.
	RoomPatience time.Duration `json:"room_patience,omitempty"`
}

// StageAnswer says that a staging is under way.
type StageAnswer struct {
	// Again is set when a staging of this task had been begun before: it is that one.
	Again bool `json:"again,omitempty"`
}

// StagingsInput starts AppStagings, and is carried from each of its runs to the next.
type StagingsInput struct {
	AppID string `json:"app_id"`
	// Newest is the task that was begun last, empty in a run that was started together with its first UpdateStage.
	Newest string `json:"newest,omitempty"`
	// Others are the tasks of the last run that had not ended by then.
	Others []string `json:"others,omitempty"`
}

// StagingsStatus says which stagings of an app AppStagings knows of.
type StagingsStatus struct {
	AppID string `json:"app_id"`
	// Newest is the task that was begun last.
	Newest string `json:"newest"`
	// Open are the tasks that have not ended, Newest among them, in the order of their begin.
	Open []string `json:"open,omitempty"`
}

// AppInput starts EvaluateHealth, and is carried from each of its runs to the next.
type AppInput struct {
	AppID string `json:"app_id"`
	// Spec is nil in a run that was started together with its first UpdateDesire.
	Spec *AppSpec `json:"spec,omitempty"`
	// Instances are those that the last run knew of.
	Instances []InstanceStatus `json:"instances,omitempty"`
	// Outdated are the ids of those that do not know of their latest routes.
	Outdated []string `json:"outdated,omitempty"`
	// Crashes are the counts of the last run, by index.
	Crashes map[int]CrashCount `json:"crashes,omitempty"`
	// Deleting is set once the app is to go.
	Deleting bool `json:"deleting,omitempty"`
	// Shape is the workflow's shape that the run goes through: AppShape for a new run, less where its history began with
	// earlier code.
	Shape int `json:"shape,omitempty"`
}

// AppShape is the shape of EvaluateHealth that new runs go through:
//
//	0  what an instance says of its version and routes is believed; one that somebody else stops is replaced when it is
//	   gone; an id that found no room is offered again for whatever size; a batch goes out as one task
//	1  none of these
const AppShape = 1

// CrashCount is the restart policy's memory of one index of an app.
type CrashCount struct {
	// Count is the number of crashes since the last five minutes of RUNNING.
	Count int `json:"count"`
	// RetryAt is when the next start is due; zero for at once.
	RetryAt time.Time `json:"retry_at"`
	// Last is the instance that crashed last.
	Last InstanceStatus `json:"last"`
}
