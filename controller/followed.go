package controller

import (
	"slices"
	"time"

	"github.com/durable-dea/dea/api"
)

// followed is what a follower knows of one instance.
type followed struct {
	// said is what the app said of it last, told what was told of it last; each is without a state before the first time.
	said, told api.InstanceStatus
	// whole is set for one that began while its app was followed: all of its life is told. Of another it is what is now.
	whole bool
	// listed is set while the app lists it, unsure while it has to be asked at the next look.
	listed, unsure bool
	// born is set once the app's history was heard to tell of its birth: that comes once, and perhaps after its end.
	born bool
	// ending is set while its workflow's end is waited for, over once DELETED was told.
	ending, over bool
}

// take gives what is to be told by an instance's own answer, and takes it for told.
func (i *followed) take(own api.InstanceStatus) []Change {
	history := own.Changes
	own.Changes = nil
	from, gap := i.untold(history)
	if from == len(history) && startsYet(own.State) && i.saidByNode() {
		return nil // it does not know yet
	}
	var changes []Change
	for at := from; at < len(history); at++ {
		changes = append(changes, Change{InstanceStatus: within(own, history[at]), Missed: at == gap})
	}
	switch last := len(changes) - 1; {
	case last >= 0:
		changes[last].InstanceStatus = own
	case !alike(i.told, own):
		changes = []Change{{InstanceStatus: own}}
	}
	i.told, i.over = own, own.State == api.StateDeleted
	return changes
}

// untold gives the first of an instance's changes that was not told, and the one before which others may be missing, -1 for none.
func (i *followed) untold(history []api.StateChange) (from, gap int) {
	if i.told.State == "" && i.whole {
		return 0, behindFirst(history, 0)
	}
	if i.told.State == "" {
		return max(0, len(history)-1), -1
	}
	told := func(c api.StateChange) bool { return c.State == i.told.State && c.At.Equal(i.told.Since) }
	for from = len(history); from > 0; from-- {
		if told(history[from-1]) {
			return from, behindFirst(history, from)
		}
	}
	next := func(c api.StateChange) bool { return c.At.After(i.told.Since) }
	if i.saidByNode() {
		runs := slices.IndexFunc(history, func(c api.StateChange) bool { return c.State == api.StateRunning })
		if runs >= 0 {
			i.told.Since = history[runs].At
			return runs + 1, behindFirst(history, runs+1)
		}
		next = func(c api.StateChange) bool { return !startsYet(c.State) }
	}
	if from = slices.IndexFunc(history, next); from < 0 {
		return len(history), -1
	}
	return from, max(from, behindFirst(history, from)) // what came before is forgotten
}

// saidByNode tells whether what was told last, that it runs, may be what its node has told its app, a moment before the
// instance knew and by another clock.
func (i *followed) saidByNode() bool {
	return i.told.State == api.StateRunning && i.told.Since.Equal(i.told.RunningSince)
}

func startsYet(s api.InstanceState) bool { return s == api.StateBorn || s == api.StateStarting }

// behindFirst is where changes may be missing since an instance has as many as it remembers: behind the first of them. It is -1
// where none can be missing from a change on.
func behindFirst(history []api.StateChange, from int) int {
	if len(history) >= api.MaxStateChanges && from <= api.FirstStateChanges {
		return api.FirstStateChanges
	}
	return -1
}

// within is an instance's status at an earlier change of it, by what is known of it now.
func within(own api.InstanceStatus, change api.StateChange) api.InstanceStatus {
	own.State, own.Since = change.State, change.At
	if !change.State.Ended() {
		own.Exit = nil
	}
	if own.RunningSince.After(change.At) {
		own.RunningSince = time.Time{}
	}
	if startsYet(change.State) {
		own.Address, own.Unready, own.Evacuating = "", false, false
	}
	return own
}

// repeat tells what the app says of an instance that cannot be asked itself.
func (i *followed) repeat() []Change {
	if alike(i.told, i.said) {
		return nil
	}
	i.told = i.said
	return []Change{{InstanceStatus: i.said}}
}

// ended gives what is to be told of an instance whose workflow has closed, DELETED at last.
func (i *followed) ended(e ending) []Change {
	if i.over || e.err != nil {
		return nil
	}
	var changes []Change
	if e.status.State != "" {
		changes = i.take(e.status)
	}
	if i.over {
		return changes
	}
	// Nobody has seen it end.
	last := i.told
	if last.State == "" {
		last = i.said
	}
	i.over = true
	if last.State == "" { // nor live
		return changes
	}
	last.State, last.Since = api.StateDeleted, e.at
	if last.Exit == nil {
		last.Exit = &api.InstanceExit{Status: -1, Description: api.ExitNotDetermined}
	}
	i.told = last
	return append(changes, Change{InstanceStatus: last, Missed: true})
}

// alike tells whether nothing has changed that is told of.
func alike(a, b api.InstanceStatus) bool {
	sameExit := a.Exit == b.Exit || a.Exit != nil && b.Exit != nil && *a.Exit == *b.Exit
	return a.State == b.State && a.Since.Equal(b.Since) && a.Node == b.Node && a.Address == b.Address &&
		a.Version == b.Version && a.Unready == b.Unready && sameExit && slices.Equal(a.URIs, b.URIs)
}

// agree tells whether an instance is what its app says: each may hear of what the other does a little later.
func agree(said, own api.InstanceStatus) bool {
	return said.State == own.State && said.Version == own.Version && said.Unready == own.Unready &&
		(!said.Rerouted || slices.Equal(said.URIs, own.URIs))
}
