package warden

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// filled gives every field of a message, or the required ones alone, a value that is made of the field's name, number
// and type. The recorded messages were filled by the same rule from the original's own definitions: a field that has
// another name, number, type or label there gives other bytes.
func filled(t *testing.T, kind protoreflect.MessageType, all bool) protoreflect.Message {
	t.Helper()
	m := kind.New()
	fields := kind.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if !all && field.Cardinality() != protoreflect.Required {
			continue
		}
		if field.IsList() {
			list := m.Mutable(field).List()
			for range 2 {
				list.Append(value(t, field, list.NewElement))
			}
			continue
		}
		m.Set(field, value(t, field, func() protoreflect.Value { return m.NewField(field) }))
	}
	return m
}

func value(t *testing.T, field protoreflect.FieldDescriptor, empty func() protoreflect.Value) protoreflect.Value {
	t.Helper()
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(string(field.Name()) + " é\x00")
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(4000000000 + uint32(field.Number()))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1<<63 + uint64(field.Number()))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(-int32(field.Number()))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		values := field.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(values.Len() - 1).Number())
	case protoreflect.MessageKind:
		return protoreflect.ValueOfMessage(filled(t, empty().Message().Type(), true))
	default:
		require.Fail(t, "the rule has no such type", field.FullName())
		return protoreflect.Value{}
	}
}

// TestMessagesOfTheOriginal decodes every message of the protocol as the original Ruby library writes it, and writes
// it with the same bytes.
func TestMessagesOfTheOriginal(t *testing.T) {
	file, err := os.Open("testdata/ruby-messages.txt")
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	types := map[wardenpb.Message_Type]int{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		words := strings.Fields(lines.Text())
		require.Len(t, words, 3)
		wire, err := hex.DecodeString(words[2])
		require.NoError(t, err)
		t.Run(words[0]+" "+words[1], func(t *testing.T) {
			kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("warden." + words[0]))
			require.NoError(t, err)
			want := filled(t, kind, words[1] == "all").Interface()

			m, err := NewReader(bytes.NewReader(wire), 0).Message()
			require.NoError(t, err)
			types[m.GetType()]++
			require.Equal(t, m.GetType().String(), strings.TrimSuffix(strings.TrimSuffix(words[0], "Request"), "Response"))
			got := kind.New().Interface()
			require.NoError(t, proto.Unmarshal(m.GetPayload(), got))
			require.True(t, proto.Equal(want, got), "want %s\ngot %s", want, got)
			require.Empty(t, got.ProtoReflect().GetUnknown())

			written, err := appendFrame(nil, m.GetType(), want)
			require.NoError(t, err)
			require.Equal(t, wire, written)
		})
	}
	// A request and a response of each, with all fields and without; Error is a response alone.
	for number := range wardenpb.Message_Type_name {
		kind := wardenpb.Message_Type(number)
		want := 4
		if kind == wardenpb.Message_Error {
			want = 2
		}
		require.Equal(t, want, types[kind], kind)
	}
}
