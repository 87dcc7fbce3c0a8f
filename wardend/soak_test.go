package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// soakEnv is how many containers TestSoak makes; `make soak-wardend` sets it to 1000.
const soakEnv = "WARDEND_SOAK"

// TestSoak makes and destroys containers while wardend is killed now and then at any moment, and looks whether anything
// is left of them anywhere.
func TestSoak(t *testing.T) {
	parts := realOrSkip(t)
	total := 100
	if set, err := strconv.Atoi(os.Getenv(soakEnv)); err == nil {
		total = set
	}
	t.Parallel()
	w := startReal(t, parts, "--name", "soak", "--pool-network", "10.77.0.0/22", "--grace-time", "1000", "--log-level", "warn")
	s := &soak{t: t, w: w, c: warden.NewClient(w.Socket()), pool: "10.77."}
	t.Cleanup(func() { _ = s.c.Close() })
	s.run(total)
	for _, h := range s.list() {
		s.must(func(ctx context.Context) error {
			_, err := s.c.Destroy(ctx, &wardenpb.DestroyRequest{Handle: &h})
			return err
		})
	}
	t.Logf("%d containers, %d kills of wardend", total, s.kills)
	s.allFree()
	w.End(syscall.SIGTERM)
	if !assert.Eventually(t, func() bool { return len(s.left()) == 0 }, 20*time.Second, 100*time.Millisecond, "nothing is left") {
		t.Logf("left:\n%s", strings.Join(s.left(), "\n"))
	}
	w.Start() // for the clean-up, which looks whether the depot is empty
}

type soak struct {
	t *testing.T
	w *wardend
	c *warden.Client
	// pool is what the addresses of the server's containers begin with.
	pool  string
	kills int

	mu   sync.Mutex
	made int
}

const callTimeout = time.Minute

// must calls until an answer comes that is not that the server is away.
func (s *soak) must(call func(context.Context) error) {
	err := s.try(call)
	require.NoError(s.t, err)
}

