package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/net/netutil"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/codec"
	"github.com/durable-dea/dea/internal/containerpath"
	"github.com/durable-dea/dea/internal/directory"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

const (
	// headerTimeout is how long a client may take to say what it wants, idleTimeout how long to want something more.
	headerTimeout = 10 * time.Second
	idleTimeout   = time.Minute
	// maxHeaderBytes is far more than a signed URL and a client's headers have.
	maxHeaderBytes = 32 << 10
	// filesGrace is how long answers that are under way may take when the worker ends; tails break off at once.
	filesGrace = 2 * time.Second
)

// fileServer is the node's directory server while it serves.
type fileServer struct {
	url     string
	address net.Addr
	server  *http.Server
	// end breaks the tails off.
	end context.CancelFunc
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
	a.reserved = &reservations{ask: func(ctx context.Context) (api.NodeStatus, error) {
		return api.QueryNode.Ask(ctx, a.temporal, api.NodeWorkflowID(a.id))
	}}
	serving, end := context.WithCancel(context.Background())
	server := &http.Server{
		Handler: directory.New(directory.Options{
			Keys: ring.Derive(directory.KeyPurpose), Instances: a.instanceFiles, Stagings: a.stagingFiles,
			Stats: a.meter, Log: a.log,
		}),
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		BaseContext: func(net.Listener) context.Context { return serving },
		ErrorLog:    a.log.Named("files").StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Warn}),
	}
	// Whoever only connects must not take all files that the process may open.
	limited := netutil.LimitListener(listener, directory.MaxConnections())
	go func() {
		if err := server.Serve(limited); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("the directory server ended", "error", err)
		}
	}()
	return &fileServer{url: url, address: listener.Addr(), server: server, end: end}, nil
}

// close takes no more requests and breaks the tails off; other answers may end by themselves for a moment.
func (f *fileServer) close() {
	f.end()
	ctx, cancel := context.WithTimeout(context.Background(), filesGrace)
	defer cancel()
	if f.server.Shutdown(ctx) != nil {
		_ = f.server.Close()
	}
}

// instanceFiles is the home directory of an instance, or what is kept of one that crashed.
func (a *agent) instanceFiles(ctx context.Context, id string) (directory.Place, error) {
	info, err := a.warden.Info(ctx, &wardenpb.InfoRequest{Handle: proto.String(id)})
	if errors.Is(err, warden.ErrUnknownHandle) {
		crash := a.crashes.Dir(id)
		if _, err := os.Stat(crash); err != nil {
			return directory.Place{}, a.notHere(ctx, id)
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
func (a *agent) stagingFiles(ctx context.Context, task string) (directory.Place, error) {
	space := a.workspaces.Path(task)
	if _, err := os.Stat(space.Dir()); err != nil {
		kept := a.workspaces.KeptLog(task)
		if _, err := os.Stat(kept); err != nil {
			return directory.Place{}, a.notHere(ctx, api.StagingHandle(task))
		}
		return directory.Kept(kept), nil
	}
	if _, err := os.Stat(space.Out()); err != nil {
		return directory.Place{}, directory.ErrNotYet
	}
	return directory.At(space.Out()), nil
}

// notHere tells what is reserved and has no directory yet from what is not known. While the ledger cannot be asked it may
// be either, and asking again later is what helps.
func (a *agent) notHere(ctx context.Context, handle string) error {
	held, err := a.reserved.holds(ctx, handle)
	switch {
	case err != nil:
		return fmt.Errorf("%w: ask the ledger: %w", directory.ErrNotYet, err)
	case held:
		return directory.ErrNotYet
	default:
		return directory.ErrUnknown
	}
}
