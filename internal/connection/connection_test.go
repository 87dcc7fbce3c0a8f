package connection

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/codec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// frontend is the part of Temporal's frontend that a first connection needs; it keeps what it is sent.
type frontend struct {
	workflowservice.UnimplementedWorkflowServiceServer
	wantKey string
	started chan *workflowservice.StartWorkflowExecutionRequest
}

func (f *frontend) GetSystemInfo(ctx context.Context, _ *workflowservice.GetSystemInfoRequest) (*workflowservice.GetSystemInfoResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if sent := md.Get("authorization"); f.wantKey != "" && (len(sent) != 1 || sent[0] != "Bearer "+f.wantKey) {
		return nil, status.Error(codes.Unauthenticated, "no")
	}
	return &workflowservice.GetSystemInfoResponse{Capabilities: &workflowservice.GetSystemInfoResponse_Capabilities{}}, nil
}

func (f *frontend) StartWorkflowExecution(_ context.Context, r *workflowservice.StartWorkflowExecutionRequest) (*workflowservice.StartWorkflowExecutionResponse, error) {
	f.started <- r
	return &workflowservice.StartWorkflowExecutionResponse{RunId: "run"}, nil
}

func serve(t *testing.T, f *frontend, options ...grpc.ServerOption) (address string) {
	t.Helper()
	f.started = make(chan *workflowservice.StartWorkflowExecutionRequest, 1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(options...)
	workflowservice.RegisterWorkflowServiceServer(server, f)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		assert.NoError(t, <-ended)
	})
	return listener.Addr().String()
}

func temporalAt(t *testing.T, address string) config.Temporal {
	t.Helper()
	key := filepath.Join(t.TempDir(), "encryption.key")
	_, err := codec.CreateKeyFile(key)
	require.NoError(t, err)
	return config.Temporal{Address: address, Namespace: "dea", EncryptionKeyFile: key}
}

func dial(t *testing.T, cfg config.Temporal) (client.Client, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := Dial(ctx, cfg, hclog.NewNullLogger())
	if c != nil {
		t.Cleanup(c.Close)
	}
	return c, err
}

func TestWhatIsSentIsEncrypted(t *testing.T) {
	f := new(frontend)
	c, err := dial(t, temporalAt(t, serve(t, f)))
	require.NoError(t, err)
	_, err = c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: "stage/app/task", TaskQueue: "dea", StaticSummary: "hunter2", Memo: map[string]any{"m": "hunter2"},
	}, "StageApp", map[string]string{"PASSWORD": "hunter2"})
	require.NoError(t, err)
	sent := <-f.started
	assert.Equal(t, "dea", sent.GetNamespace())
	assert.NotContains(t, sent.String(), "hunter2")
	assert.Equal(t, codec.EncodingEncrypted, string(sent.GetInput().GetPayloads()[0].GetMetadata()["encoding"]))
	assert.Equal(t, codec.EncodingEncrypted, string(sent.GetUserMetadata().GetSummary().GetMetadata()["encoding"]))
}

func TestNobodyListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = Dial(ctx, temporalAt(t, address), hclog.NewNullLogger())
	require.ErrorIs(t, err, ErrUnreachable)
	assert.Contains(t, err.Error(), "Temporal cannot be reached at "+address+": is it up")

	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	_, err = Dial(ctx, temporalAt(t, address), hclog.NewNullLogger())
	require.ErrorIs(t, err, context.Canceled)
	assert.NotErrorIs(t, err, ErrUnreachable)
}

func TestKeyFileIsNeeded(t *testing.T) {
	cfg := temporalAt(t, "127.0.0.1:1")
	cfg.EncryptionKeyFile = ""
	_, err := dial(t, cfg)
	require.ErrorIs(t, err, codec.ErrKeyFile)
	assert.Contains(t, err.Error(), "temporal.encryption_key_file")
	cfg.EncryptionKeyFile = filepath.Join(t.TempDir(), "none")
	_, err = dial(t, cfg)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// authority makes certificates for a test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, "ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) issue(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotAfter = time.Now().Add(time.Hour)
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	write := func(suffix, kind string, bytes []byte) {
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes})
		require.NoError(t, os.WriteFile(a.file(name+suffix), text, 0o600))
	}
	write(".pem", "CERTIFICATE", der)
	write(".key", "PRIVATE KEY", keyDER)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// serverTLS demands a client's certificate of the authority.
func (a *authority) serverTLS(t *testing.T) grpc.ServerOption {
	t.Helper()
	a.issue(t, "server", &x509.Certificate{DNSNames: []string{"temporal.test"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	pair, err := tls.LoadX509KeyPair(a.file("server.pem"), a.file("server.key"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}))
}

func TestTLSAndAPIKey(t *testing.T) {
	a := newAuthority(t)
	a.issue(t, "client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	cfg := temporalAt(t, serve(t, &frontend{wantKey: "hunter2"}, a.serverTLS(t)))
	cfg.TLS = config.TLS{CAFile: a.file("ca.pem"), CertFile: a.file("client.pem"), KeyFile: a.file("client.key"), ServerName: "temporal.test"}
	cfg.APIKey = "hunter2"
	_, err := dial(t, cfg)
	require.NoError(t, err)

	wrongKey := cfg
	wrongKey.APIKey = "hunter3"
	_, err = dial(t, wrongKey)
	require.ErrorIs(t, err, ErrRefused)
	assert.Contains(t, err.Error(), "check temporal.api_key")
	assert.NotContains(t, err.Error(), "hunter3")

	for name, change := range map[string]func(*config.TLS){
		"another name":   func(s *config.TLS) { s.ServerName = "other.test" },
		"no certificate": func(s *config.TLS) { s.CertFile, s.KeyFile = "", "" },
		"no authority":   func(s *config.TLS) { s.CAFile = "" },
	} {
		wrong := cfg
		change(&wrong.TLS)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err = Dial(ctx, wrong, hclog.NewNullLogger())
		cancel()
		require.ErrorIs(t, err, ErrUnreachable, name)
		assert.Contains(t, err.Error(), "speak TLS", name)
	}
}

func TestBadTLSFilesAreNamed(t *testing.T) {
	a := newAuthority(t)
	none := temporalAt(t, "127.0.0.1:1")
	for words, security := range map[string]config.TLS{
		"temporal.tls.ca_file: open":                  {CAFile: "/nonexistent"},
		"holds no certificate in PEM form":            {CAFile: a.file("ca.key")},
		"temporal.tls.cert_file and key_file: open":   {CertFile: "/nonexistent", KeyFile: "/nonexistent"},
		"temporal.tls.cert_file and key_file: tls: f": {CertFile: a.file("ca.key"), KeyFile: a.file("ca.pem")},
	} {
		cfg := none
		cfg.TLS = security
		_, err := dial(t, cfg)
		require.ErrorContains(t, err, words)
	}
}

func TestAPIKeyNeverGoesInClear(t *testing.T) {
	cfg := temporalAt(t, "127.0.0.1:1")
	cfg.APIKey = "hunter2"
	options, err := Options(cfg, hclog.NewNullLogger())
	require.NoError(t, err)
	require.NotNil(t, options.ConnectionOptions.TLS)
	assert.EqualValues(t, tls.VersionTLS12, options.ConnectionOptions.TLS.MinVersion)
}
