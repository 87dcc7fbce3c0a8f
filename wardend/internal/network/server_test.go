package network

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	crashInstance = "crash"
	pidsEnv       = "NETWORK_TEST_PIDS"
	crashes       = 30
)

// serverMain is a wardend that works until it is killed: containers with these pids come and go.
func serverMain() {
	ctx := context.Background()
	n, err := Open(ctx, testOptions(crashInstance, testPool()))
	if err != nil {
		panic(err)
	}
	fmt.Println("open")
	var pids []int
	for _, text := range strings.Split(os.Getenv(pidsEnv), ",") {
		var pid int
		if _, err := fmt.Sscan(text, &pid); err != nil {
			panic(err)
		}
		pids = append(pids, pid)
	}
	for round := uint32(0); ; round++ {
		for i, pid := range pids {
			network := n.slotAt(uint32(i)*7 + round%3).network()
			for _, err := range []error{
				n.Attach(ctx, network, pid),
				n.NetIn(ctx, network, uint16(61000+i), 8080),
				n.NetOut(ctx, network, rule4(deniedAddress, tcp)),
				n.LimitBandwidth(ctx, network, 10<<20, 1<<20),
				n.Detach(ctx, network),
			} {
				if err != nil {
					panic(err)
				}
			}
		}
	}
}

func TestNothingIsLeftAfterCrashes(t *testing.T) {
	newOutside(t)
	nodes := []*node{startNode(t), startNode(t), startNode(t)}
	pids := fmt.Sprintf("%d,%d,%d", nodes[0].pid(), nodes[1].pid(), nodes[2].pid())
	var found int
	n := open(t, crashInstance, testPool()) // which cleans up whatever happens
	for range crashes {
		server := exec.CommandContext(t.Context(), os.Args[0])
		server.Env = append(os.Environ(), roleEnv+"="+roleServer, pidsEnv+"="+pids)
		server.Stderr = os.Stderr
		server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := server.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, server.Start())
		_, err = out.Read(make([]byte, len("open\n")))
		require.NoError(t, err)
		<-time.After(time.Duration(rand.IntN(60_000)) * time.Microsecond) // any moment
		require.NoError(t, server.Process.Kill())
		require.ErrorContains(t, server.Wait(), "killed")

		n, err := Open(t.Context(), testOptions(crashInstance, testPool()))
		require.NoError(t, err)
		networks, err := n.Networks(t.Context())
		require.NoError(t, err)
		found += len(networks)
		for _, network := range networks {
			require.NoError(t, n.Detach(t.Context(), network))
		}
		networks, err = n.Networks(t.Context())
		require.NoError(t, err)
		require.Empty(t, networks)
		require.NoError(t, n.Close())
		table := command(t, "nft", "list", "table", "ip", "wardend_"+crashInstance)
		require.NotContains(t, table, chainPrefix)
		require.NotContains(t, table, "elements")
		require.NotContains(t, command(t, "ip", "-o", "link"), crashInstance+"-")
	}
	require.NotZero(t, found, "the kills came too late")
	require.NoError(t, n.Remove(t.Context()))
	requireNothing(t, crashInstance)
	require.NotContains(t, command(t, "ip", "route"), testPool().String())
}

func TestAllAtOnce(t *testing.T) {
	out := newOutside(t)
	n := open(t, "t1", testPool())
	const containers, rounds = 8, 4
	stays := attach(t, n, 100)
	fill(t, n, stays, 61500)
	nodes := make([]*node, containers)
	for i := range nodes {
		nodes[i] = startNode(t)
	}
	var left atomic.Int32
	var group sync.WaitGroup
	for i, c := range nodes {
		group.Go(func() {
			network := n.slotAt(uint32(i)).network()
			hostPort := uint16(61001 + i)
			for range rounds {
				ctx := t.Context()
				if !assert.NoError(t, n.Attach(ctx, network, c.pid())) { //nolint:testifylint // this is no test's goroutine
					return
				}
				var inner sync.WaitGroup
				inner.Go(func() { assert.NoError(t, n.NetIn(ctx, network, hostPort, 8080)) })
				inner.Go(func() { assert.NoError(t, n.NetOut(ctx, network, rule4(deniedAddress, tcp))) })
				inner.Go(func() { assert.NoError(t, n.NetOut(ctx, network, rule4(farOther, udp))) })
				inner.Go(func() { assert.NoError(t, n.NetOut(ctx, network, rule4(deniedAddress, tcp))) })
				inner.Go(func() { assert.NoError(t, n.LimitBandwidth(ctx, network, 10<<20, 1<<20)) })
				inner.Go(func() { assert.ErrorIs(t, n.NetIn(ctx, network, 61500, 1), ErrPortTaken) })
				inner.Go(func() {
					_, err := n.Networks(ctx)
					assert.NoError(t, err)
				})
				inner.Wait()
				got := c.dial(t, "tcp4", deniedAddress+":8080")
				assert.Empty(t, got.Err)
				inner.Go(func() { assert.NoError(t, n.Detach(ctx, network)) })
				inner.Go(func() { assert.NoError(t, n.Detach(ctx, network)) })
				inner.Wait()
				left.Add(1)
			}
		})
	}
	group.Wait()
	require.EqualValues(t, containers*rounds, left.Load())
	assert.Equal(t, outsideAddress, out.reaches(t, "tcp4", hostAddress+":61500"))
	networks, err := n.Networks(t.Context())
	require.NoError(t, err)
	require.Equal(t, []netip.Prefix{stays.network}, networks)
	require.NoError(t, n.Detach(t.Context(), stays.network))
	table := command(t, "nft", "list", "table", "ip", n.table())
	require.NotContains(t, table, chainPrefix)
	require.NotContains(t, table, "elements")
}
