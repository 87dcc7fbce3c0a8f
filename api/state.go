package api

import "slices"

// InstanceState is where an instance is in its life.
//
//	BORN --> STARTING --> RUNNING <--> EVACUATING
//	  |          |         |   ^           |
//	  |          |         |   RESUMING <--+   (any living state, while its worker comes back)
//	  |          v         v               |
//	  +-----> CRASHED   STOPPING <---------+
//	             |         |
//	             |         v
//	             |      STOPPED
//	             v         v
//	             DELETED <-+
//
// From every living state (BORN, STARTING, RUNNING, RESUMING, EVACUATING) both STOPPING and CRASHED can follow;
// after CRASHED and STOPPED only DELETED.
type InstanceState string

// The states of an instance.
const (
	// StateBorn: its workflow has begun.
	StateBorn InstanceState = "BORN"
	// StateStarting: its droplet is fetched, its container made, its command run, its health awaited.
	StateStarting InstanceState = "STARTING"
	// StateRunning: it is healthy, as far as is known.
	StateRunning InstanceState = "RUNNING"
	// StateResuming: a worker that came back looks for it.
	StateResuming InstanceState = "RESUMING"
	// StateEvacuating: it runs until its replacement does.
	StateEvacuating InstanceState = "EVACUATING"
	// StateStopping: it was told to end.
	StateStopping InstanceState = "STOPPING"
	// StateStopped: it has ended because it was told to.
	StateStopped InstanceState = "STOPPED"
	// StateCrashed: it has ended, or never became healthy, of its own.
	StateCrashed InstanceState = "CRASHED"
	// StateDeleted: nothing of it is left on its node but, after a crash, its logs.
	StateDeleted InstanceState = "DELETED"
)

// InstanceStates are all states that an instance can be in, in the order of a life.
func InstanceStates() []InstanceState {
	return []InstanceState{
		StateBorn, StateStarting, StateRunning, StateResuming, StateEvacuating,
		StateStopping, StateStopped, StateCrashed, StateDeleted,
	}
}

var transitions = map[InstanceState][]InstanceState{
	StateBorn:       {StateStarting, StateStopping, StateCrashed},
	StateStarting:   {StateRunning, StateResuming, StateStopping, StateCrashed},
	StateRunning:    {StateResuming, StateEvacuating, StateStopping, StateCrashed},
	StateResuming:   {StateRunning, StateEvacuating, StateStopping, StateCrashed},
	StateEvacuating: {StateRunning, StateResuming, StateStopping, StateCrashed},
	StateStopping:   {StateStopped, StateCrashed},
	StateStopped:    {StateDeleted},
	StateCrashed:    {StateDeleted},
	StateDeleted:    {},
}

// CanBecome tells whether next may follow s.
func (s InstanceState) CanBecome(next InstanceState) bool {
	return slices.Contains(transitions[s], next)
}

// Alive tells whether the instance uses, or will use, its node.
func (s InstanceState) Alive() bool {
	switch s {
	case StateBorn, StateStarting, StateRunning, StateResuming, StateEvacuating, StateStopping:
		return true
	default:
		return false
	}
}

// Ended tells whether the instance has run its course: STOPPED, CRASHED or DELETED.
func (s InstanceState) Ended() bool {
	return s == StateStopped || s == StateCrashed || s == StateDeleted
}
