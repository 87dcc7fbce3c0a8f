package conformance

import (
	"bytes"
	_ "embed"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/durable-dea/dea/warden/wardenpb"
)

//go:embed testdata/ruby-session.txt
var rubySession string

// rubyAnswer is what a request of the recorded session is answered: an Error, or messages of the request's type.
type rubyAnswer struct {
	refused string
	answers []proto.Message
}

func rubyAnswers() []rubyAnswer {
	s, n, n64 := proto.String, proto.Uint32, proto.Uint64
	done := func(m ...proto.Message) rubyAnswer { return rubyAnswer{answers: m} }
	refused := func(words string) rubyAnswer { return rubyAnswer{refused: words} }
	active := &wardenpb.InfoResponse{State: s("active")}
	ports := &wardenpb.NetInResponse{HostPort: n(61234), ContainerPort: n(8080)}
	disk := &wardenpb.LimitDiskResponse{
		Byte: n64(64 << 20), ByteLimit: n64(64 << 20), ByteHard: n64(64 << 20), ByteSoft: n64(0),
		Block: n64(64 << 10), BlockLimit: n64(64 << 10), BlockHard: n64(64 << 10), BlockSoft: n64(0),
		Inode: n64(10000), InodeLimit: n64(10000), InodeHard: n64(10000), InodeSoft: n64(0),
	}
	return []rubyAnswer{
		done(&wardenpb.PingResponse{}),
		done(&wardenpb.EchoResponse{Message: s("héllo \xff")}),
		done(&wardenpb.ListResponse{}),
		done(&wardenpb.CreateResponse{Handle: s("ruby")}),
		refused("container with handle: ruby already exists."),
		done(&wardenpb.ListResponse{Handles: []string{"ruby"}}),
		done(active),
		refused("unknown handle"),
		done(&wardenpb.SpawnResponse{JobId: n(1)}),
		done(&wardenpb.LinkResponse{ExitStatus: n(7), Stdout: s("out\n"), Stderr: s("err\n")}),
		refused("no such job"),
		done(&wardenpb.SpawnResponse{JobId: n(2)}),
		done(&wardenpb.StreamResponse{Name: s("stdout"), Data: s("one\n")}, &wardenpb.StreamResponse{ExitStatus: n(3)}),
		done(&wardenpb.RunResponse{ExitStatus: n(1), Stdout: s("99\n"), Stderr: s("")}),
		done(&wardenpb.RunResponse{ExitStatus: n(0), Stdout: s(""), Stderr: s("")}),
		done(&wardenpb.NetInResponse{}),
		done(ports),
		done(&wardenpb.NetOutResponse{}),
		done(&wardenpb.NetOutResponse{}),
		refused("Please specify network, port, and/or port_range."),
		done(&wardenpb.LimitMemoryResponse{LimitInBytes: n64(9223372036854771712)}),
		done(&wardenpb.LimitMemoryResponse{LimitInBytes: n64(64 << 20)}),
		done(disk),
		done(&wardenpb.LimitCpuResponse{LimitInShares: n64(512)}),
		done(&wardenpb.LimitBandwidthResponse{Rate: n64(1000000), Burst: n64(200000)}),
		done(&wardenpb.CopyInResponse{}),
		refused("command exited with failure"),
		done(&wardenpb.StopResponse{}),
		refused("Container state must be one of 'active', current state is 'stopped'"),
		done(&wardenpb.StopResponse{}),
		done(&wardenpb.DestroyResponse{}),
		refused("unknown handle"),
		done(&wardenpb.ListResponse{}),
		done(&wardenpb.PingResponse{}),
		done(&wardenpb.CreateResponse{}),
	}
}

// testRuby repeats a session of the original client, byte by byte and in two writes a request, as that client writes.
func testRuby(t *testing.T, s Suite) {
	conn := s.fixture(t).dial()
	lines := strings.Split(strings.TrimSpace(rubySession), "\n")[1:]
	answers := rubyAnswers()
	require.Len(t, lines, len(answers))
	for i, line := range lines {
		name, bytesOf, _ := strings.Cut(line, " ")
		wire, err := hex.DecodeString(bytesOf)
		require.NoError(t, err)
		payload := bytes.Index(wire, []byte("\r\n")) + 2
		for _, part := range [][]byte{wire[:payload], wire[payload:]} {
			_, err := conn.Write(part)
			require.NoError(t, err)
		}
		if want := answers[i].refused; want != "" {
			require.Equal(t, want, conn.receiveError(), "line %d, %s", i+1, name)
			continue
		}
		for _, want := range answers[i].answers {
			got := want.ProtoReflect().New().Interface()
			conn.receive(typeOf(want), got)
			want.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
				require.True(t, value.Equal(got.ProtoReflect().Get(field)), "line %d, %s: want %s\ngot %s", i+1, name, want, got)
				return true
			})
		}
	}
}

// typeOf is the type that a response travels with.
func typeOf(m proto.Message) wardenpb.Message_Type {
	name := strings.TrimSuffix(string(m.ProtoReflect().Descriptor().Name()), "Response")
	return wardenpb.Message_Type(wardenpb.Message_Type_value[name])
}
