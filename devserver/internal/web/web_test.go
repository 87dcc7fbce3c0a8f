package web_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/devserver/internal/ports"
	"github.com/durable-dea/dea/devserver/internal/web"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func TestServeAnswersUntilStopped(t *testing.T) {
	row, err := ports.Find(t.TempDir(), 0, 0, 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, row.Close()) }()
	address := ports.Address(row.Codec())
	server, err := web.Serve(t.Context(), address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("here"))
	}))
	require.NoError(t, err)
	_, err = web.Serve(t.Context(), address, http.NotFoundHandler())
	require.ErrorContains(t, err, "in use")
	status, body := get(t, "http://"+address)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "here", body)
	require.NoError(t, server.Stop(t.Context()))

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, web.WaitAnswer(ctx, http.MethodGet, "http://"+address), "refused")
}

func TestUITellsTheBrowserWhereTheCodecServerIs(t *testing.T) {
	row, err := ports.Find(t.TempDir(), 0, 0, 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, row.Close()) }()
	ui, err := web.StartUI(web.UIOptions{
		Address: ports.Address(row.UI()), Temporal: ports.Address(row.Temporal()), Namespace: "default",
		Codec: "http://127.0.0.1:1",
	})
	require.NoError(t, err)
	url := "http://" + ports.Address(row.UI())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, web.WaitAnswer(ctx, http.MethodGet, url+"/healthz"))
	status, settings := get(t, url+"/api/v1/settings")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, settings, `"http://127.0.0.1:1"`)
	status, page := get(t, url+"/")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, "<html")
	require.NoError(t, ui.Stop())
}