func (s *soak) try(call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), callTimeout)
	defer cancel()
	for {
		err := call(ctx)
		if err == nil || !errors.Is(err, warden.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (s *soak) list() []string {
	var handles []string
	s.must(func(ctx context.Context) error {
		res, err := s.c.List(ctx, &wardenpb.ListRequest{})
		handles = res.GetHandles()
		return err
	})
	return handles
}

// run has four clients make containers, use them and destroy them, each at its own pace.
func (s *soak) run(total int) {
	done := make(chan struct{})
	var clients sync.WaitGroup
	for n := range 4 {
		clients.Go(func() {
			for s.next(total) {
				s.life(n)
			}
		})
	}
	go func() {
		clients.Wait()
		close(done)
	}()
	for {
		select {
		case <-done:
			return
		case <-time.After(time.Duration(30+rand.IntN(600)) * time.Millisecond):
			s.w.End(syscall.SIGKILL)
			s.w.Start()
			s.kills++
		}
	}
}

func (s *soak) next(total int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	return s.made <= total
}

// life is one container's. What fails because the server died in the middle is left to be found at the end.
func (s *soak) life(n int) {
	var handle string
	if s.try(func(ctx context.Context) error {
		res, err := s.c.Create(ctx, &wardenpb.CreateRequest{})
		handle = res.GetHandle()
		return err
	}) != nil {
		return
	}
	steps := []func(context.Context) error{
		func(ctx context.Context) error {
			_, err := s.c.NetIn(ctx, &wardenpb.NetInRequest{Handle: &handle})
			return err
		},
		func(ctx context.Context) error {
			_, err := s.c.LimitMemory(ctx, &wardenpb.LimitMemoryRequest{Handle: &handle, LimitInBytes: proto.Uint64(64 << 20)})
			return err
		},
		func(ctx context.Context) error {
			_, err := s.c.LimitDisk(ctx, &wardenpb.LimitDiskRequest{Handle: &handle, ByteLimit: proto.Uint64(64 << 20)})
			return err
		},
		func(ctx context.Context) error {
			_, err := s.c.LimitBandwidth(ctx, &wardenpb.LimitBandwidthRequest{Handle: &handle, Rate: proto.Uint64(1 << 20), Burst: proto.Uint64(1 << 20)})
			return err
		},
		func(ctx context.Context) error {
			_, err := s.c.NetOut(ctx, &wardenpb.NetOutRequest{Handle: &handle, Network: proto.String("192.0.2.0/24"), Port: proto.Uint32(80)})
			return err
		},
		func(ctx context.Context) error {
			_, err := s.c.Run(ctx, &wardenpb.RunRequest{Handle: &handle, Script: proto.String("head -c 1000000 /dev/zero > file")})
			return err
		},
		func(ctx context.Context) error {
			_, err := s.c.Spawn(ctx, &wardenpb.SpawnRequest{Handle: &handle, Script: proto.String("sleep 1000 & sleep 1000"), DiscardOutput: proto.Bool(true)})
			return err
		},
	}
	rand.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, step := range steps[:rand.IntN(len(steps)+1)] {
		if err := s.try(step); err != nil {
			s.t.Logf("client %d: %s: %v", n, handle, err)
		}
	}
	err := s.try(func(ctx context.Context) error {
		_, err := s.c.Destroy(ctx, &wardenpb.DestroyRequest{Handle: &handle})
		return err
	})
	// The answer to the first of two may have been lost with the server.
	if err != nil && !strings.Contains(err.Error(), "unknown handle") {
		s.t.Logf("client %d: %s: %v", n, handle, err)
	}
}

// allFree takes every port and some networks of the pools, which all must be free.
func (s *soak) allFree() {
	ctx, cancel := context.WithTimeout(s.t.Context(), callTimeout)
	defer cancel()
	res, err := s.c.Create(ctx, &wardenpb.CreateRequest{})
	require.NoError(s.t, err)
	handles := []*string{res.Handle}
	for range realPorts {
		_, err := s.c.NetIn(ctx, &wardenpb.NetInRequest{Handle: res.Handle})
		require.NoError(s.t, err)
	}
	for range 20 {
		res, err := s.c.Create(ctx, &wardenpb.CreateRequest{})
		require.NoError(s.t, err)
		handles = append(handles, res.Handle)
	}
	for _, h := range handles {
		_, err := s.c.Destroy(ctx, &wardenpb.DestroyRequest{Handle: h})
		require.NoError(s.t, err)
	}
}

// left is everything on the machine that has the server's name or lies in its depot.
func (s *soak) left() []string {
	var found []string
	mine := func(name string) bool { return strings.Contains(name, "soak") || strings.Contains(name, s.w.dir) }
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(s.t, err)
	for line := range strings.Lines(string(mounts)) {
		if mine(line) {
			found = append(found, "mount "+line)
		}
	}
	links, err := netlink.LinkList()
	require.NoError(s.t, err)
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "wsoak") || l.Type() == "ifb" && mine(l.Attrs().Name) {
			found = append(found, "link "+l.Attrs().Name)
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	require.NoError(s.t, err)
	for _, route := range routes {
		if route.Dst != nil && strings.HasPrefix(route.Dst.String(), s.pool) {
			found = append(found, "route "+route.String())
		}
	}
	conn, err := nftables.New()
	require.NoError(s.t, err)
	tables, err := conn.ListTables()
	require.NoError(s.t, err)
	for _, table := range tables {
		if mine(table.Name) {
			found = append(found, "table "+table.Name)
		}
	}
	var cgroups []string
	for _, pattern := range []string{"/sys/fs/cgroup/wardend-soak*", "/sys/fs/cgroup/*/wardend-soak*"} {
		found, err := filepath.Glob(pattern)
		require.NoError(s.t, err)
		cgroups = append(cgroups, found...)
	}
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	require.NoError(s.t, err)
	for _, loop := range loops {
		if raw, err := os.ReadFile(loop); err == nil && mine(string(raw)) {
			found = append(found, "loop device "+string(raw))
		}
	}
	return slices.Concat(found, cgroups, s.leftProcesses(), s.leftFiles())
}

func (s *soak) leftProcesses() (found []string) {
	all, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(s.t, err)
	for _, dir := range all {
		raw, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		exe, _ := os.Readlink(filepath.Join(dir, "exe"))
		if err == nil && (strings.Contains(string(raw), "/wardend-soak") || strings.Contains(exe, s.w.dir)) {
			found = append(found, fmt.Sprintf("process %s %s", dir, exe))
		}
	}
	return found
}

func (s *soak) leftFiles() (found []string) {
	for _, pattern := range []string{"depot/containers/*", "depot/scratch/*", "depot/scratch*.img", "depot/runtime/*/*"} {
		files, err := filepath.Glob(filepath.Join(s.w.dir, pattern))
		require.NoError(s.t, err)
		found = append(found, files...)
	}
	return found
}
