package drain

import (
	"os"
	"path/filepath"
	"time"

	"github.com/durable-dea/dea/internal/applog"
	"github.com/durable-dea/dea/internal/containerpath"
	"github.com/durable-dea/dea/internal/runspec"
)

// napTime is how long the names in a directory alone tell that nothing was written; then the directory itself is looked for.
const napTime = time.Minute

// nap lets a follower whose instance says nothing keep its reader closed: it costs two looks at names now and then, and one file
// handle, instead of five.
type nap struct {
	logs  *os.Root
	since time.Time
	seen  [2]os.FileInfo
}

// newNap notes how the logs are; nil where it cannot. Whoever then finds nothing to read has missed nothing when it wakes.
func newNap(place applog.Place) *nap {
	home, err := place.Open()
	if err != nil {
		return nil
	}
	defer home.Close()
	logs, err := containerpath.OpenRoot(home, filepath.Base(runspec.PathLogs))
	if err != nil {
		return nil
	}
	n := &nap{logs: logs, since: time.Now()}
	n.seen = n.look()
	return n
}

func (n *nap) look() (seen [2]os.FileInfo) {
	for i, log := range [2]string{runspec.PathStdout, runspec.PathStderr} {
		if info, err := n.logs.Lstat(filepath.Base(log)); err == nil {
			seen[i] = info
		}
	}
	return seen
}

// isDisturbed tells whether there may be something to read.
func (n *nap) isDisturbed() bool {
	if time.Since(n.since) > napTime {
		return true
	}
	for i, now := range n.look() {
		then := n.seen[i]
		if (then == nil) != (now == nil) || now != nil &&
			(!os.SameFile(then, now) || now.Size() != then.Size() || !now.ModTime().Equal(then.ModTime())) {
			return true
		}
	}
	return false
}

// end does nothing for nil.
func (n *nap) end() {
	if n != nil {
		_ = n.logs.Close()
	}
}
