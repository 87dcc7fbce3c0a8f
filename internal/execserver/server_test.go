package execserver

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/internal/syncbuffer"
	"github.com/durable-dea/dea/internal/wardentest"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// patience bounds what is waited for.
const patience = time.Minute

// served is a server with one instance, in a container of a real wardend.
type served struct {
	t        *testing.T
	warden   *wardentest.Server
	instance supervisor.Instance
	keys     string
	server   *Server
	log      *syncbuffer.Buffer
}

func serve(t *testing.T, o Options) *served {
	t.Helper()
	s := &served{t: t, warden: wardentest.Start(t), keys: filepath.Join(t.TempDir(), "keys"), log: &syncbuffer.Buffer{}}
	s.instance = supervisor.Instance{ID: uuid.NewString(), AppID: "app"}
	_, err := s.warden.Client.Create(t.Context(), &wardenpb.CreateRequest{
		Handle: proto.String(s.instance.ID),
		BindMounts: []*wardenpb.CreateRequest_BindMount{{
			SrcPath: proto.String(filepath.Dir(wardentest.Program(runspec.RunnerName))), DstPath: proto.String(runspec.PathBin),
			Mode: wardenpb.CreateRequest_BindMount_RO.Enum(),
		}},
	})
	require.NoError(t, err)
	_, err = s.warden.Client.Run(t.Context(), &wardenpb.RunRequest{Handle: proto.String(s.instance.ID), Script: proto.String("mkdir app")})
	require.NoError(t, err)
	info, err := s.warden.Client.Info(t.Context(), &wardenpb.InfoRequest{Handle: proto.String(s.instance.ID)})
	require.NoError(t, err)
	s.instance.ContainerPath = info.GetContainerPath()
	o.Listen, o.AuthorizedKeys, o.HostKey = "127.0.0.1:0", s.keys, filepath.Join(t.TempDir(), "host_key")
	o.Instances = func() []supervisor.Instance { return []supervisor.Instance{s.instance} }
	o.Warden, o.Log = s.warden.Client, hclog.New(&hclog.LoggerOptions{Output: s.log})
	s.server, err = Start(o)
	require.NoError(t, err)
	t.Cleanup(s.server.Close)
	return s
}

// grants writes the file of authorized keys.
func (s *served) grants(lines ...string) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(s.keys, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
}

// connect logs in with keys.
func (s *served) connect(signers ...ssh.Signer) (*ssh.Client, error) {
	s.t.Helper()
	return s.login(s.dial("127.0.0.1"), signers...)
}

// dial connects from an address of this machine.
func (s *served) dial(from string) net.Conn {
	s.t.Helper()
	connection, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", s.server.Address().String())
	require.NoError(s.t, err)
	s.t.Cleanup(func() { connection.Close() })
	return connection
}

// login shows keys.
func (s *served) login(connection net.Conn, signers ...ssh.Signer) (*ssh.Client, error) {
	s.t.Helper()
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.server.HostKey()))
	require.NoError(s.t, err)
	ours, channels, requests, err := ssh.NewClientConn(connection, "", &ssh.ClientConfig{
		User: s.instance.ID, Auth: []ssh.AuthMethod{ssh.PublicKeys(signers...)}, HostKeyCallback: ssh.FixedHostKey(hostKey),
	})
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(ours, channels, requests), nil
}

// enters is connect with a new key that is let in.
func (s *served) enters() *ssh.Client {
	s.t.Helper()
	signer, line := newSigner(s.t)
	s.grants(line)
	client, err := s.connect(signer)
	require.NoError(s.t, err)
	return client
}

func newSigner(t *testing.T) (signer ssh.Signer, line string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	signer, err = ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	return signer, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

func begin(t *testing.T, client *ssh.Client) *ssh.Session {
	t.Helper()
	session, err := client.NewSession()
	require.NoError(t, err)
	return session
}

func TestASessionIsLoggedWithoutItsCommand(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{MaxSessions: 4})
	signer, line := newSigner(t)
	s.grants(line + " alice@example.com")
	client, err := s.connect(signer)
	require.NoError(t, err)
	out, err := begin(t, client).Output("echo s3cret; exit 5")
	var exit *ssh.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 5, exit.ExitStatus())
	require.Equal(t, "s3cret\n", string(out))
	log := s.log.String()
	for _, word := range []string{s.instance.ID, ssh.FingerprintSHA256(signer.PublicKey()), "alice@example.com", "status=5", "127.0.0.1"} {
		require.Contains(t, log, word)
	}
	require.NotContains(t, log, "s3cret")
}

func TestAnOpenConnectionDoesNoMoreThanItsKeyMayNow(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{MaxSessions: 4})
	signer, line := newSigner(t)
	s.grants(line)
	client, err := s.connect(signer)
	require.NoError(t, err)
	require.NoError(t, begin(t, client).Run("true"))
	s.grants("no-pty " + line)
	require.Error(t, begin(t, client).RequestPty("xterm", 24, 80, nil))
	s.grants(`apps="other" ` + line)
	_, err = client.NewSession()
	require.ErrorContains(t, err, "is not let into app app")
	require.NoError(t, os.Chmod(s.keys, 0o620))
	_, err = client.NewSession()
	require.ErrorContains(t, err, "the node's file of keys cannot be used")
	require.Contains(t, s.log.String(), "chmod go-w")
	require.NoError(t, os.Chmod(s.keys, 0o600))
	s.grants("")
	_, err = client.NewSession()
	require.ErrorContains(t, err, ssh.FingerprintSHA256(signer.PublicKey())+" is not let in")
}

