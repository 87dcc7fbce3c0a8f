package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/directory"
)

// ErrNoStats: what was asked about is there, but its node does not answer or has not measured it yet. A kind of *Error.
var ErrNoStats = errors.New("no statistics")

// maxStats bounds a node's answer, in bytes: some hundred for each instance.
const maxStats = 16 << 20

// NodeStats tells what a node's machine and each of its instances use; it asks the node itself. Fails with
// ErrNoSuchNode or ErrNoStats.
func (c *Client) NodeStats(ctx context.Context, node string) (api.NodeStats, error) {
	limited, cancel := c.call(ctx)
	defer cancel()
	status, err := c.Node(limited, node)
	if err != nil {
		return api.NodeStats{}, err
	}
	return c.StatsOf(limited, status)
}

// StatsOf is NodeStats of a node whose status is known: only the node is asked. It takes 5 s at most. Fails with ErrNoStats.
func (c *Client) StatsOf(ctx context.Context, node api.NodeStatus) (api.NodeStats, error) {
	var stats api.NodeStats
	key, err := c.statsKey(node.FilesURL)
	if err == nil {
		err = getJSON(ctx, directory.StatsURL(node.FilesURL, key, c.now()), &stats)
	}
	if err != nil {
		return api.NodeStats{}, noStats(ctx, "node", node.Node, err)
	}
	return stats, nil
}

// InstanceStats tells what an instance used when its node last measured it. Fails with ErrNoSuchInstance or ErrNoStats.
func (c *Client) InstanceStats(ctx context.Context, instance string) (api.InstanceStats, error) {
	limited, cancel := c.call(ctx)
	defer cancel()
	status, err := c.Instance(limited, instance)
	if err != nil {
		return api.InstanceStats{}, err
	}
	base := c.CurrentFilesURL(limited, status.Node, status.FilesURL)
	var stats api.InstanceStats
	key, err := c.statsKey(base)
	if err == nil {
		err = getJSON(limited, directory.InstanceStatsURL(base, key, instance, c.now()), &stats)
	}
	if err != nil {
		return api.InstanceStats{}, noStats(ctx, "instance", instance, err)
	}
	return stats, nil
}

// AppStats tells what each living instance of an app used, by index, each with the time of its measurement: where a node cannot
// measure one, its last numbers stay for a while (api.StatsOutdated). Those that cannot be had are named in the error
// (ErrNoStats), the first of many, beside the others. Fails with ErrNoSuchApp.
func (c *Client) AppStats(ctx context.Context, app string) ([]api.InstanceStats, error) {
	limited, cancel := c.call(ctx)
	defer cancel()
	status, err := c.App(limited, app)
	if err != nil {
		return nil, err
	}
	return c.StatsOfInstances(limited, status.Instances)
}

// StatsOfInstances is AppStats of instances whose status is known. Each of their nodes is asked once, all of them at the
// same time.
func (c *Client) StatsOfInstances(ctx context.Context, instances []api.InstanceStatus) ([]api.InstanceStats, error) {
	nodes := map[string][]api.InstanceStatus{}
	for _, i := range instances {
		if i.Node != "" && i.State.Alive() {
			nodes[i.Node] = append(nodes[i.Node], i)
		}
	}
	var mu sync.Mutex
	var found []api.InstanceStats
	var missing []string
	var failed []error
	var group errgroup.Group
	group.SetLimit(parallelQueries)
	for node, wanted := range nodes {
		group.Go(func() error {
			stats, err := c.NodeStats(ctx, node)
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
			for _, i := range wanted {
				at := slices.IndexFunc(stats.Instances, func(s api.InstanceStats) bool { return s.InstanceID == i.InstanceID })
				if at >= 0 {
					found = append(found, stats.Instances[at])
				} else {
					missing = append(missing, i.InstanceID)
				}
			}
			return nil
		})
	}
	_ = group.Wait() // none fails
	slices.SortFunc(found, func(a, b api.InstanceStats) int { return a.Index - b.Index })
	if len(missing) == 0 {
		return found, nil
	}
	return found, noStats(ctx, "instances", someOf(missing), errors.Join(failed...))
}

// mostNamed bounds how many instances an error names.
const mostNamed = 5

// someOf names the first of several, and how many more there are.
func someOf(names []string) string {
	slices.Sort(names)
	if more := len(names) - mostNamed; more > 0 {
		names = append(names[:mostNamed:mostNamed], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

func (c *Client) statsKey(base string) ([]byte, error) {
	keys := c.keys.Derive(directory.KeyPurpose)
	if base == "" || len(keys) == 0 {
		return nil, errors.New("where its node serves files is not known")
	}
	return keys[0], nil
}

func noStats(ctx context.Context, what, name string, cause error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%s %q: %w", what, name, context.Canceled)
	}
	return &Error{
		ErrNoStats, fmt.Sprintf("there are no statistics of %s %q", what, name),
		"its node does not answer, or has not measured it yet", cause,
	}
}

// getJSON asks a node. Its errors hold no URL, which is secret. It keeps no connection.
func getJSON(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, detailTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return errors.New("the node's address cannot be used")
	}
	transport := &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: detailTimeout, TLSHandshakeTimeout: 3 * time.Second}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("ask the node: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the node answered %s", response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxStats)).Decode(into); err != nil {
		return fmt.Errorf("read the node's answer: %w", err)
	}
	return nil
}
