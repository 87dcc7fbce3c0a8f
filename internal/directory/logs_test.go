package directory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/applog"
)

func (n *node) logsURL(id string, q LogsQuery) string {
	return LogsURL(n.http.URL, n.key, id, q, time.Now())
}

// log is an answer with logs that is being read.
type log struct {
	t    *testing.T
	body io.Closer
	from *applog.Decoder
	// at is the last position.
	at json.RawMessage
}

func (n *node) logs(id string, q LogsQuery) *log {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, n.logsURL(id, q), nil)
	require.NoError(n.t, err)
	w, err := n.http.Client().Do(r)
	require.NoError(n.t, err)
	n.t.Cleanup(func() { _ = w.Body.Close() })
	require.Equal(n.t, http.StatusOK, w.StatusCode)
	require.Equal(n.t, logsType, w.Header.Get("Content-Type"))
	return &log{t: n.t, body: w.Body, from: applog.NewDecoder(w.Body)}
}

// until reads records up to the next position.
func (l *log) until() (texts []string) {
	l.t.Helper()
	for {
		event, err := l.from.Next()
		require.NoError(l.t, err)
		if event.Position != nil {
			l.at, err = json.Marshal(event.Position)
			require.NoError(l.t, err)
			return texts
		}
		texts = append(texts, event.Record.Stream+" "+event.Record.Text)
	}
}

// rest reads records up to the end of the answer.
func (l *log) rest() (texts []string) {
	l.t.Helper()
	for {
		event, err := l.from.Next()
		if errors.Is(err, io.EOF) {
			return texts
		}
		require.NoError(l.t, err)
		if event.Position == nil {
			texts = append(texts, event.Record.Stream+" "+event.Record.Text)
		}
	}
}

func TestLogs(t *testing.T) {
	n := newNode(t)
	n.write("logs/stdout.log", "one\ntwo\nthree\nand")
	require.Equal(t, []string{"stdout one", "stdout two", "stdout three", "stdout and"}, n.logs(instanceID, LogsQuery{Lines: 10}).rest())
	require.Equal(t, []string{"stdout two", "stdout three", "stdout and"}, n.logs(instanceID, LogsQuery{Lines: 2}).rest())
	later := LogsQuery{Lines: 10, Since: time.Now().Add(time.Hour)}
	require.Equal(t, []string{"stdout and"}, n.logs(instanceID, later).rest())
	require.Len(t, n.logs(instanceID, LogsQuery{Lines: 10, Since: time.Now().Add(-time.Hour)}).rest(), 4)
}

// The last lines of one stream are its own, however much the other has.
func TestLogsOfOneStream(t *testing.T) {
	n := newNode(t)
	n.write("logs/stderr.log", "one\ntwo\nthree\nand")
	n.write("logs/stdout.log", strings.Repeat("x\n", 1000)+"y")
	q := LogsQuery{Lines: 2, Stream: applog.Stderr}
	require.Equal(t, []string{"stderr two", "stderr three", "stderr and"}, n.logs(instanceID, q).rest())
	q.Follow = true
	l := n.logs(instanceID, q)
	require.Equal(t, []string{"stderr two", "stderr three"}, l.until())
	n.append("logs/stdout.log", "z\n")
	n.append("logs/stderr.log", " on\n")
	require.Equal(t, []string{"stderr and on"}, l.until())
	q.From = l.at
	n.append("logs/stderr.log", "more\n")
	require.Equal(t, []string{"stderr more"}, n.logs(instanceID, q).until())
}

func TestLogsAreFollowed(t *testing.T) {
	n := newNode(t)
	n.write("logs/stdout.log", "one\ntwo\n")
	n.write("logs/stderr.log", "")
	l := n.logs(instanceID, LogsQuery{Lines: 1, Follow: true})
	require.Equal(t, []string{"stdout two"}, l.until())
	n.append("logs/stderr.log", "three\n")
	require.Equal(t, []string{"stderr three"}, l.until())
	n.append("logs/stdout.log", "four\nwithout an end")
	require.Equal(t, []string{"stdout four"}, l.until())
	at := l.at
	require.NoError(t, l.body.Close())

	n.append("logs/stderr.log", "five\n")
	l = n.logs(instanceID, LogsQuery{From: at, Follow: true})
	require.Equal(t, []string{"stderr five"}, l.until(), "it goes on where it was cut off")
	require.NoError(t, os.RemoveAll(n.instance))
	require.Equal(t, []string{"stdout without an end"}, l.rest())
}

