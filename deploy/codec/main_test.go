package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/durable-dea/dea/internal/codec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestServe has the server decrypt what the key file's keys encrypted, for pages of the origin that was named alone,
// and end when it is told to.
func TestServe(t *testing.T) {
	ring, err := codec.CreateKeyFile(filepath.Join(t.TempDir(), "encryption.key"))
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, listener, codec.Handler(ring, []string{"http://localhost:8233"})) }()

	payload, err := ring.DataConverter().ToPayloads("a secret")
	require.NoError(t, err)
	status, decoded := decode(t, listener.Addr().String(), "http://localhost:8233", payload)
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, decoded, "json/plain")
	status, decoded = decode(t, listener.Addr().String(), "http://evil.example", payload)
	assert.Equal(t, http.StatusForbidden, status)
	assert.NotContains(t, decoded, "secret")

	stop()
	require.NoError(t, <-ended)
}

// decode gives the status of the answer, and the encoding of the payload in it or, where there is none, its words.
func decode(t *testing.T, address, origin string, payloads *commonpb.Payloads) (int, string) {
	t.Helper()
	body, err := protojson.Marshal(payloads)
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/decode", bytes.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Origin", origin)
	request.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	if response.StatusCode != http.StatusOK {
		return response.StatusCode, string(content)
	}
	var plain commonpb.Payloads
	require.NoError(t, protojson.Unmarshal(content, &plain))
	require.Len(t, plain.Payloads, 1)
	return response.StatusCode, string(plain.Payloads[0].Metadata["encoding"])
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "no.key")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no key file":   {nil, "--key-file"},
		"missing":       {[]string{"--key-file", missing}, missing},
		"wrong flag":    {[]string{"--nope"}, "nope"},
		"wrong address": {[]string{"--key-file", keyFile(t), "--listen", "nowhere"}, "--listen"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, run(t.Context(), c.args), c.want)
		})
	}
}

func keyFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "encryption.key")
	_, err := codec.CreateKeyFile(path)
	require.NoError(t, err)
	return path
}
