package real

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// staging is one of an app of a test's own, on the stack's one node.
type staging struct {
	*stack.Stack
	request api.StagingRequest
	handle  *controller.Staging
}

// zipped is a directory, or a few files of an app, as a zip.
func zipped(t *testing.T, fill func(*zip.Writer) error) []byte {
	t.Helper()
	var out bytes.Buffer
	writer := zip.NewWriter(&out)
	require.NoError(t, fill(writer))
	require.NoError(t, writer.Close())
	return out.Bytes()
}

// newStaging uploads an app and offers a buildpack of ../testdata/buildpacks for it.
func newStaging(t *testing.T, s *stack.Stack, pack string) *staging {
	t.Helper()
	app := pack + "-" + uuid.NewString()
	require.NoError(t, s.Upload(t.Context(), app, zipped(t, func(w *zip.Writer) error {
		_, err := w.Create("run")
		return err
	})))
	request, err := s.StagingRequest(t.Context(), app)
	require.NoError(t, err)
	content := zipped(t, func(w *zip.Writer) error {
		return w.AddFS(os.DirFS(filepath.Join("..", "testdata", "buildpacks", pack)))
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }))
	t.Cleanup(server.Close)
	request.AdminBuildpacks = []api.AdminBuildpack{{Key: app, URL: server.URL + "/" + pack + ".zip"}}
	return &staging{Stack: s, request: request}
}

func (s *staging) begin(t *testing.T) {
	t.Helper()
	var err error
	s.handle, err = s.Control.Stage(t.Context(), s.request)
	require.NoError(t, err)
}

// ends waits for the staging's end, whatever that is, and for the node to be as it was.
func (s *staging) ends(t *testing.T) (api.StagingResult, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), later)
	defer cancel()
	result, err := s.handle.Wait(ctx)
	s.gone(t)
	return result, err
}

// works is begin and ends of a staging that makes a droplet.
func (s *staging) works(t *testing.T) api.StagingResult {
	t.Helper()
	s.begin(t)
	result, err := s.ends(t)
	require.NoError(t, err, "%s", s.log(t))
	require.Len(t, result.DropletSHA1, 40)
	return result
}

// fails is begin and ends of a staging that does not.
func (s *staging) fails(t *testing.T, want api.ErrorType) string {
	t.Helper()
	s.begin(t)
	result, err := s.ends(t)
	require.ErrorIs(t, err, controller.ErrStagingFailed)
	require.NotNil(t, result.ErrorInfo)
	require.Equal(t, want, result.ErrorInfo.Type, result.ErrorInfo.Message)
	return result.ErrorInfo.Message
}

// gone waits until nothing of the staging is left.
func (s *staging) gone(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		left := make([]error, 0, 1)
		for _, pattern := range []string{"depot/containers/*", "base/staging/*"} {
			found, err := filepath.Glob(filepath.Join(s.Data, "nodes", "*", pattern))
			left = append(left, err)
			for _, dir := range found {
				if strings.Contains(dir, s.request.TaskID) {
					left = append(left, errors.New("left: "+dir))
				}
			}
		}
		status, err := s.Control.Node(t.Context(), s.Nodes[0].ID)
		for _, reservation := range status.Reservations {
			if reservation.ID == api.StagingHandle(s.request.TaskID) {
				left = append(left, errors.New("its reservation is left"))
			}
		}
		return errors.Join(append(left, err)...)
	})
}

// log is the staging's log so far, or the whole when it is over.
func (s *staging) log(t *testing.T) string {
	t.Helper()
	text, err := s.logSoFar(t)
	require.NoError(t, err)
	return text
}

func (s *staging) logSoFar(t *testing.T) (string, error) {
	t.Helper()
	status, err := s.handle.Status(t.Context())
	if err != nil {
		return "", err
	}
	url := s.Control.FileURL(controller.StagingFiles, s.request.TaskID, status.FilesURL, controller.StagingLog, false)
	code, text, err := stack.Get(t.Context(), url)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("the log answers %d", code)
	}
	return text, err
}

// says waits until a line is in the log.
func (s *staging) says(t *testing.T, line string) {
	t.Helper()
	eventually(t, func() error {
		text, err := s.logSoFar(t)
		if err == nil && !strings.Contains(text, line+"\n") {
			err = fmt.Errorf("no %q in\n%s", line, text)
		}
		return err
	})
}

// eventually waits until check gives no error, and fails with the one that it gave.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, check()) }, later, pause)
}

// nobodySleeps fails while a program on the machine sleeps for so many seconds, whatever container it is in.
func nobodySleeps(seconds string) error {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range lines {
		line, _ := os.ReadFile(name) // one that cannot be read has ended
		if strings.HasPrefix(string(line), "sleep\x00"+seconds) {
			err = errors.Join(err, fmt.Errorf("%s sleeps on", filepath.Dir(name)))
		}
	}
	return err
}
