package applogs_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/starter/internal/applogs"
)

// follow follows everything in the background. ended gives its result.
func (w *world) follow(q applogs.Query) (ended <-chan error) {
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(w.t.Context())
	go func() { done <- w.Follow(ctx, q) }()
	w.t.Cleanup(cancel)
	return done
}

func (w *world) eventually(lines ...string) {
	w.t.Helper()
	require.EventuallyWithT(w.t, func(c *assert.CollectT) {
		got, _ := w.said()
		assert.Equal(c, lines, got)
	}, patience, 20*time.Millisecond)
}

func TestFollow(t *testing.T) {
	w := busy(t)
	ended := w.follow(every())
	want := slices.Clone(busyLines)
	w.eventually(want...)

	w.say("b", applogs.Stdout, 12, "says more")
	want = append(want, "00:00:12 1 b stdout says more")
	w.eventually(want...)

	w.start("c", 2, "south")
	w.say("c", applogs.Stderr, 13, "is new")
	want = append(want, "00:00:13 2 c stderr is new")
	w.eventually(want...)

	// The node's worker is started again, elsewhere, and misses nothing.
	w.stop("south")
	w.say("b", applogs.Stdout, 14, "while nobody looked")
	w.serve("south")
	want = append(want, "00:00:14 1 b stdout while nobody looked")
	w.eventually(want...)
	w.say("c", applogs.Stdout, 15, "all is well")
	want = append(want, "00:00:15 2 c stdout all is well")
	w.eventually(want...)

	w.say("a", applogs.Stdout, 16, "good bye")
	for _, id := range []string{"a", "b", "c"} {
		w.end(id, false)
	}
	w.mu.Lock()
	w.app = nil
	w.mu.Unlock()
	require.NoError(t, <-ended)
	want = append(want, "00:00:16 0 a stdout good bye")
	w.eventually(want...)
}

// What an instance said before it crashed is shown once, although it is read from two places.
func TestFollowThroughACrash(t *testing.T) {
	w := busy(t)
	w.follow(every())
	w.eventually(busyLines...)
	w.stop("north")
	w.say("a", applogs.Stderr, 20, "last words")
	w.end("a", true)
	w.serve("north")
	want := append(slices.Clone(busyLines), "00:00:20 0 a stderr last words")
	w.eventually(want...)
	w.start("d", 0, "north")
	w.say("d", applogs.Stdout, 21, "in its place")
	w.eventually(append(want, "00:00:21 0 d stdout in its place")...)
}

func TestFollowEndsWithItsContext(t *testing.T) {
	w := busy(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Follow(ctx, every()) }()
	w.eventually(busyLines...)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

// An instance's first lines are no last lines: those of one that comes later are all shown, however many were wanted to begin
// with, and also of one that crashes before anybody has seen it.
func TestFollowShowsAllOfWhatIsNew(t *testing.T) {
	w := busy(t)
	q := every()
	q.Lines = 1
	w.follow(q)
	want := []string{busyLines[5]}
	w.eventually(want...)
	w.mu.Lock()
	w.hung = make(chan struct{}) // nobody sees it before it has said all
	w.mu.Unlock()
	w.start("c", 2, "south")
	for second := range 3 {
		w.say("c", applogs.Stdout, 20+second, "begins")
		want = append(want, fmt.Sprintf("00:00:%d 2 c stdout begins", 20+second))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(w.base, "unseen", "logs"), 0o700))
	for second := range 3 {
		w.say("unseen", applogs.Stderr, 30+second, "cannot begin")
		want = append(want, fmt.Sprintf("00:00:%d 3 unseen stderr cannot begin", 30+second))
	}
	w.mu.Lock()
	w.ended = slices.Insert(w.ended, 0, api.InstanceStatus{InstanceID: "unseen", Index: 3, Node: "south", State: api.StateDeleted})
	close(w.hung)
	w.hung = nil
	w.mu.Unlock()
	w.eventually(want...)
}

// So are those of one that is known from the beginning and not on its node yet.
func TestFollowShowsAllOfWhatIsYetToCome(t *testing.T) {
	w := busy(t)
	w.start("c", 2, "south")
	made, ready := filepath.Join(w.base, "c"), filepath.Join(w.base, "ready")
	require.NoError(t, os.Rename(made, ready))
	q := every()
	q.Lines = 1
	w.follow(q)
	w.eventually(busyLines[5])
	for second := range 3 {
		w.say("ready", applogs.Stdout, 20+second, "begins")
	}
	require.NoError(t, os.Rename(ready, made))
	w.eventually(busyLines[5], "00:00:20 2 c stdout begins", "00:00:21 2 c stdout begins", "00:00:22 2 c stdout begins")
}

// An app's workflow may not answer for long, or not be there while instances run that were started by themselves.
func TestFollowWithoutTheAppsWorkflow(t *testing.T) {
	w := busy(t)
	ended := w.follow(every())
	w.eventually(busyLines...)
	hung := make(chan struct{})
	w.mu.Lock()
	w.hung = hung
	w.mu.Unlock()
	w.say("a", applogs.Stdout, 10, "is heard meanwhile")
	want := append(slices.Clone(busyLines), "00:00:10 0 a stdout is heard meanwhile")
	w.eventually(want...)

	w.mu.Lock()
	w.alone, w.app, w.hung = w.app.Instances, nil, nil
	w.mu.Unlock()
	close(hung)
	asked := w.timesAsked()
	require.Eventually(t, func() bool { return w.timesAsked() >= asked+3 }, patience, 20*time.Millisecond)
	w.say("b", applogs.Stdout, 20, "is alone")
	w.eventually(append(want, "00:00:20 1 b stdout is alone")...)
	w.mu.Lock()
	w.alone = nil
	w.mu.Unlock()
	require.NoError(t, os.RemoveAll(filepath.Join(w.base, "a")))
	require.NoError(t, os.RemoveAll(filepath.Join(w.base, "b")))
	require.NoError(t, <-ended)
}

func TestFollowTellsThatItWaits(t *testing.T) {
	w := busy(t)
	q := every()
	q.Index = 7
	w.follow(q)
	w.eventuallyWarned("hello has no instance 7 now: waiting")
	w.start("c", 7, "south")
	w.say("c", applogs.Stdout, 13, "is there")
	w.eventually("00:00:13 7 c stdout is there")
}

// Each time that a node goes away is told once.
func TestFollowTellsOfEachAbsence(t *testing.T) {
	w := busy(t)
	w.follow(every())
	w.eventually(busyLines...)
	want := slices.Clone(busyLines)
	for n := range 2 {
		w.stop("south")
		w.eventuallyWarned(slices.Repeat([]string{"logs of instance b: the node's directory server does not answer"}, n+1)...)
		w.serve("south")
		w.say("b", applogs.Stdout, 20+n, "is back")
		want = append(want, fmt.Sprintf("00:00:%d 1 b stdout is back", 20+n))
		w.eventually(want...)
	}
}

func (w *world) timesAsked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

func (w *world) eventuallyWarned(warnings ...string) {
	w.t.Helper()
	require.EventuallyWithT(w.t, func(c *assert.CollectT) {
		_, got := w.said()
		assert.Equal(c, warnings, got)
	}, patience, 20*time.Millisecond)
}
