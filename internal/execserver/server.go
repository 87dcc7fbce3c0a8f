package execserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/crypto/ssh"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/gate"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/warden"
)

// Options make a Server.
type Options struct {
	// Listen is host:port; port 0 takes a free one.
	Listen string
	// AuthorizedKeys is the file of those who are let in. HostKey is the node's own key, made when it is not there.
	AuthorizedKeys, HostKey string
	// MaxSessions bounds the sessions of the node, half of which one instance may have.
	MaxSessions int
	// IdleTimeout ends a session in which nothing is read or written; 0 ends none.
	IdleTimeout time.Duration
	// MaxDuration ends a session that lasts so long; 0 ends none.
	MaxDuration time.Duration
	// NProc is the most processes of a session's user, 0 for Warden's own.
	NProc int64
	// Instances are those that run on the node.
	Instances func() []supervisor.Instance
	Warden    *warden.Client
	Log       hclog.Logger
}

// Server serves sessions. It is to be closed.
type Server struct {
	options  Options
	log      hclog.Logger
	signer   ssh.Signer
	listener net.Listener
	ctx      context.Context //nolint:containedctx // the server's own life
	cancel   context.CancelFunc
	running  sync.WaitGroup

	// lobby has connections until it is known whose they are. From then on they are counted by their keys, and sessions by their
	// instances.
	lobby                 lobby
	connections, sessions *gate.Gate
}

const (
	// handshakeTimeout bounds what somebody may take who is not known yet.
	handshakeTimeout = 15 * time.Second
	// maxConnections is how many connections there may be for each session, of those who are known; one key has half of them.
	maxConnections = 4
	// maxTries is how many keys one connection may show.
	maxTries = 10
	// lingerTime is how long a connection may last without a session.
	lingerTime = time.Minute
)

// Start begins to serve.
func Start(o Options) (*Server, error) {
	if _, err := readKeys(o.AuthorizedKeys); err != nil && !errors.Is(err, fs.ErrNotExist) {
		o.Log.Named("exec").Error("nobody is let in", "exec.authorized_keys", err)
	}
	signer, err := hostKey(o.HostKey)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("exec.listen: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		options: o, log: o.Log.Named("exec"), signer: signer, listener: listener, ctx: ctx, cancel: cancel,
		lobby:       lobby{most: maxWaiting},
		connections: gate.New(maxConnections*o.MaxSessions, maxConnections*o.MaxSessions/2),
		sessions:    gate.New(o.MaxSessions, (o.MaxSessions+1)/2),
	}
	s.running.Go(s.accept)
	return s, nil
}

// HostKeyFile is the node's key beneath its base directory.
func HostKeyFile(baseDir string) string { return filepath.Join(baseDir, "exec_host_key") }

// Address is where it listens.
func (s *Server) Address() net.Addr { return s.listener.Addr() }

// HostKey is the node's public key, in the form of an authorized key without a comment.
func (s *Server) HostKey() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.signer.PublicKey())))
}

// Close ends all sessions, whose commands end with them, and waits for that.
func (s *Server) Close() {
	s.cancel()
	_ = s.listener.Close()
	s.running.Wait()
}

func (s *Server) accept() {
	for {
		connection, err := s.listener.Accept()
		switch {
		case s.ctx.Err() != nil:
			return
		case err != nil:
			s.log.Warn("cannot accept", "error", err)
			pause.For(s.ctx, time.Second)
			continue
		}
		s.running.Go(func() { s.serve(connection) })
	}
}

// serve serves one connection until its end, or the server's.
func (s *Server) serve(connection net.Conn) {
	defer connection.Close()
	stop := context.AfterFunc(s.ctx, func() { connection.Close() })
	defer stop()
	_ = connection.SetDeadline(time.Now().Add(handshakeTimeout))
	known := s.lobby.enter(connection)
	leave := func() {}
	defer func() { leave() }()
	ours, channels, requests, err := ssh.NewServerConn(connection, s.login(&leave))
	known()
	if err != nil {
		s.log.Debug("not let in", "from", connection.RemoteAddr(), "error", err)
		return
	}
	_ = connection.SetDeadline(time.Time{})
	go ssh.DiscardRequests(requests)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer ours.Close()
	unused := newUnused(lingerTime, func() { ours.Close() })
	defer unused.stop()
	for offered := range channels {
		one, ok := s.open(ours, offered)
		if !ok {
			continue
		}
		channel, asked, err := offered.Accept()
		if err != nil {
			one.leave()
			return
		}
		one.channel = channel
		unused.enter()
		sessions.Go(func() {
			defer unused.leave()
			defer one.leave()
			one.serve(asked)
		})
	}
}

