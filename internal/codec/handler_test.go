package codec

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const uiOrigin = "http://127.0.0.1:8080"

// reply is an answer that was read to its end.
type reply struct {
	status int
	header http.Header
}

func ask(t *testing.T, server *httptest.Server, method, path, origin string, body []byte) (reply, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, bytes.NewReader(body))
	require.NoError(t, err)
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	if method == http.MethodOptions {
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "content-type,x-namespace")
	}
	answer, err := server.Client().Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return reply{answer.StatusCode, answer.Header}, string(text)
}

func TestCodecServer(t *testing.T) {
	ring := ringOf(t, keyLine(t, "a"))
	server := httptest.NewServer(Handler(ring, []string{uiOrigin, "*"}))
	defer server.Close()
	sealed := encodeOne(t, ring, payloadOf("hunter2"))
	body, err := protojson.Marshal(&commonpb.Payloads{Payloads: []*commonpb.Payload{sealed}})
	require.NoError(t, err)

	answer, text := ask(t, server, http.MethodPost, "/decode", uiOrigin, body)
	require.Equal(t, http.StatusOK, answer.status, text)
	assert.Equal(t, uiOrigin, answer.header.Get("Access-Control-Allow-Origin"))
	assert.Equal(t, "Origin", answer.header.Get("Vary"))
	assert.Equal(t, "no-store", answer.header.Get("Cache-Control"))
	var back commonpb.Payloads
	require.NoError(t, protojson.Unmarshal([]byte(text), &back))
	assert.True(t, proto.Equal(payloadOf("hunter2"), back.Payloads[0]))

	for _, origin := range []string{"http://evil.example", "null", "*", "http://127.0.0.1:80800", "http://127.0.0.1"} {
		for _, method := range []string{http.MethodPost, http.MethodOptions} {
			answer, text = ask(t, server, method, "/decode", origin, body)
			assert.Equal(t, http.StatusForbidden, answer.status, origin)
			assert.Empty(t, answer.header.Get("Access-Control-Allow-Origin"))
			assert.NotContains(t, text, "aHVudGVyMg", "nothing is decoded for it")
		}
	}
	answer, _ = ask(t, server, http.MethodOptions, "/decode", uiOrigin, nil)
	assert.Equal(t, http.StatusNoContent, answer.status)
	assert.Equal(t, uiOrigin, answer.header.Get("Access-Control-Allow-Origin"))
	assert.Contains(t, answer.header.Get("Access-Control-Allow-Headers"), "X-Namespace")

	answer, _ = ask(t, server, http.MethodGet, "/decode", uiOrigin, nil)
	assert.Equal(t, http.StatusNotFound, answer.status)
	answer, text = ask(t, server, http.MethodPost, "/decode", uiOrigin, []byte("no json"))
	assert.Equal(t, http.StatusBadRequest, answer.status, text)
	answer, text = ask(t, server, http.MethodPost, "/decode", "", bytes.Repeat([]byte("x"), maxHandlerBody+1))
	assert.Equal(t, http.StatusBadRequest, answer.status)
	assert.Contains(t, text, "too large")
}

func TestPayloadsOfAStrangersKey(t *testing.T) {
	server := httptest.NewServer(Handler(ringOf(t, keyLine(t, "a")), nil))
	defer server.Close()
	body, err := protojson.Marshal(&commonpb.Payloads{Payloads: []*commonpb.Payload{encodeOne(t, ringOf(t, keyLine(t, "b")), payloadOf("x"))}})
	require.NoError(t, err)
	answer, text := ask(t, server, http.MethodPost, "/decode", "", body)
	assert.Equal(t, http.StatusBadRequest, answer.status)
	assert.Contains(t, text, `unknown encryption key "b"`)
}

func TestCodecServerSpeaksToTemporalsOwnClient(t *testing.T) {
	ring := ringOf(t, keyLine(t, "a"))
	server := httptest.NewServer(Handler(ring, nil))
	defer server.Close()
	remote := converter.NewRemotePayloadCodec(converter.RemotePayloadCodecOptions{Endpoint: server.URL, Client: *server.Client()})
	sealed, err := remote.Encode([]*commonpb.Payload{payloadOf("one"), payloadOf("two")})
	require.NoError(t, err)
	require.Len(t, sealed, 2)
	assert.Equal(t, EncodingEncrypted, string(sealed[0].Metadata["encoding"]))
	back, err := remote.Decode(sealed)
	require.NoError(t, err)
	assert.True(t, proto.Equal(payloadOf("two"), back[1]))
}
