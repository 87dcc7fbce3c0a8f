package cgroups

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/wardend/internal/backend"
)

// queue writes into TCP connections, from which nobody reads, until nothing more goes in or it was enough.
func queue(enough int) (queued int, err error) {
	const (
		connections = 128
		stuck       = 20 * time.Millisecond
	)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	chunk := make([]byte, 64<<10)
	for range connections {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return queued, err
		}
		if _, err := listener.Accept(); err != nil {
			return queued, err
		}
		for queued < enough {
			if err := conn.SetWriteDeadline(time.Now().Add(stuck)); err != nil {
				return queued, err
			}
			n, err := conn.Write(chunk)
			queued += n
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return queued, err
			}
		}
	}
	return queued, nil
}

// TestMemoryLimitHoldsForSockets: on v1 the buffers of TCP are no part of a group's memory.
func TestMemoryLimitHoldsForSockets(t *testing.T) {
	const limit, enough = 32 * mib, 256 * mib
	g := newGroup(t, onlyV1(t), "a")
	_ = content(t, g, memoryController, "memory.limit_in_bytes") // skips where there is no such controller
	file, _ := g.file(memoryController, "memory.kmem.tcp.limit_in_bytes")
	unlimited, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("this kernel does not bound sockets")
	}
	require.NoError(t, err)
	require.NoError(t, g.SetMemory(limit))
	require.Equal(t, strconv.Itoa(limit/socketsPart), content(t, g, memoryController, "memory.kmem.tcp.limit_in_bytes"))

	p := into(t, g, "queue "+strconv.Itoa(enough))
	var queued int
	_, err = fmt.Sscanf(p.line(t), "queued %d\n", &queued)
	require.NoError(t, err)
	require.NotZero(t, queued, "sockets work at the bound")
	require.Less(t, queued, limit)
	kills, err := g.OOMKills()
	require.NoError(t, err)
	require.Zero(t, kills)

	require.NoError(t, g.SetMemory(limit/2), "buffers that cannot be had back are no reason to refuse the limit")
	p.end()
	require.NoError(t, g.SetMemory(backend.UnlimitedMemory))
	require.Equal(t, string(unlimited), content(t, g, memoryController, "memory.kmem.tcp.limit_in_bytes")+"\n")
}