// errTooMany is for a key that has as many connections as it may.
var errTooMany = errors.New("there are too many connections; try again later")

// loginKey is where a connection's Permissions have the key that was let in. A client may show several: which of them it has
// proved to hold is told by these alone.
type loginKey struct{}

// login is what a connection must pass. leave gives the place back that it has then.
func (s *Server) login(leave *func()) *ssh.ServerConfig {
	config := &ssh.ServerConfig{MaxAuthTries: maxTries, ServerVersion: "SSH-2.0-durable-dea"}
	config.PublicKeyCallback = func(about ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if _, _, err := s.admit(about.User(), key); err != nil {
			return nil, err
		}
		return &ssh.Permissions{ExtraData: map[any]any{loginKey{}: key}}, nil
	}
	config.VerifiedPublicKeyCallback = func(
		_ ssh.ConnMetadata, key ssh.PublicKey, permissions *ssh.Permissions, _ string,
	) (*ssh.Permissions, error) {
		place, ok := s.connections.Enter(ssh.FingerprintSHA256(key))
		if !ok {
			return nil, &ssh.BannerError{Err: errTooMany, Message: errTooMany.Error() + "\n"}
		}
		*leave = place
		return permissions, nil
	}
	config.AddHostKey(s.signer)
	return config
}

// open decides on a channel that a client wants. Its key is looked up again, since a connection may last: it begins nothing more
// once the key is taken out.
func (s *Server) open(client *ssh.ServerConn, offered ssh.NewChannel) (*session, bool) {
	if offered.ChannelType() != "session" {
		_ = offered.Reject(ssh.UnknownChannelType, "only sessions are served")
		return nil, false
	}
	key, _ := client.Permissions.ExtraData[loginKey{}].(ssh.PublicKey) // login has put it there
	granted, instance, err := s.admit(client.User(), key)
	if err != nil {
		words := "not let in"
		if banner := (*ssh.BannerError)(nil); errors.As(err, &banner) {
			words = strings.TrimSpace(banner.Message)
		}
		_ = offered.Reject(ssh.Prohibited, words)
		return nil, false
	}
	leave, ok := s.sessions.Enter(instance.ID)
	if !ok {
		_ = offered.Reject(ssh.ResourceShortage, "there are too many sessions; try again later")
		return nil, false
	}
	return &session{Server: s, client: client, instance: instance, grant: granted, leave: leave, over: make(chan struct{})}, true
}

// admit tells whether a key is let into an instance. Its errors carry what the client shows its user.
func (s *Server) admit(id string, key ssh.PublicKey) (grant, supervisor.Instance, error) {
	fingerprint := ssh.FingerprintSHA256(key)
	if err := api.ValidateInstanceID(id); err != nil {
		// Anyone may send any name, however long: what is no instance's goes into no log.
		return grant{}, supervisor.Instance{}, &ssh.BannerError{Err: err, Message: "the user's name is no instance's id\n"}
	}
	refuse := func(err error, words string) error {
		s.log.Info("a key is not let in", "instance", id, "key", fingerprint, "reason", err)
		return &ssh.BannerError{Err: err, Message: words + "\n"}
	}
	g, err := lookUp(s.options.AuthorizedKeys, key, time.Now())
	switch {
	case errors.Is(err, errKeysFile):
		return g, supervisor.Instance{}, refuse(err, "nobody is let in: the node's file of keys cannot be used, its worker's log says why")
	case err != nil:
		return g, supervisor.Instance{}, refuse(err, "key "+fingerprint+" is not let in: ask the operator of the node to add it")
	}
	for _, i := range s.options.Instances() {
		switch {
		case i.ID != id:
		case !g.allows(i.AppID):
			return g, i, refuse(errors.New("the key is for other apps"), "key "+fingerprint+" is not let into app "+i.AppID)
		default:
			return g, i, nil
		}
	}
	return g, supervisor.Instance{}, refuse(errors.New("no such instance"), "instance "+id+" does not run on this node")
}
