package server

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/container"
)

// dispatch carries a request out. The settle, if not nil, is to be told whether the response has reached the client.
func (c *conn) dispatch(req proto.Message) (res proto.Message, settle container.Settle, err error) {
	r := c.s.registry
	switch req := req.(type) {
	case *wardenpb.LinkRequest:
		return settled(r.Link(c.waiting, req))
	case *wardenpb.RunRequest:
		return settled(r.Run(c.waiting, req))
	case *wardenpb.StreamRequest:
		return settled(r.Stream(c.waiting, req, func(chunk *wardenpb.StreamResponse) error {
			return c.write(wardenpb.Message_Stream, chunk)
		}))
	case *wardenpb.CreateRequest:
		res, err = r.Create(c.gone, req, c.refs)
	default:
		res, err = c.dispatchSimple(req)
	}
	return res, nil, err
}

func (c *conn) dispatchSimple(req proto.Message) (proto.Message, error) { //nolint:cyclop // the protocol's table
	r := c.s.registry
	switch req := req.(type) {
	case *wardenpb.StopRequest:
		return one(c.gone, req, r.Stop)
	case *wardenpb.DestroyRequest:
		return one(c.gone, req, r.Destroy)
	case *wardenpb.InfoRequest:
		return one(c.gone, req, r.Info)
	case *wardenpb.SpawnRequest:
		return one(c.gone, req, r.Spawn)
	case *wardenpb.NetInRequest:
		return one(c.gone, req, r.NetIn)
	case *wardenpb.NetOutRequest:
		return one(c.gone, req, r.NetOut)
	case *wardenpb.CopyInRequest:
		return one(c.gone, req, r.CopyIn)
	case *wardenpb.CopyOutRequest:
		return one(c.gone, req, r.CopyOut)
	case *wardenpb.LimitMemoryRequest:
		return one(c.gone, req, r.LimitMemory)
	case *wardenpb.LimitDiskRequest:
		return one(c.gone, req, r.LimitDisk)
	case *wardenpb.LimitBandwidthRequest:
		return one(c.gone, req, r.LimitBandwidth)
	case *wardenpb.LimitCpuRequest:
		return one(c.gone, req, r.LimitCPU)
	case *wardenpb.ListRequest:
		return one(c.gone, req, r.List)
	case *wardenpb.PingRequest:
		return &wardenpb.PingResponse{}, nil
	case *wardenpb.EchoRequest:
		return &wardenpb.EchoResponse{Message: req.Message}, nil
	}
	return nil, fmt.Errorf("no answer for %T", req)
}

// one calls a method of the registry. Its response is only looked at when there is no error: a nil pointer in an
// interface is not nil.
func one[Req any, Res proto.Message](ctx context.Context, req Req, method func(context.Context, Req) (Res, error)) (proto.Message, error) {
	res, err := method(ctx, req)
	if err != nil {
		return nil, err
	}
	return res, nil
}

func settled[Res proto.Message](res Res, settle container.Settle, err error) (proto.Message, container.Settle, error) {
	if err != nil {
		return nil, nil, err
	}
	return res, settle, nil
}
