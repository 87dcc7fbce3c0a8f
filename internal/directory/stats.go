package directory

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/durable-dea/dea/api"
)

// The kinds of statistics. They are signed as directories are; their paths are no directory's, so that neither's
// signature is good for the other.
const (
	nodeStats     Kind = "stats"
	instanceStats Kind = "stats/instances"
)

// Stats is who has measured the node. Its methods are called concurrently and must come back at once.
type Stats interface {
	// Node is what the machine and each instance used.
	Node() api.NodeStats
	// Instance is what one used; false where it was not measured.
	Instance(id string) (api.InstanceStats, bool)
}

// StatsURL makes a URL for an api.NodeStats in JSON from the directory server at base, as SignedURL does.
func StatsURL(base string, key []byte, at time.Time) string {
	return SignedURL(base, key, nodeStats, "", "", at, false)
}

// InstanceStatsURL makes a URL for an instance's api.InstanceStats in JSON.
func InstanceStatsURL(base string, key []byte, instance string, at time.Time) string {
	return SignedURL(base, key, instanceStats, instance, "", at, false)
}

// statistics answers the requests for one kind of statistics.
func (s *server) statistics(kind Kind, stats Stats) http.Handler {
	return s.answering(func(w http.ResponseWriter, r *http.Request) error {
		id := r.PathValue("id")
		if err := verify(s.keys, kind, id, r.URL.Query(), s.now()); err != nil {
			return err
		}
		answer, err := measured(kind, id, stats)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // the client is gone
		return nil
	})
}

func measured(kind Kind, id string, stats Stats) (any, error) {
	if stats == nil {
		return nil, ErrUnknown
	}
	if kind == nodeStats {
		return stats.Node(), nil
	}
	one, ok := stats.Instance(id)
	if !ok {
		return nil, ErrUnknown
	}
	return one, nil
}
