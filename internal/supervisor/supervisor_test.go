package supervisor_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/warden/wardenpb"
)

func TestEndIsToldWithItsStatus(t *testing.T) {
	n := newNodeTest(t)
	a := n.spawn(t, "i", staysUntil)
	n.supervisor.Watch(a.id, a.job)
	require.Empty(t, n.supervisor.Came())
	n.supervisor.LookAfter(a.about)
	require.Len(t, n.supervisor.Came(), 1)
	n.supervisor.LookAfter(a.about)
	require.Equal(t, []supervisor.Instance{a.about}, n.supervisor.Instances())
	a.end(t, "7")
	n.temporal.expect(t, "i", exited(7, api.ExitAppExited))
	require.Empty(t, n.supervisor.Instances())
}

func TestEndBeforeItIsLookedAfterIsToldThen(t *testing.T) {
	n := newNodeTest(t)
	a := n.spawn(t, "i", staysUntil)
	w := n.supervisor.Watch(a.id, a.job)
	a.end(t, "3")
	<-w.Done()
	require.Empty(t, n.temporal.heard("i"), "a start that fails tells of it itself")
	n.supervisor.LookAfter(a.about)
	n.supervisor.LookAfter(a.about)
	n.temporal.expect(t, "i", exited(3, api.ExitAppExited))
	require.Empty(t, n.supervisor.Instances())
}

func TestForgottenInstanceIsNotHeardOf(t *testing.T) {
	n := newNodeTest(t)
	a := n.spawn(t, "i", staysUntil)
	var closed func()
	a.about.ContainerPort, closed = port(t, 0)
	closed()
	a.about.Liveness, a.about.Readiness = often(api.CheckPort), often(api.CheckPort)
	n.lookAfter(a)
	n.supervisor.Forget("i")
	n.supervisor.Forget("i")
	require.Empty(t, n.supervisor.Instances())
	a.end(t, "1")
	time.Sleep(2 * time.Second)
	require.Empty(t, n.temporal.heard("i"))
}

func TestInstanceWithoutAPortIsTakenForWell(t *testing.T) {
	n := newNodeTest(t)
	a := n.spawn(t, "i", staysUntil)
	a.about.Liveness, a.about.Readiness = often(api.CheckPort), often(api.CheckHTTP)
	n.lookAfter(a)
	time.Sleep(1500 * time.Millisecond)
	require.Empty(t, n.temporal.heard("i"))
}

func TestFailedLivenessIsToldOnce(t *testing.T) {
	n := newNodeTest(t)
	a := n.spawn(t, "i", staysUntil)
	var closed func()
	a.about.ContainerPort, closed = port(t, 0)
	a.about.Liveness = often(api.CheckPort)
	n.lookAfter(a)
	time.Sleep(2 * time.Second)
	require.Empty(t, n.temporal.heard("i"))
	closed()
	n.temporal.expect(t, "i", unhealthy())
	require.False(t, n.supervisor.Instances()[0].Ready, "no route leads to it any more")
	a.end(t, "1")
	time.Sleep(2 * time.Second)
	n.temporal.expect(t, "i", unhealthy())
}

// TestEndIsTheReasonOfAFailedLiveness: an app that dies closes its port first.
func TestEndIsTheReasonOfAFailedLiveness(t *testing.T) {
	n := newNodeTest(t)
	a := n.spawn(t, "i", staysUntil)
	var closed func()
	a.about.ContainerPort, closed = port(t, 0)
	a.about.Liveness = often(api.CheckPort)
	n.lookAfter(a)
	closed()
	a.end(t, "9")
	n.temporal.expect(t, "i", exited(9, api.ExitAppExited))
	time.Sleep(2 * time.Second)
	n.temporal.expect(t, "i", exited(9, api.ExitAppExited))
}

func TestReadinessIsLostAndRegained(t *testing.T) {
	n := newNodeTest(t)
	a := n.spawn(t, "i", staysUntil)
	number, closed := port(t, 0)
	a.about.ContainerPort, a.about.Readiness = number, often(api.CheckPort)
	n.lookAfter(a)
	closed()
	n.temporal.expect(t, "i", readiness(false))
	require.False(t, n.supervisor.Instances()[0].Ready)
	port(t, number)
	n.temporal.expect(t, "i", readiness(false), readiness(true))
	require.True(t, n.supervisor.Instances()[0].Ready)
}

// TestNewestReadinessIsToldAlone: what changed and changed back in an outage of Temporal is told as it is in the end.
func TestNewestReadinessIsToldAlone(t *testing.T) {
	n := newNodeTest(t)
	a := n.spawn(t, "i", staysUntil)
	number, closed := port(t, 0)
	a.about.ContainerPort, a.about.Readiness = number, often(api.CheckPort)
	n.lookAfter(a)
	n.temporal.goes(true)
	closed()
	require.Eventually(t, func() bool { return n.temporal.refusals() > 0 }, patience, time.Millisecond)
	port(t, number)
	require.Eventually(t, func() bool { return n.supervisor.Instances()[0].Ready }, patience, time.Millisecond)
	n.temporal.goes(false)
	n.temporal.expect(t, "i", readiness(true))
}

func TestEndIsInsistedOn(t *testing.T) {
	n := newNodeTest(t)
	a := n.start(t, "i")
	n.temporal.goes(true)
	a.end(t, "5")
	require.Eventually(t, func() bool { return n.temporal.refusals() > 3 }, patience, time.Millisecond)
	n.temporal.goes(false)
	n.temporal.expect(t, "i", exited(5, api.ExitAppExited))
}

func TestLinksAreMadeAgain(t *testing.T) {
	n := newNodeTest(t)
	a := n.start(t, "i")
	n.server.Kill()
	time.Sleep(50 * time.Millisecond)
	n.server.Start()
	require.Empty(t, n.temporal.heard("i"))
	a.end(t, "8")
	n.temporal.expect(t, "i", exited(8, api.ExitAppExited))
}

func TestEndWhileWardenIsAwayKeepsItsStatus(t *testing.T) {
	n := newNodeTest(t)
	a := n.start(t, "i")
	n.server.Kill()
	a.end(t, "6")
	time.Sleep(100 * time.Millisecond)
	require.Empty(t, n.temporal.heard("i"))
	n.server.Start()
	n.temporal.expect(t, "i", exited(6, api.ExitAppExited))
}

func TestContainerThatWardenLostHasEnded(t *testing.T) {
	n := newNodeTest(t)
	n.start(t, "i")
	n.server.Reboot()
	n.temporal.expect(t, "i", exited(-1, api.ExitNotDetermined))
}

func TestContainerWhoseProcessesAreGoneHasEnded(t *testing.T) {
	n := newNodeTest(t)
	n.start(t, "i")
	crash(t, n.server)
	n.temporal.expect(t, "i", exited(-1, api.ExitNotDetermined))
}

func TestDestroyedContainerHasEnded(t *testing.T) {
	n := newNodeTest(t)
	n.start(t, "i")
	_, err := n.server.Client.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: proto.String("i")})
	require.NoError(t, err)
	n.temporal.expect(t, "i", exited(-1, api.ExitNotDetermined))
}
