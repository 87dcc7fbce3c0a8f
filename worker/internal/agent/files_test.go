package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/codec"
	"github.com/durable-dea/dea/internal/crashes"
	"github.com/durable-dea/dea/internal/directory"
	"github.com/durable-dea/dea/internal/registrar"
	"github.com/durable-dea/dea/internal/wardentest"
	"github.com/durable-dea/dea/internal/workspace"
	"github.com/durable-dea/dea/warden/wardenpb"
)

func TestMain(m *testing.M) { os.Exit(wardentest.Main(m)) }

// patience is for what should take milliseconds.
const patience = 30 * time.Second

// ledger is a Temporal whose one workflow is the node's, or that is away.
type ledger struct {
	client.Client
	status api.NodeStatus
	away   bool
	asked  atomic.Int32
}

func (l *ledger) QueryWorkflow(context.Context, string, string, string, ...any) (converter.EncodedValue, error) {
	l.asked.Add(1)
	if l.away {
		return nil, errors.New("away")
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(l.status)
	return client.NewValue(payloads), err
}

// filesNode is a worker's agent that serves the files of a real Warden's containers.
type filesNode struct {
	*agent
	t      *testing.T
	server *wardentest.Server
	ledger *ledger
	key    []byte
	log    bytes.Buffer
}

func newFilesNode(t *testing.T) *filesNode {
	t.Helper()
	n := &filesNode{t: t, server: wardentest.Start(t), ledger: &ledger{}}
	base := t.TempDir()
	ring, err := codec.CreateKeyFile(filepath.Join(base, "key"))
	require.NoError(t, err)
	n.key = ring.Derive(directory.KeyPurpose)[0]
	n.agent = &agent{
		id: "n", log: hclog.New(&hclog.LoggerOptions{Output: &n.log, Level: hclog.Info}), temporal: n.ledger, warden: n.server.Client,
		workspaces: workspace.New(base), crashes: crashes.New(crashes.Options{BaseDir: base, Lifetime: time.Hour}),
		node: &config.Node{
			DirectoryServer: config.DirectoryServer{Listen: "127.0.0.1:0", Protocol: "http"},
			Temporal:        config.Temporal{EncryptionKeyFile: filepath.Join(base, "key")},
		},
	}
	n.registrar, err = registrar.New(registrar.Options{Log: hclog.NewNullLogger()}) // no routers
	require.NoError(t, err)
	t.Cleanup(n.registrar.Close)
	n.files, err = n.serveFiles()
	require.NoError(t, err)
	t.Cleanup(n.files.close)
	return n
}

// forget has the ledger asked anew.
func (n *filesNode) forget() { n.reserved.asked = time.Time{} }

func (n *filesNode) get(kind directory.Kind, id, path string, tail bool) (*http.Response, error) {
	ctx, cancel := context.WithCancel(n.t.Context())
	n.t.Cleanup(cancel)
	signed := directory.SignedURL(n.files.url, n.key, kind, id, path, time.Now(), tail)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, signed, nil)
	require.NoError(n.t, err)
	return (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
}

// read is an answer's status and body.
func (n *filesNode) read(kind directory.Kind, id, path string) (int, string) {
	n.t.Helper()
	response, err := n.get(kind, id, path, false)
	require.NoError(n.t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(n.t, err)
	return response.StatusCode, string(body)
}

func (n *filesNode) status(kind directory.Kind, id, path string) int {
	n.t.Helper()
	status, _ := n.read(kind, id, path)
	return status
}

// container makes one, and gives its home directory.
func (n *filesNode) container(id string) string {
	n.t.Helper()
	_, err := n.warden.Create(n.t.Context(), &wardenpb.CreateRequest{Handle: proto.String(id)})
	require.NoError(n.t, err)
	info, err := n.warden.Info(n.t.Context(), &wardenpb.InfoRequest{Handle: proto.String(id)})
	require.NoError(n.t, err)
	return filepath.Join(info.GetContainerPath(), "home", "vcap")
}

// TestFilesOfAnInstanceThroughItsLife: reserved, running, crashed, forgotten.
func TestFilesOfAnInstanceThroughItsLife(t *testing.T) {
	n := newFilesNode(t)
	require.Equal(t, http.StatusNotFound, n.status(directory.Instance, "i", "logs"), "nobody knows it")
	n.ledger.status.Reservations = []api.Reservation{{ID: "i", Kind: api.KindInstance}}
	require.Equal(t, http.StatusNotFound, n.status(directory.Instance, "i", "logs"), "it was asked just now")
	require.EqualValues(t, 1, n.ledger.asked.Load())
	n.forget()
	status, words := n.read(directory.Instance, "i", "logs")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, words, "not available yet")

	home := n.container("i")
	require.NoError(t, os.MkdirAll(filepath.Join(home, "logs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(home, "logs", "stdout.log"), []byte("hello\n"), 0o600))
	status, words = n.read(directory.Instance, "i", "logs/stdout.log")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "hello\n", words)

	logs, err := os.OpenRoot(filepath.Join(home, "logs"))
	require.NoError(t, err)
	require.NoError(t, n.crashes.Keep(t.Context(), crashes.Crash{InstanceID: "i", AppID: "a"}, logs))
	require.NoError(t, logs.Close())
	tail, err := n.get(directory.Instance, "i", "logs/stdout.log", true)
	require.NoError(t, err)
	defer func() { _ = tail.Body.Close() }()
	_, err = n.warden.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: proto.String("i")})
	require.NoError(t, err)
	sent, err := io.ReadAll(tail.Body)
	require.NoError(t, err, "the tail ends with the instance, in good order")
	require.Equal(t, "hello\n", string(sent))
	_, words = n.read(directory.Instance, "i", "logs/stdout.log")
	require.Equal(t, "hello\n", words, "it is kept")

	n.ledger.status.Reservations = nil
	n.forget()
	require.NoError(t, os.RemoveAll(n.crashes.Dir("i")))
	require.Equal(t, http.StatusNotFound, n.status(directory.Instance, "i", "logs/stdout.log"))
}

// TestFilesOfAStagingThroughItsLife: reserved, set up, building, over, forgotten.
func TestFilesOfAStagingThroughItsLife(t *testing.T) {
	n := newFilesNode(t)
	require.Equal(t, http.StatusNotFound, n.status(directory.Staging, "t", "staging.log"))
	n.ledger.status.Reservations = []api.Reservation{{ID: api.StagingHandle("t"), Kind: api.KindStaging}}
	n.forget()
	require.Equal(t, http.StatusServiceUnavailable, n.status(directory.Staging, "t", "staging.log"))
	space, err := n.workspaces.Create("t")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(space.Out(), "staging.log"), []byte("-----> hello\n"), 0o600))
	_, words := n.read(directory.Staging, "t", "staging.log")
	require.Equal(t, "-----> hello\n", words)
	// A buildpack may write in there, and nothing leads out of it.
	require.NoError(t, os.WriteFile(filepath.Join(space.Dir(), "key"), []byte("secret"), 0o600))
	require.NoError(t, os.Symlink("../key", filepath.Join(space.Out(), "key")))
	for _, path := range []string{"key", "../key", "../in"} {
		require.Equal(t, http.StatusForbidden, n.status(directory.Staging, "t", path), path)
	}
	require.NoError(t, n.workspaces.KeepLog("t", time.Hour))
	require.NoError(t, n.workspaces.Remove("t"))
	_, words = n.read(directory.Staging, "t", "staging.log")
	require.Equal(t, "-----> hello\n", words, "it is kept")
	require.NoError(t, os.RemoveAll(n.workspaces.KeptLog("t")))
	n.ledger.status.Reservations = nil
	n.forget()
	require.Equal(t, http.StatusNotFound, n.status(directory.Staging, "t", "staging.log"))
}

