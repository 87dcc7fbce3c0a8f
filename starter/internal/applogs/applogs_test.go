package applogs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
)

func TestNothingToReadIsTold(t *testing.T) {
	var told []string
	r := &Reader{Warn: func(text string) { told = append(told, text) }}
	require.NoError(t, r.nothing(Query{App: "hello", Index: -1}))
	require.Equal(t, []string{"hello has no instances now"}, told)
	require.ErrorIs(t, r.nothing(Query{App: "hello", Index: 2}), controller.ErrNoSuchInstance)
}

func TestSources(t *testing.T) {
	now := time.Now()
	status := api.AppStatus{Instances: []api.InstanceStatus{
		{InstanceID: "c", Index: 1, Since: now},
		{InstanceID: "b", Index: 0, Since: now},
		{InstanceID: "a", Index: 0, Since: now.Add(-time.Minute)},
	}}
	names := func(q Query) (names []string) {
		for _, s := range sources(status, q) {
			names = append(names, s.instance.InstanceID+" "+s.file())
		}
		return names
	}
	require.Equal(t, []string{
		"a logs/stdout.log", "a logs/stderr.log", "b logs/stdout.log", "b logs/stderr.log", "c logs/stdout.log", "c logs/stderr.log",
	}, names(Query{Index: -1, Streams: []string{Stdout, Stderr}}))
	require.Equal(t, []string{"c logs/stderr.log"}, names(Query{Index: 1, Streams: []string{Stderr}}))
	require.Empty(t, names(Query{Index: 2, Streams: []string{Stdout}}))
}
