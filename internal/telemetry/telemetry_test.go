package telemetry

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/drain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func scrape(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func TestMetricsCanBeScraped(t *testing.T) {
	telemetry, err := New("n", hclog.NewNullLogger())
	require.NoError(t, err)
	defer telemetry.Close()
	now := api.NodeStats{
		Node: "n", Load: 1.5, MemoryFreeBytes: 1 << 30, DiskUsedBytes: 7,
		Instances: []api.InstanceStats{
			{InstanceID: "i-1", AppID: "a", Index: 2, CPU: 0.25, CPUTime: 3 * time.Second, MemoryBytes: 4096, DiskBytes: 512},
		},
	}
	require.NoError(t, telemetry.Observe(func() api.NodeStats { return now }))
	telemetry.Temporal().WithTags(map[string]string{"task_queue": "dea"}).Counter("temporal_request").Inc(3)
	telemetry.Temporal().Timer("temporal_request_latency").Record(time.Second)
	address, err := telemetry.Serve("127.0.0.1:0")
	require.NoError(t, err)
	status, text := scrape(t, "http://"+address+"/metrics")
	require.Equal(t, http.StatusOK, status)
	for _, line := range []string{
		`dea_node_load{node="n"} 1.5`,
		`dea_node_memory_free_bytes{node="n"} 1.073741824e+09`,
		`dea_node_disk_used_bytes{node="n"} 7`,
		`dea_node_instances{node="n"} 1`,
		`dea_instance_cpu{app="a",index="2",instance_id="i-1",node="n"} 0.25`,
		`dea_instance_cpu_time_seconds{app="a",index="2",instance_id="i-1",node="n"} 3`,
		`dea_instance_memory_bytes{app="a",index="2",instance_id="i-1",node="n"} 4096`,
		`dea_instance_disk_bytes{app="a",index="2",instance_id="i-1",node="n"} 512`,
		`temporal_request{task_queue="dea"} 3`,
		`temporal_request_latency_seconds_count 1`,
		`temporal_request_latency_seconds_bucket{le="0.5"} 0`,
		`service_instance_id="n"`,
	} {
		require.Contains(t, text, line)
	}
	now.Instances = nil
	_, text = scrape(t, "http://"+address+"/metrics")
	require.NotContains(t, text, "i-1", "what is gone is not shown")
	status, _ = scrape(t, "http://"+address+"/")
	require.Equal(t, http.StatusNotFound, status)

	_, err = telemetry.Serve(address)
	require.ErrorContains(t, err, "telemetry.metrics_listen")
}

func TestDrainsCanBeScraped(t *testing.T) {
	telemetry, err := New("n", hclog.NewNullLogger())
	require.NoError(t, err)
	defer telemetry.Close()
	require.NoError(t, telemetry.ObserveDrains(func() drain.Totals {
		return drain.Totals{Drains: 2, Waiting: 1, Lines: 300, LostLines: 4, LostBytes: 50}
	}))
	address, err := telemetry.Serve("127.0.0.1:0")
	require.NoError(t, err)
	_, text := scrape(t, "http://"+address+"/metrics")
	for _, line := range []string{
		"dea_drains 2", "dea_drains_waiting 1", "dea_drains_lines_total 300", "dea_drains_lost_lines_total 4", "dea_drains_lost_bytes_total 50",
	} {
		require.Contains(t, text, line)
	}
}
