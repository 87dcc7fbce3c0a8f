package workflows

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/api"
)

// app is what EvaluateHealth knows of its app: what is wanted, and what there is. Its methods decide; they do
// nothing.
type app struct {
	id string
	// shape is the run's; see api.AppShape.
	shape    int
	spec     *api.AppSpec
	deleting bool
	// instances are those that live, by id.
	instances map[string]*member
	// crashes are what the restart policy remembers, by index.
	crashes map[int]api.CrashCount

	// problem is why the last placement was refused, notBefore when the next is tried.
	problem   string
	notBefore time.Time
	refusals  int
}

// member is one living instance of the app.
type member struct {
	status api.InstanceStatus
	// stopping is set once it was told to stop, by whomever.
	stopping bool
	// starting is set until its workflow has begun, outdated while it does not know of its latest routes.
	starting, outdated bool
}

// shown is the member's status with what it was told.
func (m *member) shown() api.InstanceStatus {
	status := m.status
	if m.stopping {
		status.State = api.StateStopping
	}
	return status
}

func newApp(in api.AppInput) *app {
	a := &app{
		id: in.AppID, shape: in.Shape, spec: in.Spec, deleting: in.Deleting,
		instances: map[string]*member{}, crashes: in.Crashes,
	}
	if a.crashes == nil {
		a.crashes = map[int]api.CrashCount{}
	}
	for _, status := range in.Instances {
		// Each had its routes itself once.
		status.Rerouted, status.URIs = status.Rerouted || len(status.URIs) > 0, nil
		a.instances[status.InstanceID] = &member{
			status: status, stopping: status.State == api.StateStopping,
			outdated: slices.Contains(in.Outdated, status.InstanceID),
		}
	}
	return a
}

// next is the input of the run that continues this one.
func (a *app) next() api.AppInput {
	in := api.AppInput{AppID: a.id, Shape: api.AppShape, Spec: a.spec, Crashes: a.crashes, Deleting: a.deleting}
	for _, m := range a.members() {
		in.Instances = append(in.Instances, m.shown())
		if m.outdated {
			in.Outdated = append(in.Outdated, m.status.InstanceID)
		}
	}
	return in
}

// members are the living instances by index, the oldest first. The order is the same at every replay.
func (a *app) members() []*member {
	//workflowcheck:ignore they are sorted
	return slices.SortedFunc(maps.Values(a.instances), func(x, y *member) int {
		return cmp.Or(
			cmp.Compare(x.status.Index, y.status.Index),
			x.status.Since.Compare(y.status.Since),
			cmp.Compare(x.status.InstanceID, y.status.InstanceID),
		)
	})
}

func (a *app) desired() int {
	if a.deleting || a.spec == nil {
		return 0
	}
	return a.spec.Instances
}

func (a *app) version() string {
	if a.spec == nil {
		return ""
	}
	return a.spec.Message.Version
}

// desire takes a new description of the app. What has crashed of another version says nothing about this one, and
// somebody who starts a stopped app wants it tried at once.
func (a *app) desire(spec api.AppSpec) {
	if spec.Message.Version != a.version() || a.desired() == 0 {
		clear(a.crashes)
	}
	if a.spec != nil && !slices.Equal(spec.Message.URIs, a.spec.Message.URIs) {
		// What runs keeps the routes that it has, which are the app's no more.
		//workflowcheck:ignore any order does the same
		for _, m := range a.instances {
			m.status.Rerouted, m.outdated = false, false
		}
	}
	a.spec = &spec
	a.tryAgain()
}

func (a *app) scale(instances int) {
	if a.desired() == 0 {
		clear(a.crashes)
	}
	a.spec.Instances = instances
	//workflowcheck:ignore any order deletes the same
	for index := range a.crashes {
		if index >= instances {
			delete(a.crashes, index)
		}
	}
	a.tryAgain()
}

// route takes on other routes, and another version with which the instances go on as they are. It gives those that are
// to take them on, too.
func (a *app) route(request api.RoutesRequest) []*member {
	a.spec.Message.URIs = request.URIs
	var told []*member
	for _, m := range a.members() {
		if m.stopping || m.status.Version != a.version() {
			continue
		}
		m.status.Rerouted = true
		m.status.Version = cmp.Or(request.Version, m.status.Version)
		told = append(told, m)
	}
	a.spec.Message.Version = cmp.Or(request.Version, a.spec.Message.Version)
	return told
}

func (a *app) tryAgain() { a.problem, a.notBefore, a.refusals = "", time.Time{}, 0 }

// heard takes in what an instance says of itself.
func (a *app) heard(status api.InstanceStatus, now time.Time) {
	m, known := a.instances[status.InstanceID]
	if !known {
		return // Its end was heard of already.
	}
	if a.shape > 0 {
		// Its version and its routes are what the app has told it last, which it may not have heard yet.
		status.Version, status.Rerouted = m.status.Version, m.status.Rerouted
	}
	if !status.State.Ended() {
		status.URIs = nil
		m.status = status
		// One that is stopping stops, whoever told it to.
		m.stopping = m.stopping || a.shape > 0 && status.State == api.StateStopping
		return
	}
	delete(a.instances, status.InstanceID)
	a.tryAgain() // Its room is, or is about to be, free.
	expected := m.stopping || status.State != api.StateCrashed || status.Version != a.version()
	if expected || status.Index >= a.desired() {
		return
	}
	if status.Exit != nil && status.Exit.Description == api.ExitNodeLost {
		return // The app is not to blame.
	}
	var ran time.Duration
	if !status.RunningSince.IsZero() {
		ran = status.Since.Sub(status.RunningSince)
	}
	a.crashes[status.Index] = crashed(a.crashes[status.Index], status, ran, now)
}