func TestLogsThatAreKeptEnd(t *testing.T) {
	n := newNode(t)
	n.write("logs/stdout.log", strings.Repeat("x\n", 3000)+"end")
	l := n.logs("over", LogsQuery{Lines: 2000, Follow: true})
	got := l.until()
	require.Len(t, got, 2000)
	require.Equal(t, "stdout end", got[1999])
	require.Empty(t, l.rest())
	n.write("logs/stderr.log", "more")
	require.Equal(t, []string{"stderr more"}, n.logs("over", LogsQuery{From: l.at, Follow: true}).rest())
}

func TestLogsThatAreRefused(t *testing.T) {
	n := newNode(t)
	good := n.logsURL(instanceID, LogsQuery{})
	require.Equal(t, http.StatusOK, n.get(good).status, "there are none yet")
	for name, c := range map[string]struct {
		url    string
		status int
	}{
		"not signed":         {n.without(good, "hmac"), http.StatusUnauthorized},
		"another's":          {strings.Replace(good, instanceID, "other", 1), http.StatusUnauthorized},
		"signed for files":   {strings.Replace(n.url("", false), "instance_paths", "instance_logs", 1), http.StatusUnauthorized},
		"unknown":            {n.logsURL("other", LogsQuery{}), http.StatusNotFound},
		"gone":               {n.logsURL("vanished", LogsQuery{}), http.StatusNotFound},
		"soon":               {n.logsURL("soon", LogsQuery{}), http.StatusServiceUnavailable},
		"broken":             {n.logsURL("broken", LogsQuery{}), http.StatusInternalServerError},
		"no number":          {n.with(good, "lines", "x"), http.StatusBadRequest},
		"too many":           {n.with(good, "lines", fmt.Sprint(MaxLogLines+1)), http.StatusBadRequest},
		"fewer than none":    {n.with(good, "lines", "-1"), http.StatusBadRequest},
		"no time":            {n.with(good, "since", "yesterday"), http.StatusBadRequest},
		"no position":        {n.with(good, "from", "7"), http.StatusBadRequest},
		"no stream":          {n.with(good, "stream", "stdin"), http.StatusBadRequest},
		"half of a position": {n.with(good, "from", `{"stdout`), http.StatusBadRequest},
	} {
		require.Equal(t, c.status, n.get(c.url).status, name)
	}
	n.ahead.Store(int64(2 * Lifetime / time.Second))
	require.Equal(t, http.StatusBadRequest, n.get(good).status, "expired")
}

// Many lines are not in memory at once, though an app has written what takes six times as much on the wire.
func TestManyLinesTakeLittleMemory(t *testing.T) {
	const lines, mostMB = 10_000, 24
	n := newNode(t)
	line := strings.Repeat("\x01", 1000)
	for _, stream := range []string{"stdout", "stderr"} {
		n.write("logs/"+stream+".log", strings.Repeat(line+"\n", lines+1))
	}
	runtime.GC()
	before, most, got := inUse(), uint64(0), 0
	l := n.logs(instanceID, LogsQuery{Lines: lines})
	for {
		event, err := l.from.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if event.Position != nil {
			require.Equal(t, lines, got, "there is one position, behind all of them")
			continue
		}
		require.Equal(t, line, event.Record.Text)
		if got++; got%500 == 0 {
			runtime.GC()
			most = max(most, inUse())
		}
	}
	require.Equal(t, lines, got)
	took := float64(most-min(before, most)) / (1 << 20)
	t.Logf("%d lines: %.1f MB", lines, took)
	require.Less(t, took, float64(mostMB))
}

// Whoever reads slowly, or not at all, keeps nobody else waiting.
func TestManyFollowersOfLogs(t *testing.T) {
	n := newNode(t)
	n.write("logs/stdout.log", "")
	slow := n.logs(instanceID, LogsQuery{Follow: true})
	slow.until()
	const followers = 30
	all := make([]*log, followers)
	for i := range all {
		all[i] = n.logs(instanceID, LogsQuery{Follow: true})
		require.Empty(t, all[i].until())
	}
	want := 0
	for range 20 {
		n.append("logs/stdout.log", strings.Repeat(strings.Repeat("x", 1000)+"\n", 100))
		want += 100
	}
	for _, l := range all {
		for got := 0; got < want; {
			got += len(l.until())
		}
	}
}
