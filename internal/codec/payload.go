package codec

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/proto"
)

const (
	// EncodingEncrypted is the metadata value "encoding" of an encrypted payload.
	EncodingEncrypted = "binary/encrypted"
	// MetadataKeyID is the metadata key under which the encryption key's id stands.
	MetadataKeyID = "encryption-key-id"
)

// payloadCodec is the keyring as Temporal's SDK wants it.
type payloadCodec struct{ ring *Keyring }

var _ converter.PayloadCodec = payloadCodec{}

// Encode encrypts each payload, also one that is encrypted already: so Decode undoes it whatever came.
func (c payloadCodec) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	encoded := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		one, err := c.ring.encode(p)
		if err != nil {
			return payloads, fmt.Errorf("encrypt payload %d: %w", i, err)
		}
		encoded[i] = one
	}
	return encoded, nil
}

// Decode decrypts each payload. One that is not encrypted stays as it is.
func (c payloadCodec) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	decoded := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		one, err := c.ring.decode(p)
		if err != nil {
			return payloads, fmt.Errorf("decrypt payload %d: %w", i, err)
		}
		decoded[i] = one
	}
	return decoded, nil
}

func (k *Keyring) encode(p *commonpb.Payload) (*commonpb.Payload, error) {
	plain, err := proto.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("marshal: %w", err)
	}
	metadata := map[string][]byte{
		converter.MetadataEncoding: []byte(EncodingEncrypted),
		MetadataKeyID:              []byte(k.keys[0].id),
	}
	data, err := k.encrypt(plain, canonical(metadata))
	if err != nil {
		return nil, err
	}
	return &commonpb.Payload{Metadata: metadata, Data: data}, nil
}

func (k *Keyring) decode(p *commonpb.Payload) (*commonpb.Payload, error) {
	if !isEncrypted(p) {
		return p, nil
	}
	id := string(p.GetMetadata()[MetadataKeyID])
	with, ok := k.find(id)
	if !ok {
		return nil, fmt.Errorf("%w %q: the key file has %s; add the key with which this was written",
			ErrUnknownKey, printable(id), strings.Join(k.ids(), ", "))
	}
	plain, err := k.decrypt(with, p.GetData(), canonical(p.GetMetadata()))
	if err != nil {
		return nil, err
	}
	original := new(commonpb.Payload)
	if err := proto.Unmarshal(plain, original); err != nil {
		return nil, fmt.Errorf("%w: it holds no payload", ErrTampered)
	}
	return original, nil
}

func isEncrypted(p *commonpb.Payload) bool {
	return string(p.GetMetadata()[converter.MetadataEncoding]) == EncodingEncrypted
}

// canonical writes metadata so that two different ones never give the same bytes: sorted, each part after its length.
func canonical(metadata map[string][]byte) []byte {
	var text []byte
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		text = binary.AppendUvarint(text, uint64(len(name)))
		text = append(text, name...)
		text = binary.AppendUvarint(text, uint64(len(metadata[name])))
		text = append(text, metadata[name]...)
	}
	return text
}

// printable cuts what came from outside to what an error may hold.
func printable(id string) string {
	if len(id) > maxIDLength {
		return id[:maxIDLength] + "…"
	}
	return id
}

func temporalFailureConverter(data converter.DataConverter) converter.FailureConverter {
	return temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{
		DataConverter:          data,
		EncodeCommonAttributes: true,
	})
}
