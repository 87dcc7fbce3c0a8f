package warden

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// MessageError says that a frame arrived whole, but that what is in it is no message of the protocol. The next one on
// the connection can be read.
type MessageError struct {
	// Reason is for a person.
	Reason string
	// Err is the decoder's error, if there is one.
	Err error
}

func (e *MessageError) Error() string {
	if e.Err != nil {
		return e.Reason + ": " + e.Err.Error()
	}
	return e.Reason
}

// Unwrap gives the decoder's error.
func (e *MessageError) Unwrap() error { return e.Err }

// typeField is Message.type's number.
const typeField = 1

func decodeEnvelope(payload []byte) (*wardenpb.Message, error) {
	m := &wardenpb.Message{}
	if err := (proto.UnmarshalOptions{AllowPartial: true}).Unmarshal(payload, m); err != nil {
		return nil, &MessageError{Reason: "not a message", Err: err}
	}
	if m.Type == nil {
		if number, ok := unknownType(m.ProtoReflect().GetUnknown()); ok {
			return nil, &MessageError{Reason: fmt.Sprintf("unknown message type %d", number)}
		}
		return nil, &MessageError{Reason: "not a message: it has no type"}
	}
	if m.Payload == nil {
		return nil, &MessageError{Reason: "not a message: it has no payload"}
	}
	return m, nil
}

// unknownType finds a type that this protocol does not have: proto2 keeps the value among the unknown fields.
func unknownType(unknown []byte) (int32, bool) {
	for len(unknown) > 0 {
		field, kind, n := protowire.ConsumeField(unknown)
		if n < 0 {
			return 0, false
		}
		if field == typeField && kind == protowire.VarintType {
			_, _, skip := protowire.ConsumeTag(unknown)
			value, m := protowire.ConsumeVarint(unknown[skip:])
			return int32(value), m > 0 //nolint:gosec // enums are 32 bits on the wire
		}
		unknown = unknown[n:]
	}
	return 0, false
}

// DecodeRequest gives the request in an envelope. The error is a *MessageError when the type is none of a request's,
// the payload cannot be decoded, or a required field is missing.
func DecodeRequest(m *wardenpb.Message) (proto.Message, error) {
	request := newRequest(m.GetType())
	if request == nil {
		return nil, &MessageError{Reason: fmt.Sprintf("unknown message type %d", m.GetType())}
	}
	if err := proto.Unmarshal(m.GetPayload(), request); err != nil {
		return nil, &MessageError{Reason: "bad " + m.GetType().String() + " request", Err: err}
	}
	return request, nil
}

func newRequest(t wardenpb.Message_Type) proto.Message { //nolint:cyclop // the protocol's table
	switch t {
	case wardenpb.Message_Create:
		return &wardenpb.CreateRequest{}
	case wardenpb.Message_Stop:
		return &wardenpb.StopRequest{}
	case wardenpb.Message_Destroy:
		return &wardenpb.DestroyRequest{}
	case wardenpb.Message_Info:
		return &wardenpb.InfoRequest{}
	case wardenpb.Message_Spawn:
		return &wardenpb.SpawnRequest{}
	case wardenpb.Message_Link:
		return &wardenpb.LinkRequest{}
	case wardenpb.Message_Run:
		return &wardenpb.RunRequest{}
	case wardenpb.Message_Stream:
		return &wardenpb.StreamRequest{}
	case wardenpb.Message_NetIn:
		return &wardenpb.NetInRequest{}
	case wardenpb.Message_NetOut:
		return &wardenpb.NetOutRequest{}
	case wardenpb.Message_CopyIn:
		return &wardenpb.CopyInRequest{}
	case wardenpb.Message_CopyOut:
		return &wardenpb.CopyOutRequest{}
	case wardenpb.Message_LimitMemory:
		return &wardenpb.LimitMemoryRequest{}
	case wardenpb.Message_LimitDisk:
		return &wardenpb.LimitDiskRequest{}
	case wardenpb.Message_LimitBandwidth:
		return &wardenpb.LimitBandwidthRequest{}
	case wardenpb.Message_LimitCpu:
		return &wardenpb.LimitCpuRequest{}
	case wardenpb.Message_Ping:
		return &wardenpb.PingRequest{}
	case wardenpb.Message_List:
		return &wardenpb.ListRequest{}
	case wardenpb.Message_Echo:
		return &wardenpb.EchoRequest{}
	case wardenpb.Message_Error:
	}
	return nil
}
