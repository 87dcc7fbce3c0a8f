package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// handPause is between two probes of a port by hand.
const handPause = time.Millisecond

// byHand is an instance that was made by hand: the same container, limits, unpacking and process, at the same wardend, with
// nobody who remembers it.
type byHand struct {
	*instancesBench
	handle, address string
	// name is the argument of its process.
	name string
	job  uint32
	took time.Duration
}

// startByHand makes one and waits until its port is open.
func (b *instancesBench) startByHand(ctx context.Context, of droplet) (*byHand, error) {
	id := "hand-" + uuid.NewString()
	h := &byHand{instancesBench: b, handle: id, name: id}
	begun := time.Now()
	err := h.start(ctx, of)
	h.took = time.Since(begun)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("an instance by hand: %w", err), h.destroy(ctx))
	}
	return h, nil
}

func (h *byHand) start(ctx context.Context, of droplet) error {
	handle := proto.String(h.handle)
	_, err := h.warden.Create(ctx, &wardenpb.CreateRequest{
		Handle: handle,
		BindMounts: []*wardenpb.CreateRequest_BindMount{
			bound(of.dir, runspec.PathDroplet), bound(h.runnerDir(), runspec.PathBin),
		},
	})
	if err != nil {
		return err
	}
	if err := h.limit(ctx, of); err != nil {
		return err
	}
	opened, err := h.warden.NetIn(ctx, &wardenpb.NetInRequest{Handle: handle})
	if err != nil {
		return err
	}
	unpacked, err := h.warden.Run(ctx, &wardenpb.RunRequest{
		Handle: handle, Script: proto.String(handScriptOf(`unpack --root "$R/"`)),
	})
	if err != nil {
		return err
	}
	if unpacked.GetExitStatus() != 0 {
		return fmt.Errorf("unpack: exit status %d: %s", unpacked.GetExitStatus(), unpacked.GetStderr())
	}
	port := strconv.FormatUint(uint64(opened.GetContainerPort()), 10)
	spawned, err := h.warden.Spawn(ctx, &wardenpb.SpawnRequest{
		Handle: handle, DiscardOutput: proto.Bool(true),
		Script: proto.String("export PORT=" + port + "\n" + handScriptOf(`launch --root "$R/" --command './serve `+h.name+`'`)),
	})
	if err != nil {
		return err
	}
	h.job = spawned.GetJobId()
	info, err := h.warden.Info(ctx, &wardenpb.InfoRequest{Handle: handle})
	if err != nil {
		return err
	}
	h.address = net.JoinHostPort(info.GetContainerIp(), port)
	return h.awaitOpen(ctx)
}

// handScriptOf runs the runner: a job's home tells where its container's root is.
func handScriptOf(arguments string) string {
	return `R="${HOME%/home/vcap}"; exec "$R` + runspec.PathRunner + `" ` + arguments + "\n"
}

func bound(source, target string) *wardenpb.CreateRequest_BindMount {
	return &wardenpb.CreateRequest_BindMount{
		SrcPath: proto.String(source), DstPath: proto.String(target), Mode: wardenpb.CreateRequest_BindMount_RO.Enum(),
	}
}

func (h *byHand) limit(ctx context.Context, of droplet) error {
	const shares, inodes = 8, 200_000
	handle, limits := proto.String(h.handle), of.spec.Message.Limits
	_, err := h.warden.LimitMemory(ctx, &wardenpb.LimitMemoryRequest{
		Handle: handle, LimitInBytes: proto.Uint64(uint64(limits.MemoryMB) << 20), //nolint:gosec // our own
	})
	if err != nil {
		return err
	}
	_, err = h.warden.LimitDisk(ctx, &wardenpb.LimitDiskRequest{
		Handle: handle, ByteLimit: proto.Uint64(uint64(limits.DiskMB) << 20), //nolint:gosec // our own
		InodeLimit: proto.Uint64(inodes),
	})
	if err != nil {
		return err
	}
	_, err = h.warden.LimitCPU(ctx, &wardenpb.LimitCpuRequest{Handle: handle, LimitInShares: proto.Uint64(shares)})
	return err
}

func (h *byHand) awaitOpen(ctx context.Context) error {
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", h.address)
		if err == nil {
			return conn.Close()
		}
		if !pause.For(ctx, handPause) {
			return fmt.Errorf("its port does not open: %w", err)
		}
	}
}

// awaitExit waits for the end of its process.
func (h *byHand) awaitExit(ctx context.Context) error {
	_, err := h.warden.Link(ctx, &wardenpb.LinkRequest{Handle: proto.String(h.handle), JobId: proto.Uint32(h.job)})
	return err
}

func (h *byHand) destroy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetTimeout)
	defer cancel()
	if _, err := h.warden.Destroy(ctx, &wardenpb.DestroyRequest{Handle: proto.String(h.handle)}); err != nil {
		return fmt.Errorf("destroy an instance by hand: %w", err)
	}
	return nil
}
