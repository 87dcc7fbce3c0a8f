package activities

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/containerpath"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/internal/safename"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// RetireParams says which instance to take down, and how.
type RetireParams struct {
	InstanceID string           `json:"instance_id"`
	Message    api.StartMessage `json:"message"`
	Created    CreateResult     `json:"created"`
	// Graceful lets the app end by itself: the stop hooks, TERM, and KILL only 10 s after.
	Graceful bool `json:"graceful"`
	// KeepLogs copies the instance's logs out first, to be read after a crash.
	KeepLogs bool `json:"keep_logs"`
}

// Retire stops an instance and destroys its container.
//
// Run twice, what the first run did is found done. Cancelled, Warden still finishes what it was asked. Each of its steps
// is bounded; it heartbeats each second.
func (c *Containers) Retire(ctx context.Context, params RetireParams) error {
	c.supervisor.Forget(params.InstanceID)
	start := c.newStart(params.InstanceID, params.Message)
	start.created = params.Created
	info, err := c.warden.Info(ctx, &wardenpb.InfoRequest{Handle: start.handle()})
	if errors.Is(err, warden.ErrUnknownHandle) {
		return start.releaseDroplet()
	}
	if err != nil {
		return wardenFault("look at the container", err)
	}
	start.info = info
	if params.Graceful {
		start.stop(ctx)
	}
	if params.KeepLogs {
		if err := start.keepLogs(); err != nil {
			c.log.Warn("the logs of a crashed instance could not be kept", "instance", start.id, "error", err)
		}
	}
	if err := c.destroy(ctx, start.id); err != nil {
		return err
	}
	return start.releaseDroplet()
}

// stop lets the app end. What fails here is only logged: the container goes in any case.
func (s *instanceStart) stop(ctx context.Context) {
	// Both before the container stops, which runs nothing afterwards: so dea_ng has them.
	for _, name := range []string{config.HookBeforeStop, config.HookAfterStop} {
		if err := s.hook(ctx, name); err != nil {
			s.log.Warn("hook failed", "hook", name, "instance", s.id, "error", err)
		}
	}
	if _, err := s.warden.Stop(ctx, &wardenpb.StopRequest{Handle: proto.String(s.id)}); err != nil {
		s.log.Warn("the container could not be stopped, destroying it", "instance", s.id, "error", err)
	}
}

// CrashesDir is where a node keeps what crashed instances left: a directory an instance, laid out as its home was.
func CrashesDir(node *config.Node) string { return filepath.Join(node.BaseDir, "crashes") }

// CrashDir is the directory of one crashed instance.
func CrashDir(node *config.Node, instance string) string {
	return filepath.Join(CrashesDir(node), safename.Of(instance))
}

// keepLogs copies the instance's log directory. It goes through os.Root, which no link that the app made leads out of,
// and takes regular files only.
func (s *instanceStart) keepLogs() error {
	logs, err := containerpath.OpenDir(s.info.GetContainerPath(), runspec.PathLogs)
	if err != nil {
		return err
	}
	defer logs.Close()
	target := filepath.Join(CrashDir(s.config, s.id), "logs")
	if err := os.MkdirAll(target, 0o700); err != nil {
		return err
	}
	entries, err := readDir(logs)
	if err != nil {
		return err
	}
	var failed []error
	kept := 0
	for _, entry := range entries {
		if !entry.Type().IsRegular() || kept == maxKeptLogs {
			continue
		}
		kept++
		failed = append(failed, copyOut(logs, entry.Name(), filepath.Join(target, entry.Name())))
	}
	return errors.Join(failed...)
}

func readDir(root *os.Root) ([]os.DirEntry, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.ReadDir(-1)
}

// What is kept of a crash: so many files, of each its end, which says why the app crashed. An app may have made any
// number of any size.
const (
	maxKeptLogs = 16
	maxKeptLog  = 8 << 20
)

func copyOut(from *os.Root, name, to string) (err error) {
	source, err := from.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // A fifo must not keep it waiting.
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", name)
	}
	target, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	offset := max(info.Size()-maxKeptLog, 0)
	_, err = io.Copy(target, io.NewSectionReader(source, offset, info.Size()-offset))
	return err
}