// impostor shows a key that it does not hold.
type impostor struct{ ssh.Signer }

func (impostor) Sign(io.Reader, []byte) (*ssh.Signature, error) {
	return &ssh.Signature{Format: ssh.KeyAlgoED25519, Blob: make([]byte, ed25519.SignatureSize)}, nil
}

func TestAKeyThatIsShownAndNotHeldLetsNobodyIn(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{MaxSessions: 4})
	others, all := newSigner(t)
	own, some := newSigner(t)
	s.grants(all, "no-pty "+some)
	for _, keys := range [][]ssh.Signer{{impostor{others}}, {impostor{others}, own}} {
		_, err := s.connect(keys...)
		require.Error(t, err)
	}
	client, err := s.connect(own, impostor{others})
	require.NoError(t, err)
	require.Error(t, begin(t, client).RequestPty("xterm", 24, 80, nil))
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{MaxSessions: 2}) // one for each instance
	client := s.enters()
	first := begin(t, client)
	require.NoError(t, first.Start("sleep 100000"))
	_, err := client.NewSession()
	require.ErrorContains(t, err, "too many sessions")
	require.NoError(t, first.Close())
	require.Eventually(t, func() bool {
		next, err := client.NewSession()
		return err == nil && next.Run("true") == nil
	}, patience, 10*time.Millisecond)
}

func TestOnlySessionsAreServed(t *testing.T) {
	t.Parallel()
	client := serve(t, Options{MaxSessions: 4}).enters()
	_, err := client.Dial("tcp", "127.0.0.1:1")
	require.ErrorContains(t, err, "only sessions are served")
	_, err = client.Listen("tcp", "127.0.0.1:0")
	require.Error(t, err)
	session := begin(t, client)
	require.Error(t, session.RequestSubsystem("sftp"))
	require.Error(t, session.Setenv("LD_PRELOAD", "x"))
	require.NoError(t, session.Run("true")) // it is of use still
}

func TestASessionEndsAtTheNodesLimits(t *testing.T) {
	t.Parallel()
	for words, o := range map[string]Options{
		string(errIdle):    {IdleTimeout: 300 * time.Millisecond},
		string(errTooLong): {MaxDuration: 300 * time.Millisecond},
	} {
		t.Run(words, func(t *testing.T) {
			t.Parallel()
			o.MaxSessions = 4
			session := begin(t, serve(t, o).enters())
			var said bytes.Buffer
			session.Stderr = &said
			var missing *ssh.ExitMissingError
			require.ErrorAs(t, session.Run("exec sleep 100000"), &missing)
			require.Equal(t, words+"\n", said.String())
		})
	}
}

// TestAClientThatReadsNothingIsIdle: what it does not read keeps no session.
func TestAClientThatReadsNothingIsIdle(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{MaxSessions: 4, IdleTimeout: 300 * time.Millisecond})
	client := s.enters()
	session := begin(t, client)
	_, err := session.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, session.Start("exec yes"))
	require.Error(t, client.Wait())
	require.Eventually(t, func() bool {
		info, err := s.warden.Client.Info(t.Context(), &wardenpb.InfoRequest{Handle: proto.String(s.instance.ID)})
		return err == nil && len(info.GetJobIds()) == 0
	}, patience, 10*time.Millisecond, "the command goes on")
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), string(errIdle)) }, patience, 10*time.Millisecond)
}

func TestASessionEndsWithItsContainer(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{MaxSessions: 4})
	session := begin(t, s.enters())
	var said syncbuffer.Buffer
	session.Stderr = &said
	stdout, err := session.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, session.Start("echo ready; exec sleep 100000"))
	_, err = io.ReadFull(stdout, make([]byte, len("ready\n")))
	require.NoError(t, err)
	_, err = s.warden.Client.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: proto.String(s.instance.ID)})
	require.NoError(t, err)
	err = session.Wait()
	var missing *ssh.ExitMissingError
	var status *ssh.ExitError // the runner had the time to tell of the command's
	require.True(t, errors.As(err, &missing) || errors.As(err, &status), "%v", err)
	require.Regexp(t, "the instance (has ended|is being stopped)", said.String())
}

// beginsNothing expects of a command that it is not begun, and why.
func (s *served) beginsNothing(t *testing.T, words string) {
	t.Helper()
	session := begin(t, s.enters())
	var said bytes.Buffer
	session.Stderr = &said
	var status *ssh.ExitError
	require.ErrorAs(t, session.Run("true"), &status)
	require.Equal(t, unbegunStatus, status.ExitStatus())
	require.Equal(t, words+"\n", said.String())
}

// TestAContainerWithoutRoomForASession: an app may have filled its disk, or put something in the way.
func TestAContainerWithoutRoomForASession(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{MaxSessions: 4})
	require.NoError(t, os.WriteFile(runspec.Beneath(s.instance.ContainerPath, runspec.PathSessions), nil, 0o600))
	s.beginsNothing(t, wordsUnbegun)
	require.Contains(t, s.log.String(), "a session cannot be begun")
}