// TestALedgerThatCannotBeAsked: what it may know may come yet.
func TestALedgerThatCannotBeAsked(t *testing.T) {
	n := newFilesNode(t)
	n.ledger.away = true
	require.Equal(t, http.StatusServiceUnavailable, n.status(directory.Instance, "i", ""))
	require.Equal(t, http.StatusServiceUnavailable, n.status(directory.Staging, "t", ""))
	require.EqualValues(t, 1, n.ledger.asked.Load())
}

// TestNoIDOfFilesLeadsOutside: what is signed may be any text, and is one name in the node's directories all the same.
func TestNoIDOfFilesLeadsOutside(t *testing.T) {
	n := newFilesNode(t)
	n.container("i")
	base := filepath.Dir(filepath.Dir(n.crashes.Dir("i")))
	require.FileExists(t, filepath.Join(base, "key"))
	for _, id := range []string{"..", ".", "../..", "i/..", "../" + filepath.Base(base), ".parts", base, "", "i/", "staging/../.."} {
		for _, kind := range []directory.Kind{directory.Instance, directory.Staging} {
			status := n.status(kind, id, "key")
			require.Equal(t, http.StatusNotFound, status, "%s %q", kind, id)
		}
	}
}

// TestAHomeThatItsUserSwapsLeadsNowhere: the container's root is the user's to change, with all that leads to the home.
func TestAHomeThatItsUserSwapsLeadsNowhere(t *testing.T) {
	for name, swap := range map[string]func(home string) error{
		"home": func(home string) error {
			return errors.Join(os.Rename(home, home+"-away"), os.Symlink("/etc", home))
		},
		"above home": func(home string) error {
			above := filepath.Dir(home)
			return errors.Join(os.Rename(above, above+"-away"), os.Symlink("../../..", above))
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFilesNode(t)
			home := n.container("i")
			require.NoError(t, os.WriteFile(filepath.Join(home, "log"), []byte("hello\n"), 0o600))
			tail, err := n.get(directory.Instance, "i", "log", true)
			require.NoError(t, err)
			defer func() { _ = tail.Body.Close() }()
			require.NoError(t, swap(home))
			sent, err := io.ReadAll(tail.Body)
			require.NoError(t, err)
			require.Equal(t, "hello\n", string(sent), "the tail ends")
			for _, path := range []string{"", "passwd", "key"} {
				require.Contains(t, []int{http.StatusForbidden, http.StatusNotFound}, n.status(directory.Instance, "i", path), path)
			}
		})
	}
}

// TestTheFileServerEndsInGoodOrder: tails break off at once, and do not end as if their files were over.
func TestTheFileServerEndsInGoodOrder(t *testing.T) {
	n := newFilesNode(t)
	home := n.container("i")
	require.NoError(t, os.WriteFile(filepath.Join(home, "log"), []byte("hello\n"), 0o600))
	tail, err := n.get(directory.Instance, "i", "log", true)
	require.NoError(t, err)
	defer func() { _ = tail.Body.Close() }()
	begun := make([]byte, 6)
	_, err = io.ReadFull(tail.Body, begun)
	require.NoError(t, err)
	closed := make(chan struct{})
	go func() { defer close(closed); n.files.close() }()
	rest, err := io.ReadAll(tail.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Empty(t, rest)
	select {
	case <-closed:
	case <-time.After(patience):
		require.Fail(t, "it does not end")
	}
	require.Empty(t, n.log.String())
	_, err = n.get(directory.Instance, "i", "log", false) //nolint:bodyclose // there is none
	require.Error(t, err)
}
