package activities

import (
	"context"
	"encoding/json"
	"time"

	"github.com/durable-dea/dea/api"
)

// StartParams says which instance to start.
type StartParams struct {
	InstanceID string           `json:"instance_id"`
	Message    api.StartMessage `json:"message"`
	// Owner is the id of the workflow that is told that the instance runs; empty for none.
	Owner string `json:"owner,omitempty"`
	// FilesURL is the base URL of the node's directory server, for the owner.
	FilesURL string `json:"files_url,omitempty"`
}

// StartResult says where the instance answers, and who knows.
type StartResult struct {
	Created CreateResult `json:"created"`
	LaunchResult
	// Told is set when the owner was told that the instance runs.
	Told bool `json:"told,omitempty"`
}

// Start is Create and Launch in one, and tells the owner that the instance runs. As three steps of the workflow's they
// cost Temporal's server twice as much.
//
// Run twice it makes the container anew until that is whole, which is noted on the node with the ports that it took, and
// from then on goes on with it: the app's process is never started a second time. The owner may be told twice. Cancelled it
// leaves what there is, for RetireInstance. It heartbeats.
func (c *Containers) Start(ctx context.Context, params StartParams) (StartResult, error) {
	created, made := c.made(params.InstanceID, params.Message.SHA1)
	if !made {
		var err error
		created, err = c.Create(ctx, CreateParams{InstanceID: params.InstanceID, Message: params.Message})
		if err == nil {
			err = c.noteMade(params.InstanceID, params.Message.SHA1, created)
		}
		if err != nil {
			return StartResult{}, err
		}
	}
	launch := LaunchParams{InstanceID: params.InstanceID, Message: params.Message, Created: created}
	launched, err := c.Launch(ctx, launch)
	if err != nil {
		return StartResult{}, err
	}
	result := StartResult{Created: created, LaunchResult: launched}
	result.Told = c.tellOwner(ctx, params, result)
	return result, nil
}

// made is what an earlier attempt has noted of an instance's container; false when it noted nothing, or what a loss of
// power tore: then the container is gone as well.
func (c *Containers) made(instance, sha1 string) (CreateResult, bool) {
	var created CreateResult
	text, err := c.cache.Noted(instance, sha1)
	if err != nil || json.Unmarshal(text, &created) != nil {
		return CreateResult{}, false
	}
	return created, true
}

func (c *Containers) noteMade(instance, sha1 string, created CreateResult) error {
	text, err := json.Marshal(created)
	if err == nil {
		err = c.cache.Note(instance, sha1, text)
	}
	if err != nil {
		return cacheFault("the instance's ports cannot be noted", err)
	}
	return nil
}

// tellOwner is false also when the owner may have been told: its workflow says it again then.
func (c *Containers) tellOwner(ctx context.Context, params StartParams, result StartResult) bool {
	if params.Owner == "" {
		return false
	}
	m, now := params.Message, time.Now()
	err := c.supervisor.TellOwner(ctx, params.Owner, api.InstanceStatus{
		InstanceID: params.InstanceID, AppID: m.AppID, Version: m.Version, Index: m.Index, Node: c.supervisor.Node(),
		State: api.StateRunning, Since: now, RunningSince: now, Address: result.Created.Address, FilesURL: params.FilesURL,
		Unready: result.Unready,
	})
	if err != nil {
		c.log.Warn("the owner of an instance was not told that it runs", "instance", params.InstanceID, "error", err)
	}
	return err == nil
}
