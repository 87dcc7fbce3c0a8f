package cloudcontroller

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// stand is a server that listens, with a client that has its credentials.
type stand struct {
	*Server
	t    *testing.T
	http *httptest.Server
	log  *lockedBuffer
	once sync.Once
}

func newStand(t *testing.T, o Options) *stand {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	st := &stand{t: t, log: &lockedBuffer{}}
	o.Log = hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: st.log})
	server, err := New(o)
	require.NoError(t, err)
	st.Server = server
	st.http = httptest.NewServer(server.Handler())
	t.Cleanup(st.stop)
	return st
}

func (st *stand) stop() {
	st.once.Do(func() {
		st.http.Close()
		require.NoError(st.t, st.Close())
	})
}

// answered is a response that was read whole.
type answered struct {
	status int
	header http.Header
	body   string
}

func (st *stand) send(r *http.Request) answered {
	st.t.Helper()
	w, err := st.http.Client().Do(r)
	require.NoError(st.t, err)
	defer func() { _ = w.Body.Close() }()
	body, err := io.ReadAll(w.Body)
	require.NoError(st.t, err)
	return answered{w.StatusCode, w.Header, string(body)}
}

func (st *stand) request(method, path string, body io.Reader, header ...string) *http.Request {
	st.t.Helper()
	r, err := http.NewRequestWithContext(st.t.Context(), method, st.http.URL+path, body)
	require.NoError(st.t, err)
	c := st.Credentials()
	r.SetBasicAuth(c.User, c.Password)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func (st *stand) do(method, path, body string, header ...string) answered {
	st.t.Helper()
	return st.send(st.request(method, path, strings.NewReader(body), header...))
}

func (st *stand) get(path string, header ...string) answered {
	st.t.Helper()
	return st.do(http.MethodGet, path, "", header...)
}

// upload sends a form with one file.
func (st *stand) upload(method, path, field, content string) answered {
	st.t.Helper()
	body, kind := form(st.t, map[string]string{}, field, content)
	return st.do(method, path, body, "Content-Type", kind)
}

func form(t *testing.T, fields map[string]string, file, content string) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for name, value := range fields {
		require.NoError(t, w.WriteField(name, value))
	}
	if file != "" {
		part, err := w.CreateFormFile(file, "anything.bin")
		require.NoError(t, err)
		_, err = io.WriteString(part, content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.String(), w.FormDataContentType()
}

func (st *stand) push(app, content string) {
	st.t.Helper()
	a := st.upload(http.MethodPut, "/v2/apps/"+app+"/bits", bitsField, content)
	require.Equal(st.t, http.StatusCreated, a.status, a.body)
}

// submit uploads a droplet as a job.
func (st *stand) submit(app, content string) jobBody {
	st.t.Helper()
	a := st.upload(http.MethodPost, "/staging/droplets/"+app+"/upload?async=true", dropletField, content)
	require.Equal(st.t, http.StatusOK, a.status, a.body)
	return decode[jobBody](st.t, a.body)
}

func (st *stand) job(guid string) jobBody {
	st.t.Helper()
	a := st.get("/staging/jobs/" + guid)
	require.Equal(st.t, http.StatusOK, a.status, a.body)
	return decode[jobBody](st.t, a.body)
}

// await polls a job until it is over.
func (st *stand) await(guid string) jobBody {
	st.t.Helper()
	var j jobBody
	require.Eventually(st.t, func() bool {
		j = st.job(guid)
		return j.Entity.Status == jobFinished || j.Entity.Status == jobFailed
	}, 10*time.Second, 2*time.Millisecond)
	return j
}

// left lists what is in a directory of the store.
func (st *stand) left(dir string) []string {
	st.t.Helper()
	entries, err := os.ReadDir(st.store.root.Name() + "/" + dir)
	require.NoError(st.t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	require.NoError(t, json.Unmarshal([]byte(text), &v), text)
	return v
}

func sha(content string) string {
	sum := sha1.Sum([]byte(content))
	return hex.EncodeToString(sum[:])
}