// surplus are the instances to stop: beyond the wanted number, of another version or on an evacuated node where what is
// wanted runs, and doubles. Of doubles the one that runs longest stays.
func (a *app) surplus() []*member {
	var surplus []*member
	//workflowcheck:ignore they are sorted below
	for index, members := range a.byIndex() {
		keep := a.keeper(members)
		for _, m := range members {
			switch {
			case m.stopping:
			case index >= a.desired(),
				a.stays(m) && m != keep,
				!a.stays(m) && keep != nil && keep.serves():
				surplus = append(surplus, m)
			}
		}
	}
	slices.SortFunc(surplus, func(x, y *member) int { return cmp.Compare(x.status.InstanceID, y.status.InstanceID) })
	return surplus
}

// stays tells whether an instance is, as far as is known, what is wanted at its index: of the wanted version and on a
// node that it may stay on.
func (a *app) stays(m *member) bool {
	return m.status.Version == a.version() && !m.evacuated()
}

// evacuated tells whether the instance is to be replaced elsewhere, whatever else it does meanwhile.
func (m *member) evacuated() bool {
	return m.status.Evacuating || m.status.State == api.StateEvacuating
}

// serves tells whether routes lead to an instance: what it replaces may go.
func (m *member) serves() bool { return m.status.State == api.StateRunning && !m.status.Unready }

// keeper is the one of an index's instances that is, or will be, what is wanted there; nil when none is.
func (a *app) keeper(members []*member) *member {
	var keep *member
	for _, m := range members {
		if m.stopping || !a.stays(m) {
			continue
		}
		if keep == nil || m.serves() && !keep.serves() {
			keep = m
		}
	}
	return keep
}

func (a *app) byIndex() map[int][]*member {
	indices := map[int][]*member{}
	for _, m := range a.members() {
		indices[m.status.Index] = append(indices[m.status.Index], m)
	}
	return indices
}

// missing are the indices at which an instance is to be started now.
func (a *app) missing(now time.Time) []int {
	if now.Before(a.notBefore) {
		return nil
	}
	indices := a.byIndex()
	var missing []int
	for index := range a.desired() {
		if a.keeper(indices[index]) == nil && !now.Before(a.crashes[index].RetryAt) {
			missing = append(missing, index)
		}
	}
	return missing
}

// due is when something is to be started that is missing now; zero when nothing is missing.
func (a *app) due(now time.Time) time.Time {
	indices := a.byIndex()
	var due time.Time
	for index := range a.desired() {
		if a.keeper(indices[index]) != nil {
			continue
		}
		at := a.crashes[index].RetryAt
		if at.Before(a.notBefore) {
			at = a.notBefore
		}
		if at.Before(now) {
			at = now
		}
		if due.IsZero() || at.Before(due) {
			due = at
		}
	}
	return due
}

// Between two placements after one was refused.
const (
	firstPlacementPause   = time.Second
	longestPlacementPause = 30 * time.Second
)

// refused keeps the reason for the user and puts the next placement off.
func (a *app) refused(problem string, now time.Time) {
	a.problem = problem
	pause := min(firstPlacementPause<<min(a.refusals, 5), longestPlacementPause)
	a.refusals++
	a.notBefore = now.Add(pause)
}

// spread is how many living instances each node has.
func (a *app) spread() map[string]int {
	spread := map[string]int{}
	//workflowcheck:ignore any order counts the same
	for _, m := range a.instances {
		spread[m.status.Node]++
	}
	return spread
}

func (a *app) status(now time.Time) api.AppStatus {
	s := api.AppStatus{AppID: a.id, Version: a.version(), Desired: a.desired(), Deleting: a.deleting, Problem: a.problem}
	if a.spec != nil {
		s.Name, s.URIs = a.spec.Message.Name, a.spec.Message.URIs
	}
	living := map[int]bool{}
	for _, m := range a.members() {
		status := m.shown()
		s.Instances = append(s.Instances, status)
		living[status.Index] = true
		if status.State == api.StateRunning && status.Version == s.Version {
			s.Running++
		}
	}
	//workflowcheck:ignore they are sorted
	for _, index := range slices.Sorted(maps.Keys(a.crashes)) {
		last := a.crashes[index].Last
		if !living[index] && index < s.Desired {
			s.Instances = append(s.Instances, last)
		}
		if s.Problem == "" && !living[index] && last.Exit != nil {
			s.Problem = fmt.Sprintf("instance %d: %s", index, last.Exit.Description)
		}
	}
	if due := a.due(now); due.After(now) {
		s.RetryAt = &due
	}
	return s
}

// details are for the operator, in Temporal's UI.
func (a *app) details(ctx workflow.Context) string {
	s := a.status(workflow.Now(ctx))
	text := fmt.Sprintf("**%s**: %d of %d instances running", s.Name, s.Running, s.Desired)
	if s.Problem != "" {
		text += "\n\n" + s.Problem
	}
	if s.RetryAt != nil {
		text += fmt.Sprintf("\n\nNext try at %s.", s.RetryAt.UTC().Format(time.TimeOnly))
	}
	return text
}
