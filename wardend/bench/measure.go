package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/internal/benchmark"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// Bars of a machine with two cores: milliseconds, creates a second, MiB a container, and per cent of a core.
const (
	createBar  = 40
	runBar     = 6
	destroyBar = 40
	answerBar  = 90
	rateBar    = 40
	memoryBar  = 2
	idleBar    = 1
)

// life are the times that one container took, beside those of its floor.
type life struct{ create, run, bash, destroy, bareCreate, bareDelete, answer time.Duration }

// measure interleaves what is measured with its floor, so that both have the same weather.
func (s *server) measure(ctx context.Context) ([]benchmark.Row, error) {
	if err := s.bareRoot(); err != nil {
		return nil, err
	}
	lives := make([]life, 0, s.rounds)
	for range s.rounds {
		l, err := s.one(ctx)
		if err != nil {
			return nil, err
		}
		lives = append(lives, l)
	}
	median := func(of func(life) time.Duration) float64 {
		times := make([]time.Duration, 0, len(lives))
		for _, l := range lives {
			times = append(times, of(l))
		}
		slices.Sort(times)
		return float64(times[len(times)/2]) / float64(time.Millisecond)
	}
	row := func(name string, bar float64, value, floor func(life) time.Duration) benchmark.Row {
		return benchmark.Make("wardend: "+name, "ms", median(value), median(floor), benchmark.AtMost(bar))
	}
	bareCreate := func(l life) time.Duration { return l.bareCreate }
	rows := []benchmark.Row{
		row("create with network, limits and overlay", createBar, func(l life) time.Duration { return l.create }, bareCreate),
		row("run of true", runBar, func(l life) time.Duration { return l.run }, func(l life) time.Duration { return l.bash }),
		row("destroy", destroyBar, func(l life) time.Duration { return l.destroy }, func(l life) time.Duration { return l.bareDelete }),
		row("create to first TCP answer", answerBar, func(l life) time.Duration { return l.answer }, bareCreate),
	}
	rate, floor, err := s.rates(ctx)
	if err != nil {
		return nil, err
	}
	rows = append(rows, benchmark.Make("wardend: creates, four at a time", "creates/s", rate, floor, benchmark.AtLeast(rateBar)))
	crowd, err := s.crowd(ctx)
	return append(rows, crowd...), err
}

// one is one container's life, beside that of a bare one.
func (s *server) one(ctx context.Context) (l life, err error) {
	if l.bareCreate, l.bareDelete, err = s.bare(ctx, "bare"); err != nil {
		return l, fmt.Errorf("floor: %w", err)
	}
	begin := time.Now()
	handle, err := s.create(ctx)
	if err != nil {
		return l, err
	}
	l.create = time.Since(begin)
	if err := s.answer(ctx, handle); err != nil {
		return l, err
	}
	l.answer = time.Since(begin)
	begin = time.Now()
	if _, err := s.client.Run(ctx, &wardenpb.RunRequest{Handle: &handle, Script: proto.String("true")}); err != nil {
		return l, err
	}
	l.run = time.Since(begin)
	begin = time.Now()
	bash := exec.CommandContext(ctx, "/bin/bash")
	bash.Stdin = strings.NewReader("true")
	if err := bash.Run(); err != nil {
		return l, err
	}
	l.bash = time.Since(begin)
	begin = time.Now()
	_, err = s.client.Destroy(ctx, &wardenpb.DestroyRequest{Handle: &handle})
	l.destroy = time.Since(begin)
	return l, err
}

// create makes a container as an application has it: with a mount, and memory, processor and disk limited.
func (s *server) create(ctx context.Context) (string, error) {
	tool := filepath.Dir(s.tool)
	res, err := s.client.Create(ctx, &wardenpb.CreateRequest{BindMounts: []*wardenpb.CreateRequest_BindMount{
		{SrcPath: &tool, DstPath: proto.String("/opt/tool"), Mode: wardenpb.CreateRequest_BindMount_RO.Enum()},
	}})
	if err != nil {
		return "", err
	}
	const memory, shares, disk = 256 << 20, 256, 1 << 30
	h := res.Handle
	if _, err := s.client.LimitMemory(ctx, &wardenpb.LimitMemoryRequest{Handle: h, LimitInBytes: proto.Uint64(memory)}); err != nil {
		return "", err
	}
	if _, err := s.client.LimitCPU(ctx, &wardenpb.LimitCpuRequest{Handle: h, LimitInShares: proto.Uint64(shares)}); err != nil {
		return "", err
	}
	_, err = s.client.LimitDisk(ctx, &wardenpb.LimitDiskRequest{Handle: h, ByteLimit: proto.Uint64(disk)})
	return res.GetHandle(), err
}

// answer starts a server in the container and waits until it answers on a port of the host.
func (s *server) answer(ctx context.Context, handle string) error {
	const inside = 8080
	port, err := s.client.NetIn(ctx, &wardenpb.NetInRequest{Handle: &handle, ContainerPort: proto.Uint32(inside)})
	if err != nil {
		return err
	}
	script := fmt.Sprintf("exec /opt/tool/%s echo %d", filepath.Base(s.tool), inside)
	if _, err := s.client.Spawn(ctx, &wardenpb.SpawnRequest{Handle: &handle, Script: &script}); err != nil {
		return err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port.GetHostPort())))
	for ctx.Err() == nil {
		if ping(address) == nil {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return ctx.Err()
}

func ping(address string) error {
	const timeout = 2 * time.Second
	conn, err := net.DialTimeout("tcp", address, timeout) //nolint:noctx // bounded
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}
