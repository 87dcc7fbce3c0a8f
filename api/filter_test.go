package api_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

func parseFilter(t *testing.T, text string) api.InstanceFilter {
	t.Helper()
	filter, err := api.ParseInstanceFilter([]byte(text))
	require.NoError(t, err, text)
	return filter
}

func TestFilterOnTheWire(t *testing.T) {
	whole := api.InstanceFilter{
		AppID: "a", Version: "v1", InstanceIDs: []string{"i-1", "i-2"}, Indices: []int{0, 2},
		States: []api.InstanceState{api.StateRunning, api.StateStarting},
	}
	read := parseFilter(t, `{"droplet":"a","version":"v1","instance_ids":["i-1"],"instances":["i-2"],"indices":[0,2],
		"states":["running","STARTING"],"reason":"unknown"}`)
	require.Equal(t, whole, read)
	require.NoError(t, read.Validate())
	require.Equal(t, whole, parseFilter(t, marshal(t, whole)))
	nulls := parseFilter(t, `{"droplet":"a","version":null,"instances":null,"instance_ids":null,"indices":null,"states":[]}`)
	require.Equal(t, api.InstanceFilter{AppID: "a"}, nulls)
	require.NoError(t, nulls.Validate())
}

func TestFilterValidate(t *testing.T) {
	for text, words := range map[string]string{
		`{}`:                                    "droplet is missing",
		`{"droplet":""}`:                        "droplet is missing",
		`{"droplet":"x' OR 1=1"}`:               "droplet may hold only",
		`{"droplet":"a","version":"a b"}`:       "version may hold only",
		`{"droplet":"a","instances":["i",""]}`:  "instance_ids[1] is missing",
		`{"droplet":"a","indices":[0,-1]}`:      "indices[1] must be from 0 to 499",
		`{"droplet":"a","indices":[500]}`:       "indices[0] must be from 0 to 499",
		`{"droplet":"a","states":["napping"]}`:  "states[0] is no state of an instance",
		`{"droplet":"a","states":["RUNNING ",1`: "no JSON",
		`{"droplet":1}`:                         "droplet has a number where a text must be",
		`{"droplet":"a","indices":"0"}`:         "indices has a text where a list must be",
		`{"droplet":"` + strings.Repeat("a", api.MaxFilterBytes) + `"}`: "longer than",
	} {
		filter, err := api.ParseInstanceFilter([]byte(text))
		if err == nil {
			err = filter.Validate()
		}
		refused(t, err, words)
	}
}

func TestFilterMatches(t *testing.T) {
	status := api.InstanceStatus{InstanceID: "i-1", AppID: "a", Version: "v1", Index: 0, State: api.StateRunning}
	for text, want := range map[string]bool{
		`{"droplet":"a"}`:                   true,
		`{"droplet":"b"}`:                   false,
		`{}`:                                false,
		`{"droplet":"a","version":"v1"}`:    true,
		`{"droplet":"a","version":"v2"}`:    false,
		`{"droplet":"a","instances":["i"]}`: false,
		`{"droplet":"a","instances":["i"],"instance_ids":["i-1"]}`: true,
		`{"droplet":"a","indices":[0]}`:                            true,
		`{"droplet":"a","indices":[1,2]}`:                          false,
		`{"droplet":"a","indices":[]}`:                             true,
		`{"droplet":"a","states":["Running"]}`:                     true,
		`{"droplet":"a","states":["CRASHED"]}`:                     false,
		`{"droplet":"a","states":["RUNNING"],"indices":[1]}`:       false,
	} {
		require.Equal(t, want, parseFilter(t, text).Matches(status), text)
	}
}

// TestEveryStateCanBeAskedFor: the list of states is that of the table of transitions.
func TestEveryStateCanBeAskedFor(t *testing.T) {
	for _, state := range api.InstanceStates() {
		require.NoError(t, api.InstanceFilter{AppID: "a", States: []api.InstanceState{state}}.Validate())
		require.True(t, state.Alive() || state.Ended())
	}
	require.Len(t, api.InstanceStates(), 9)
}

// FuzzParseInstanceFilter: whatever is read, an error is of the one type, what was read travels as it is, and what is valid
// chooses nothing of another app's.
func FuzzParseInstanceFilter(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `[]`, `{"droplet":"a","instances":["i"],"instance_ids":["j"],"indices":[0],"states":["running"]}`,
		`{"droplet":"a","states":["\u0131"],"version":""}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		read, err := api.ParseInstanceFilter(text)
		if err == nil {
			once := marshal(t, read)
			require.JSONEq(t, once, marshal(t, parseFilter(t, once)))
			err = read.Validate()
		}
		if err != nil {
			require.Equal(t, api.ErrInvalidRequest, api.Explain(err, "").Type)
			return
		}
		require.False(t, read.Matches(api.InstanceStatus{AppID: read.AppID + "x"}))
	})
}

func TestRoutesRequestValidate(t *testing.T) {
	require.NoError(t, api.RoutesRequest{}.Validate())
	require.NoError(t, api.RoutesRequest{URIs: []string{"a.example.org", "b.example.org:80/path"}, Version: "v2"}.Validate())
	for words, request := range map[string]api.RoutesRequest{
		"uris[1] must be a host name":      {URIs: []string{"a.example.org", "http://b"}},
		"uris[0] must be a host name":      {URIs: []string{"u:" + hush + "@b"}},
		"uris has more than 1000 routes":   {URIs: make([]string, 1001)},
		"routes or 65536 bytes":            {URIs: []string{strings.Repeat("a", 64<<10+1)}},
		"version may hold only letters":    {Version: "a b"},
		"version is longer than 200":       {Version: strings.Repeat("a", 201)},
		"uris[0] must be a host name, whi": {URIs: []string{""}},
	} {
		refused(t, request.Validate(), words)
	}
}

func TestFilterThatChoosesAll(t *testing.T) {
	require.True(t, api.InstanceFilter{AppID: "a"}.All())
	for _, f := range []api.InstanceFilter{
		{Version: "v"}, {InstanceIDs: []string{"i"}}, {Indices: []int{0}}, {States: []api.InstanceState{api.StateRunning}},
	} {
		require.False(t, f.All(), "%+v", f)
	}
}
