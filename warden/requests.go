package warden

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// call is a request with one answer.
func call[T any, R interface {
	*T
	proto.Message
}](ctx context.Context, c *Client, t wardenpb.Message_Type, req proto.Message) (R, error) {
	res := R(new(T))
	err := c.ask(ctx, t, req, func(payload []byte) (bool, error) {
		if err := proto.Unmarshal(payload, res); err != nil {
			return false, c.failed(ctx, t, &MessageError{Reason: "bad answer", Err: err})
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// Create makes a container and answers its handle. It fails with ErrHandleInUse when the handle it names is taken.
func (c *Client) Create(ctx context.Context, req *wardenpb.CreateRequest) (*wardenpb.CreateResponse, error) {
	return call[wardenpb.CreateResponse](ctx, c, wardenpb.Message_Create, req)
}

// Stop ends a container's processes: TERM, and KILL after 10 s.
func (c *Client) Stop(ctx context.Context, req *wardenpb.StopRequest) (*wardenpb.StopResponse, error) {
	return call[wardenpb.StopResponse](ctx, c, wardenpb.Message_Stop, req)
}

// Destroy ends a container and frees all that it has. It fails with ErrUnknownHandle when there is none.
func (c *Client) Destroy(ctx context.Context, req *wardenpb.DestroyRequest) (*wardenpb.DestroyResponse, error) {
	return call[wardenpb.DestroyResponse](ctx, c, wardenpb.Message_Destroy, req)
}

// Info answers a container's state, statistics and jobs.
func (c *Client) Info(ctx context.Context, req *wardenpb.InfoRequest) (*wardenpb.InfoResponse, error) {
	return call[wardenpb.InfoResponse](ctx, c, wardenpb.Message_Info, req)
}

// Spawn starts a job and answers its id, by which it can be linked or streamed once. It fails with ErrWrongState when
// the container is stopped.
func (c *Client) Spawn(ctx context.Context, req *wardenpb.SpawnRequest) (*wardenpb.SpawnResponse, error) {
	return call[wardenpb.SpawnResponse](ctx, c, wardenpb.Message_Spawn, req)
}

// Link waits for the end of a job. It fails with ErrNoSuchJob when the job's end was taken already. A Link whose
// context ends takes nothing: the job can be linked again.
func (c *Client) Link(ctx context.Context, req *wardenpb.LinkRequest) (*wardenpb.LinkResponse, error) {
	return call[wardenpb.LinkResponse](ctx, c, wardenpb.Message_Link, req)
}

// Run starts a job and waits for its end. When its context ends, the job goes on and its end cannot be had.
func (c *Client) Run(ctx context.Context, req *wardenpb.RunRequest) (*wardenpb.RunResponse, error) {
	return call[wardenpb.RunResponse](ctx, c, wardenpb.Message_Run, req)
}

// Stream waits for the end of a job and gives each piece of its output to receive as it comes, what came before the
// call included. The answer is the last response, with the exit status; receive does not get it. An error of receive
// ends the stream and is returned as it is.
func (c *Client) Stream(ctx context.Context, req *wardenpb.StreamRequest, receive func(*wardenpb.StreamResponse) error) (*wardenpb.StreamResponse, error) {
	var last *wardenpb.StreamResponse
	err := c.ask(ctx, wardenpb.Message_Stream, req, func(payload []byte) (bool, error) {
		res := &wardenpb.StreamResponse{}
		if err := proto.Unmarshal(payload, res); err != nil {
			return false, c.failed(ctx, wardenpb.Message_Stream, &MessageError{Reason: "bad answer", Err: err})
		}
		if res.ExitStatus != nil {
			last = res
			return true, nil
		}
		return false, receive(res)
	})
	if err != nil {
		return nil, err
	}
	return last, nil
}

// NetIn opens a port of the host into the container.
func (c *Client) NetIn(ctx context.Context, req *wardenpb.NetInRequest) (*wardenpb.NetInResponse, error) {
	return call[wardenpb.NetInResponse](ctx, c, wardenpb.Message_NetIn, req)
}

// NetOut lets the container reach a network.
func (c *Client) NetOut(ctx context.Context, req *wardenpb.NetOutRequest) (*wardenpb.NetOutResponse, error) {
	return call[wardenpb.NetOutResponse](ctx, c, wardenpb.Message_NetOut, req)
}

// CopyIn copies from the host into the container. It fails with ErrCopyFailed.
func (c *Client) CopyIn(ctx context.Context, req *wardenpb.CopyInRequest) (*wardenpb.CopyInResponse, error) {
	return call[wardenpb.CopyInResponse](ctx, c, wardenpb.Message_CopyIn, req)
}

// CopyOut copies from the container to the host. It fails with ErrCopyFailed.
func (c *Client) CopyOut(ctx context.Context, req *wardenpb.CopyOutRequest) (*wardenpb.CopyOutResponse, error) {
	return call[wardenpb.CopyOutResponse](ctx, c, wardenpb.Message_CopyOut, req)
}

// LimitMemory sets the memory limit, when one is given, and answers it.
func (c *Client) LimitMemory(ctx context.Context, req *wardenpb.LimitMemoryRequest) (*wardenpb.LimitMemoryResponse, error) {
	return call[wardenpb.LimitMemoryResponse](ctx, c, wardenpb.Message_LimitMemory, req)
}

// LimitDisk sets the disk limits that are given and answers all of them.
func (c *Client) LimitDisk(ctx context.Context, req *wardenpb.LimitDiskRequest) (*wardenpb.LimitDiskResponse, error) {
	return call[wardenpb.LimitDiskResponse](ctx, c, wardenpb.Message_LimitDisk, req)
}

// LimitBandwidth sets the bandwidth of both directions.
func (c *Client) LimitBandwidth(ctx context.Context, req *wardenpb.LimitBandwidthRequest) (*wardenpb.LimitBandwidthResponse, error) {
	return call[wardenpb.LimitBandwidthResponse](ctx, c, wardenpb.Message_LimitBandwidth, req)
}

// LimitCPU sets the CPU shares, when some are given, and answers them.
func (c *Client) LimitCPU(ctx context.Context, req *wardenpb.LimitCpuRequest) (*wardenpb.LimitCpuResponse, error) {
	return call[wardenpb.LimitCpuResponse](ctx, c, wardenpb.Message_LimitCpu, req)
}

// Ping asks whether the server answers.
func (c *Client) Ping(ctx context.Context, req *wardenpb.PingRequest) (*wardenpb.PingResponse, error) {
	return call[wardenpb.PingResponse](ctx, c, wardenpb.Message_Ping, req)
}

// List answers the handles of all containers.
func (c *Client) List(ctx context.Context, req *wardenpb.ListRequest) (*wardenpb.ListResponse, error) {
	return call[wardenpb.ListResponse](ctx, c, wardenpb.Message_List, req)
}

// Echo answers its own message.
func (c *Client) Echo(ctx context.Context, req *wardenpb.EchoRequest) (*wardenpb.EchoResponse, error) {
	return call[wardenpb.EchoResponse](ctx, c, wardenpb.Message_Echo, req)
}
