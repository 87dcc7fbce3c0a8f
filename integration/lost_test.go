package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/integration/internal/stack"
)

// TestNodeLostDuringStaging takes the node away on which an app compiles. Another builds it from the start; when the first is
// back, what it has of the staging is taken away, be it that it still runs.
func TestNodeLostDuringStaging(t *testing.T) {
	t.Parallel()
	f := newField(t, 2, stack.OwnOptions{OrphanReap: time.Second})
	for _, node := range f.nodes {
		ready(t, node)
	}
	r := newTrial(t, f.gate, f.Stack, nil)
	// Each run of compile waits for a sign of its own; the first never gets it.
	r.more = `mine=$(wc -l < "$dir/compile")
while [ -e "$dir/hold.lost" ] && [ ! -e "$dir/go.$mine" ]; do sleep 0.05; done
`
	r.hold(t, "lost")
	r.begin(t)
	r.awaitRun(t, "compile")
	status, err := r.staging.Status(t.Context())
	require.NoError(t, err)
	lost, other := f.nodes[0], f.nodes[1]
	if status.Node == other.ID {
		lost, other = other, lost
	}
	require.Equal(t, lost.ID, status.Node)
	require.NoError(t, bothDie().strike(lost))
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "go.2"), nil, 0o600))

	result, err := r.wait(t)
	require.NoError(t, err, r.tail())
	assert.Equal(t, other.ID, result.NodeID)
	assert.Len(t, r.runs(t, "compile"), 2, "once on each node")
	r.checkDroplet(t, result.DropletSHA1)
	r.checkCallbacks(t, result)
	eventually(t, soon, func() error { return other.InUse(t.Context()) })

	// What it has left goes on until the node is back.
	assert.DirExists(t, lost.Container(r.handle()))
	assert.DirExists(t, lost.Workspace(r.request.TaskID))
	require.Error(t, r.living(t), "the lost node's build is to be there still")
	require.NoError(t, bothDie().mend(t.Context(), lost))
	r.node = lost
	r.leavesNothing(t)
}

// TestTemporalAwayDuringBuild takes Temporal and the cloud controller away while an app compiles. The build goes on, and so
// does its staging when they are back.
func TestTemporalAwayDuringBuild(t *testing.T) {
	t.Parallel()
	f := newField(t, 1, stack.OwnOptions{})
	r := newTrial(t, f.gate, f.Stack, f.take(t))
	r.more = `n=0
while [ -e "$dir/hold.away" ] && [ ! -e "$dir/go.away" ]; do n=$((n+1)); echo "$n more"; sleep 0.1; done
`
	r.hold(t, "away")
	r.begin(t)
	r.at(t, func() error { return logContains(r, "1 more\n") })
	f.away(t, func() {
		info, err := os.Stat(r.out("staging.log"))
		require.NoError(t, err)
		r.at(t, func() error { return hasSize(r.out("staging.log"), info.Size()+1) })
	})
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "go.away"), nil, 0o600))
	r.succeeds(t)
	r.leavesNothing(t)
}

// outage is how long Temporal is away: longer than a heartbeat may take and than workers may be silent.
const outage = time.Minute

// away kills the devserver, and starts it again when the outage is over; meanwhile it does what is to be done meanwhile.
func (f *field) away(t *testing.T, meanwhile func()) {
	t.Helper()
	require.NoError(t, f.KillKeepingPorts(t.Context()))
	over := time.After(outage)
	meanwhile()
	<-over
	require.NoError(t, f.Restart(t.Context()))
}

func logContains(r *trial, text string) error {
	log, err := os.ReadFile(r.out("staging.log"))
	if err == nil && !strings.Contains(string(log), text) {
		err = fmt.Errorf("the log does not have %q:\n%s", text, log)
	}
	return err
}

// TestTemporalAwayDuringUpload takes Temporal away while a droplet is sent. It goes to a server of the test's own, as the
// cloud controller that the devserver has is away too.
func TestTemporalAwayDuringUpload(t *testing.T) {
	t.Parallel()
	f := newField(t, 1, stack.OwnOptions{})
	r := newTrial(t, f.gate, f.Stack, f.take(t))
	r.more = fmt.Sprintf("head -c %d /dev/urandom > \"$1/large\"", largeMB<<20)
	shelf := newShelf(t)
	r.prepare(t)
	r.request.UploadURI = shelf.server.URL + "/droplet"
	var err error
	r.staging, err = f.Control.Stage(t.Context(), r.request)
	require.NoError(t, err)
	r.at(t, func() error { return shelf.hasBegun() })
	f.away(t, func() {
		close(shelf.goOn)
		r.at(t, shelf.hasOne)
	})
	result, err := r.wait(t)
	require.NoError(t, err, r.tail())
	assert.Equal(t, r.node.ID, result.NodeID)
	assert.Len(t, r.runs(t, "compile"), 1)
	for _, droplet := range shelf.droplets() {
		r.checkContent(t, bytes.NewReader(droplet), result.DropletSHA1)
	}
	r.checkCallbacks(t, result)
	r.leavesNothing(t)
}

// shelf takes droplets, and stops in the middle of each until it may go on.
type shelf struct {
	server *httptest.Server
	goOn   chan struct{}

	mu    sync.Mutex
	begun int
	whole [][]byte
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{goOn: make(chan struct{})}
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		form, err := r.MultipartReader()
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		part, err := form.NextPart()
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		var droplet bytes.Buffer
		_, err = io.CopyN(&droplet, part, largeMB<<20/2)
		s.mu.Lock()
		s.begun++
		s.mu.Unlock()
		<-s.goOn
		if err == nil {
			_, err = io.Copy(&droplet, part)
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.whole = append(s.whole, droplet.Bytes())
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(func() {
		s.server.CloseClientConnections()
		s.server.Close()
	})
	return s
}

func (s *shelf) hasBegun() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun == 0 {
		return errors.New("no droplet is on its way")
	}
	return nil
}

func (s *shelf) hasOne() error {
	if len(s.droplets()) == 0 {
		return errors.New("no droplet has come")
	}
	return nil
}

func (s *shelf) droplets() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.whole)
}
