package supervisor_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/warden/wardenpb"
)

func TestResumeFindsAndLooksAfter(t *testing.T) {
	for _, state := range []api.InstanceState{api.StateRunning, api.StateEvacuating, api.StateResuming} {
		t.Run(string(state), func(t *testing.T) {
			n := newNodeTest(t)
			a := n.spawn(t, "i", staysUntil)
			number, closed := port(t, 0)
			a.about.ContainerPort, a.about.Liveness, a.about.Index = number, often(api.CheckPort), 3
			n.lookAfter(a)
			n.temporal.is("i", a.running(state))
			n.die()
			require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
			n.temporal.expect(t, "i", resumed(true))
			require.Equal(t, []supervisor.Instance{a.about}, n.supervisor.Instances())
			require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)), "a newer lease finds nothing to do")
			n.temporal.expect(t, "i", resumed(true))
			closed()
			n.temporal.expect(t, "i", resumed(true), unhealthy())
		})
	}
}

func TestResumeKnowsWhoWasNotReady(t *testing.T) {
	n := newNodeTest(t)
	a := n.spawn(t, "i", staysUntil)
	a.about.ContainerPort, _ = port(t, 0)
	a.about.Ready, a.about.Readiness = false, often(api.CheckPort)
	n.temporal.is("i", a.running(api.StateRunning))
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
	n.temporal.expect(t, "i", resumed(true), readiness(true))
}

func TestResumeLinksAgainForTheEnd(t *testing.T) {
	n := newNodeTest(t)
	a := n.start(t, "i")
	n.die()
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
	a.end(t, "4")
	n.temporal.expect(t, "i", resumed(true), exited(4, api.ExitAppExited))
}

func TestResumeTellsTheTrueStatusOfWhatEnded(t *testing.T) {
	n := newNodeTest(t)
	a := n.start(t, "i")
	n.supervisor.Close()
	a.end(t, "11")
	// Somebody else's link, as that of a worker which died before it told, uses up the job's end.
	_, err := n.server.Client.Link(t.Context(), &wardenpb.LinkRequest{Handle: proto.String("i"), JobId: proto.Uint32(a.job)})
	require.NoError(t, err)
	n.begin()
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
	n.temporal.expect(t, "i", exited(11, api.ExitAppExited))
	require.Empty(t, n.supervisor.Instances())
}

func TestResumeTellsOfWhatEndedAndWasNotLinked(t *testing.T) {
	n := newNodeTest(t)
	a := n.start(t, "i")
	n.supervisor.Close()
	a.end(t, "12")
	time.Sleep(200 * time.Millisecond)
	n.begin()
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
	n.temporal.expectEnd(t, "i", exited(12, api.ExitAppExited))
}

// TestResumeTakesNoSessionForTheApp that goes on in the container of one that has ended.
func TestResumeTakesNoSessionForTheApp(t *testing.T) {
	n := newNodeTest(t)
	a := n.start(t, "i")
	session, err := n.server.Client.Spawn(t.Context(), &wardenpb.SpawnRequest{
		Handle: proto.String("i"), Script: proto.String("exec sleep 600"), DiscardOutput: proto.Bool(true),
	})
	require.NoError(t, err)
	n.supervisor.Close()
	a.end(t, "13")
	_, err = n.server.Client.Link(t.Context(), &wardenpb.LinkRequest{Handle: proto.String("i"), JobId: proto.Uint32(a.job)})
	require.NoError(t, err)
	n.begin()
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
	n.temporal.expect(t, "i", exited(13, api.ExitAppExited))
	info, err := n.server.Client.Info(t.Context(), &wardenpb.InfoRequest{Handle: proto.String("i")})
	require.NoError(t, err)
	require.Equal(t, []uint64{uint64(session.GetJobId())}, info.GetJobIds(), "it goes on")
	job, launched := supervisor.Launched(info)
	require.Zero(t, job, "a start that is tried again does not take it for the app either")
	require.True(t, launched)
}

func TestResumeAfterAReboot(t *testing.T) {
	n := newNodeTest(t)
	a := n.start(t, "i")
	n.supervisor.Close()
	n.server.Reboot()
	n.begin()
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
	n.temporal.expect(t, "i", exited(-1, api.ExitNotDetermined))
}

