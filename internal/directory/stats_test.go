package directory

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

// measurements are of one instance.
type measurements struct{ api.InstanceStats }

func (m measurements) Node() api.NodeStats {
	return api.NodeStats{Node: "n", Cores: 2, Instances: []api.InstanceStats{m.InstanceStats}}
}

func (m measurements) Instance(id string) (api.InstanceStats, bool) {
	return m.InstanceStats, id == m.InstanceID
}

func TestStatisticsAreForWhoHoldsASignedURL(t *testing.T) {
	key := []byte("key")
	one := measurements{api.InstanceStats{InstanceID: "i/1", AppID: "a", CPU: 0.5, MemoryBytes: 7}}
	server := httptest.NewServer(New(Options{Keys: [][]byte{key}, Stats: one}))
	defer server.Close()
	n := &node{t: t, http: server}

	a := n.get(StatsURL(server.URL, key, time.Now()))
	require.Equal(t, http.StatusOK, a.status, a.body)
	var all api.NodeStats
	require.NoError(t, json.Unmarshal([]byte(a.body), &all))
	require.Equal(t, one.Node(), all)
	a = n.get(InstanceStatsURL(server.URL, key, "i/1", time.Now()))
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Equal(t, "no-store", a.header.Get("Cache-Control"))
	var got api.InstanceStats
	require.NoError(t, json.Unmarshal([]byte(a.body), &got))
	require.Equal(t, one.InstanceStats, got)

	require.Equal(t, http.StatusNotFound, n.get(InstanceStatsURL(server.URL, key, "i", time.Now())).status)
	require.Equal(t, http.StatusUnauthorized, n.get(StatsURL(server.URL, []byte("other"), time.Now())).status)
	require.Equal(t, http.StatusUnauthorized, n.get(server.URL+"/stats").status)
	require.Equal(t, http.StatusBadRequest, n.get(StatsURL(server.URL, key, time.Now().Add(-2*Lifetime))).status)
	// What is signed for one thing is of no use for another.
	signed, err := url.Parse(SignedURL(server.URL, key, Instance, "i/1", "", time.Now(), false))
	require.NoError(t, err)
	for _, other := range []string{"/stats", "/stats/instances/i%2F1"} {
		require.Equal(t, http.StatusUnauthorized, n.get(server.URL+other+"?"+signed.RawQuery).status)
	}
	node := StatsURL(server.URL, key, time.Now())
	require.Equal(t, http.StatusUnauthorized, n.get(strings.Replace(node, "/stats?", "/stats/instances/i%2F1?", 1)).status)
}

func TestAServerThatMeasuresNothing(t *testing.T) {
	key := []byte("key")
	server := httptest.NewServer(New(Options{Keys: [][]byte{key}}))
	defer server.Close()
	n := &node{t: t, http: server}
	require.Equal(t, http.StatusNotFound, n.get(StatsURL(server.URL, key, time.Now())).status)
	require.Equal(t, http.StatusNotFound, n.get(InstanceStatsURL(server.URL, key, "i", time.Now())).status)
}
