package api_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

func TestLimitsAreReadInBothForms(t *testing.T) {
	want := api.Limits{MemoryMB: 256, DiskMB: 1024, FDs: 10}
	for _, text := range []string{
		`{"mem":256,"disk":1024,"fds":10}`, `{"memory":256,"disk":1024,"fds":10}`, `{"mem":256,"memory":1,"disk":1024,"fds":10}`,
	} {
		var got api.Limits
		require.NoError(t, json.Unmarshal([]byte(text), &got))
		require.Equal(t, want, got, text)
	}
	text, err := json.Marshal(want)
	require.NoError(t, err)
	require.JSONEq(t, `{"mem":256,"disk":1024,"fds":10}`, string(text))
	require.Error(t, json.Unmarshal([]byte(`{"mem":"256M"}`), new(api.Limits)))

	var request api.StagingRequest
	require.NoError(t, json.Unmarshal([]byte(`{"properties":{"resources":{"memory":512}}}`), &request))
	require.EqualValues(t, 512, request.Needs().MemoryMB)
}