func TestResumeOfWhatAPowerCutLeft(t *testing.T) {
	n := newNodeTest(t)
	a := n.start(t, "i")
	n.supervisor.Close()
	crash(t, n.server)
	n.begin()
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
	n.temporal.expectEnd(t, "i", exited(-1, api.ExitNotDetermined))
}

func TestResumeWaitsForAWardenThatIsAway(t *testing.T) {
	n := newNodeTest(t)
	a, gone := n.start(t, "i"), n.start(t, "gone")
	n.die()
	_, err := n.server.Client.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: proto.String("gone")})
	require.NoError(t, err)
	n.server.Kill()
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a, gone)), "the lease is worth more than one instance")
	n.temporal.expect(t, "i", resumed(false))
	n.temporal.expect(t, "gone", resumed(false))
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a, gone)))
	time.Sleep(200 * time.Millisecond)
	n.temporal.expect(t, "i", resumed(false))
	n.server.Start()
	n.temporal.expect(t, "i", resumed(false), resumed(true))
	n.temporal.expect(t, "gone", resumed(false), exited(-1, api.ExitNotDetermined))
	require.Equal(t, []supervisor.Instance{a.about}, n.supervisor.Instances())
}

func TestResumeWaitsForTemporal(t *testing.T) {
	n := newNodeTest(t)
	a := n.start(t, "i")
	n.die()
	n.temporal.goes(true)
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
	require.Eventually(t, func() bool { return n.temporal.refusals() > 2 }, patience, time.Millisecond)
	require.NotNil(t, n.supervisor.Watched("i"), "its job is linked all the same")
	n.temporal.goes(false)
	n.temporal.expect(t, "i", resumed(true))
}

func TestResumeLeavesWhoIsNotRunning(t *testing.T) {
	n := newNodeTest(t)
	a := n.spawn(t, "i", staysUntil)
	for _, state := range []api.InstanceState{api.StateBorn, api.StateStarting, api.StateStopping, api.StateCrashed, api.StateDeleted} {
		n.temporal.is("i", a.running(state))
		require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
	}
	require.Empty(t, n.temporal.heard("i"))
	require.Empty(t, n.supervisor.Instances())
	stranger := &app{id: "stranger"}
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(stranger)), "its workflow is gone")
	n.temporal.is("i", a.running(api.StateRunning))
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
	n.temporal.expect(t, "i", resumed(true))
}

func TestSearchIsCalledOff(t *testing.T) {
	n := newNodeTest(t)
	a := n.start(t, "i")
	n.die()
	n.server.Kill()
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
	n.supervisor.Forget("i")
	n.server.Start()
	time.Sleep(1500 * time.Millisecond)
	n.temporal.expect(t, "i", resumed(false))
	require.Nil(t, n.supervisor.Watched("i"))
}

func TestResumeOfMany(t *testing.T) {
	n := newNodeTest(t)
	var apps []*app
	for i := range 40 {
		apps = append(apps, n.start(t, fmt.Sprint("i", i)))
	}
	n.die()
	all := ledger(apps...)
	lost := &app{id: "lost"} // Its container is not there, whatever its workflow believes.
	n.temporal.is("lost", lost.running(api.StateRunning))
	all.Reservations = append(ledger(lost).Reservations, all.Reservations...)
	require.NoError(t, n.supervisor.Resume(t.Context(), all))
	for _, a := range apps {
		n.temporal.expect(t, a.id, resumed(true))
	}
	n.temporal.expect(t, "lost", exited(-1, api.ExitNotDetermined))
	require.Len(t, n.supervisor.Instances(), 40)
}

func TestSlowOneHoldsNobodyUp(t *testing.T) {
	n := newNodeTest(t)
	slow, quick := n.start(t, "slow"), n.start(t, "quick")
	n.die()
	n.temporal.slows("slow")
	ctx, cancel := context.WithCancel(t.Context())
	resume := make(chan error)
	go func() { resume <- n.supervisor.Resume(ctx, ledger(slow, quick)) }()
	n.temporal.expect(t, "quick", resumed(true))
	cancel()
	require.ErrorIs(t, <-resume, context.Canceled)
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(slow, quick)), "it waits no longer than is good for a lease")
	require.Empty(t, n.temporal.heard("slow"))
	n.temporal.slows("")
	n.temporal.expect(t, "slow", resumed(true))
}
