package router_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/devserver/internal/router"
	"github.com/durable-dea/dea/internal/routing"
)

func TestARouterSaysWhatItWants(t *testing.T) {
	w := newWorld(t)
	answer, err := w.node.Request(routing.SubjectGreet, nil, patience)
	require.NoError(t, err)
	announced := <-w.starts
	require.JSONEq(t, string(announced.Data), string(answer.Data))
	var start routing.RouterStart
	require.NoError(t, json.Unmarshal(answer.Data, &start))
	require.NotEmpty(t, start.ID)
	require.Equal(t, []string{"127.0.0.1"}, start.Hosts)
	require.Equal(t, 20*time.Second, start.Interval())
	require.Equal(t, 120*time.Second, start.PruneThreshold())
}

func TestARouterSaysThatItIsBackWhenNATSIs(t *testing.T) {
	w := newWorld(t)
	first := <-w.starts
	for range 3 {
		w.bus.Stop()
		w.startBus()
		require.Equal(t, string(first.Data), string((<-w.starts).Data))
	}
	// And it still hears.
	w.register(says(t, "a"), "a", "a.example")
	require.Equal(t, map[string]int{"a": 1}, w.answers("http://a.example", 1))
}

// TestARouterBeginsWithoutNATS, which comes later.
func TestARouterBeginsWithoutNATS(t *testing.T) {
	w := newWorld(t)
	<-w.starts
	w.bus.Stop()
	other, err := router.Start(router.Options{NATS: w.bus.URL(), Host: "127.0.0.2", Log: discard})
	require.NoError(t, err)
	defer other.Close()
	w.startBus()
	for {
		var start routing.RouterStart
		require.NoError(t, json.Unmarshal((<-w.starts).Data, &start))
		if start.Hosts[0] == "127.0.0.2" {
			return
		}
	}
}

func TestThePasswordOfNATSIsNotTold(t *testing.T) {
	_, err := router.Start(router.Options{NATS: config.URL("nats://dea:hunter2@[::1"), Log: discard})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestInstancesAreReachedByTheirRoutes(t *testing.T) {
	w := newWorld(t)
	one := w.register(says(t, "one"), "1", "a.example", "A.example/Path")
	w.register(says(t, "two"), "2", "a.example")
	w.register(says(t, "wild"), "3", "*.a.example")
	require.Equal(t, map[string]int{"one": 5, "two": 5}, w.answers("http://A.EXAMPLE:1234/x", 10))
	require.Equal(t, map[string]int{"one": 2}, w.answers("http://a.example/path/x?y=z", 2))
	require.Equal(t, map[string]int{"wild": 2}, w.answers("http://x.y.a.example", 2))
	late := one
	late.PrivateInstanceID = "earlier"
	w.unregister(late)
	require.Equal(t, map[string]int{"one": 5, "two": 5}, w.answers("http://a.example", 10))
	one.URIs = []string{"a.example"}
	w.unregister(one)
	require.Equal(t, map[string]int{"two": 4}, w.answers("http://a.example", 4))
	require.Equal(t, map[string]int{"one": 2}, w.answers("http://a.example/path", 2))
}

func TestMessagesThatSayNothingDoNoHarm(t *testing.T) {
	w := newWorld(t)
	for _, text := range []string{"", "{", `{"uris":["x.example"]}`, `{"host":"127.0.0.1","port":70000,"uris":["x.example"]}`, `[]`} {
		for _, subject := range []string{routing.SubjectRegister, routing.SubjectUnregister, "router.other"} {
			require.NoError(t, w.node.Publish(subject, []byte(text)))
		}
	}
	require.NoError(t, w.node.Publish(routing.SubjectGreet, nil), "a question without where to answer")
	w.register(says(t, "a"), "a", "a.example")
	require.Equal(t, map[string]int{"a": 1}, w.answers("http://a.example", 1))
}

func TestRoutesEndThatAreNotRegisteredAgain(t *testing.T) {
	w := newWorld(t)
	m := message(t, says(t, "a").Listener.Addr().String(), "a", "a.example")
	m.StaleThresholdInSeconds = 1
	w.say(routing.SubjectRegister, m)
	w.sync()
	require.Equal(t, map[string]int{"a": 1}, w.answers("http://a.example", 1))
	require.Eventually(t, func() bool {
		response, _ := w.get("http://a.example")
		return response.StatusCode == http.StatusServiceUnavailable
	}, patience, 10*time.Millisecond)
}

// TestRoutesStayWhileNATSIsAway: nobody can register again. The threshold is a second.
func TestRoutesStayWhileNATSIsAway(t *testing.T) {
	w := newWorld(t, func(o *router.Options) { o.PruneThreshold = time.Second })
	w.register(says(t, "a"), "a", "a.example")
	w.bus.Stop()
	// Time is what is tried here: several times the threshold goes by.
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		require.Equal(t, map[string]int{"a": 1}, w.answers("http://a.example", 1))
	}
	w.startBus()
	require.Eventually(t, func() bool {
		response, _ := w.get("http://a.example")
		return response.StatusCode == http.StatusServiceUnavailable
	}, patience, 10*time.Millisecond, "nobody registers it again now that it could be")
}
