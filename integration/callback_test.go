package integration

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// broken stands for a connection that breaks before an answer.
const broken = 0

// moody is a cloud controller that takes completion callbacks only when it has had its moods with the app.
type moody struct {
	t      *testing.T
	server *httptest.Server

	mu sync.Mutex
	// moods are what is still to be answered, by app; after them it is 200, and for an app without any it never is.
	moods map[string][]int
	told  map[string][]api.StagingResult
}

const moodyUser, moodyPassword = "staging", "pass/word of the callback"

func newMoody(t *testing.T) *moody {
	t.Helper()
	m := &moody{t: t, moods: map[string][]int{}, told: map[string][]api.StagingResult{}}
	m.server = httptest.NewServer(http.HandlerFunc(m.serve))
	t.Cleanup(m.server.Close)
	return m
}

// url is a node's cc_url.
func (m *moody) url() string {
	u := url.URL{Scheme: "http", User: url.UserPassword(moodyUser, moodyPassword), Host: m.server.Listener.Addr().String()}
	return u.String()
}

func (m *moody) serve(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	assert.Equal(m.t, moodyUser+" "+moodyPassword, user+" "+password)
	var result api.StagingResult
	assert.NoError(m.t, json.NewDecoder(r.Body).Decode(&result))
	assert.Equal(m.t, "/internal/dea/staging/"+result.AppID+"/completed", r.URL.Path)
	switch mood := m.mood(result); mood {
	case broken:
		panic(http.ErrAbortHandler)
	default:
		w.WriteHeader(mood)
	}
}

func (m *moody) mood(result api.StagingResult) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told[result.AppID] = append(m.told[result.AppID], result)
	moods, has := m.moods[result.AppID]
	switch {
	case !has:
		return http.StatusServiceUnavailable
	case len(moods) == 0:
		return http.StatusOK
	}
	m.moods[result.AppID] = moods[1:]
	return moods[0]
}

func (m *moody) came(app string) []api.StagingResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.told[app]
}

// TestCallbackIsTriedAgain stages for a cloud controller that does not take the outcome for a while: it hears the same
// again until it does. One that never does makes the staging fail when the node's patience is over.
func TestCallbackIsTriedAgain(t *testing.T) {
	t.Parallel()
	s, err := stack.Start(t.Context(), stack.Options{Nodes: -1})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Stop()) })
	m := newMoody(t)
	patientNode, err := s.StartOwn(t.Context(), stack.OwnOptions{CloudController: m.url(), MemoryMB: 4096, DiskMB: 8192})
	require.NoError(t, err)
	hastyNode, err := s.StartOwn(t.Context(), stack.OwnOptions{
		CloudController: m.url(), Staging: map[string]any{"completion_timeout": 5},
	})
	require.NoError(t, err)
	ready(t, patientNode)
	ready(t, hastyNode)
	stage := func(t *testing.T, node *stack.Own, compile string, moods []int) (string, api.StagingResult, error) {
		t.Helper()
		app := "moody-" + uuid.NewString()
		if moods != nil {
			m.mu.Lock()
			m.moods[app] = moods
			m.mu.Unlock()
		}
		require.NoError(t, s.Upload(t.Context(), app, zipOf(t, file("run", "true"))))
		request, err := s.StagingRequestOn(t.Context(), app, stack.OwnStackOf(node.Number))
		require.NoError(t, err)
		request.AdminBuildpacks = []api.AdminBuildpack{buildpack{compile: compile}.serve(t, app)}
		staging, err := s.Control.Stage(t.Context(), request)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), later)
		defer cancel()
		result, err := staging.Wait(ctx)
		return app, result, err
	}
	t.Run("all", func(t *testing.T) {
		for name, moods := range map[string][]int{
			"500": {500, 503, 500, 502}, "404": {404, 404, 404, 404}, "breaks": {broken, broken, 500, broken},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				app, result, err := stage(t, patientNode, "", moods)
				require.NoError(t, err)
				assertTold(t, m.came(app), result, len(moods)+1)
			})
		}
		t.Run("a failure", func(t *testing.T) {
			t.Parallel()
			app, result, err := stage(t, patientNode, "exit 1", []int{500, 404, 500, 500})
			require.ErrorIs(t, err, controller.ErrStagingFailed)
			assert.Equal(t, api.ErrBuildpackCompile, result.ErrorInfo.Type)
			assertTold(t, m.came(app), result, 5)
		})
		t.Run("never", func(t *testing.T) {
			t.Parallel()
			app, result, err := stage(t, hastyNode, "", nil)
			require.ErrorIs(t, err, controller.ErrStagingFailed)
			assert.Equal(t, api.ErrStager, result.ErrorInfo.Type)
			assert.NotContains(t, err.Error(), moodyPassword)
			assert.GreaterOrEqual(t, len(m.came(app)), 2)
		})
	})
	for _, node := range []*stack.Own{patientNode, hastyNode} {
		eventually(t, soon, func() error { return node.InUse(t.Context()) })
	}
}

// assertTold checks that a result was told so often, and each time the same.
func assertTold(t *testing.T, told []api.StagingResult, result api.StagingResult, times int) {
	t.Helper()
	assert.Len(t, told, times)
	for _, one := range told {
		assert.Equal(t, result, one)
	}
}
