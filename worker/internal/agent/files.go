package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/internal/codec"
	"github.com/durable-dea/dea/internal/containerpath"
	"github.com/durable-dea/dea/internal/directory"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// fileServer is the node's directory server while it serves.
type fileServer struct {
	url     string
	address net.Addr
	server  *http.Server
}

// serveFiles begins to serve the files of the node's instances and stagings.
func (a *agent) serveFiles() (*fileServer, error) {
	ring, err := codec.LoadKeyring(a.node.Temporal.EncryptionKeyFile)
	if err != nil {
		return nil, err
	}
	c := a.node.DirectoryServer
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("directory_server.listen: %w", err)
	}
	url := c.AdvertiseURL
	if host := a.filesHost(); url == "" && host != "" {
		url = c.Protocol + "://" + host
	} else if url == "" {
		url = c.Protocol + "://" + listener.Addr().String()
	}
	server := &http.Server{
		Handler: directory.New(directory.Options{
			Keys: ring.Derive(directory.KeyPurpose), Instances: a.instanceFiles, Stagings: a.stagingFiles,
			Stats: a.meter, Log: a.log,
		}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("the directory server ended", "error", err)
		}
	}()
	return &fileServer{url: url, address: listener.Addr(), server: server}, nil
}

func (f *fileServer) close() { _ = f.server.Close() }

// instanceFiles is the home directory of an instance, or what is kept of one that crashed.
func (a *agent) instanceFiles(ctx context.Context, id string) (directory.Place, error) {
	info, err := a.warden.Info(ctx, &wardenpb.InfoRequest{Handle: proto.String(id)})
	if errors.Is(err, warden.ErrUnknownHandle) {
		crash := a.crashes.Dir(id)
		if _, err := os.Stat(crash); err != nil {
			return directory.Place{}, directory.ErrUnknown
		}
		return directory.Kept(crash), nil
	}
	if err != nil {
		return directory.Place{}, err
	}
	return directory.Place{Open: func() (*os.Root, error) {
		return containerpath.OpenDir(info.GetContainerPath(), runspec.PathHome)
	}}, nil
}

// stagingFiles is what a staging wrote out, or what is kept of one that is over.
func (a *agent) stagingFiles(_ context.Context, task string) (directory.Place, error) {
	space := a.workspaces.Path(task)
	if _, err := os.Stat(space.Dir()); err != nil {
		kept := a.workspaces.KeptLog(task)
		if _, err := os.Stat(kept); err != nil {
			return directory.Place{}, directory.ErrUnknown
		}
		return directory.Kept(kept), nil
	}
	if _, err := os.Stat(space.Out()); err != nil {
		return directory.Place{}, directory.ErrNotYet
	}
	return directory.At(space.Out()), nil
}
