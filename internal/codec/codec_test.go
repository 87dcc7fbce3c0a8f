package codec

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/proto"
)

func keyLine(tb testing.TB, id string) string {
	tb.Helper()
	secret := make([]byte, keySize)
	_, err := rand.Read(secret)
	require.NoError(tb, err)
	return id + " " + base64.StdEncoding.EncodeToString(secret)
}

// ringOf is a keyring that was loaded from a file with these lines.
func ringOf(tb testing.TB, lines ...string) *Keyring {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "keys")
	require.NoError(tb, os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600))
	ring, err := LoadKeyring(file)
	require.NoError(tb, err)
	return ring
}

func payloadOf(text string) *commonpb.Payload {
	return &commonpb.Payload{
		Metadata: map[string][]byte{"encoding": []byte("json/plain"), "messageType": []byte("test")},
		Data:     []byte(text),
	}
}

func encodeOne(tb testing.TB, ring *Keyring, p *commonpb.Payload) *commonpb.Payload {
	tb.Helper()
	out, err := ring.Codec().Encode([]*commonpb.Payload{p})
	require.NoError(tb, err)
	require.Len(tb, out, 1)
	return out[0]
}

func decodeOne(ring *Keyring, p *commonpb.Payload) (*commonpb.Payload, error) {
	out, err := ring.Codec().Decode([]*commonpb.Payload{p})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

func TestWhatIsEncodedIsDecoded(t *testing.T) {
	ring := ringOf(t, keyLine(t, "a"))
	for _, size := range []int{0, 1, 15, 16, 17, 1 << 20} {
		p := payloadOf(strings.Repeat("s", size))
		before := proto.CloneOf(p)
		sealed := encodeOne(t, ring, p)
		assert.True(t, proto.Equal(before, p), "the original is not touched")
		assert.Equal(t, EncodingEncrypted, string(sealed.Metadata["encoding"]))
		assert.Equal(t, "a", string(sealed.Metadata[MetadataKeyID]))
		if size > 8 {
			assert.NotContains(t, string(sealed.Data), "ssssssss")
		}
		assert.NotContains(t, string(sealed.Data), "messageType")
		back, err := decodeOne(ring, sealed)
		require.NoError(t, err)
		assert.True(t, proto.Equal(p, back))
	}
}

func TestWhatIsEncodedTwiceIsDecodedTwice(t *testing.T) {
	ring := ringOf(t, keyLine(t, "a"))
	once := encodeOne(t, ring, payloadOf("x"))
	back, err := decodeOne(ring, encodeOne(t, ring, once))
	require.NoError(t, err)
	assert.True(t, proto.Equal(once, back))
}

func TestTheSameIsNeverEncryptedAlike(t *testing.T) {
	ring := ringOf(t, keyLine(t, "a"))
	seen := make(map[string]bool)
	for range 1000 {
		data := string(encodeOne(t, ring, payloadOf("same")).Data)
		assert.False(t, seen[data[:saltSize+nonceSize]])
		seen[data[:saltSize+nonceSize]] = true
	}
}

func TestSaltsChange(t *testing.T) {
	ring := ringOf(t, keyLine(t, "a"))
	first := encodeOne(t, ring, payloadOf("x"))
	second := encodeOne(t, ring, payloadOf("x"))
	assert.Equal(t, first.Data[:saltSize], second.Data[:saltSize])
	ring.seal.left = 0
	third := encodeOne(t, ring, payloadOf("x"))
	assert.NotEqual(t, first.Data[:saltSize], third.Data[:saltSize])
	for _, p := range []*commonpb.Payload{first, second, third} {
		_, err := decodeOne(ring, p)
		require.NoError(t, err)
	}
}

func TestClearPayloadsPass(t *testing.T) {
	ring := ringOf(t, keyLine(t, "a"))
	for _, p := range []*commonpb.Payload{payloadOf("clear"), {}, nil} {
		back, err := decodeOne(ring, p)
		require.NoError(t, err)
		assert.Same(t, p, back)
	}
	back, err := decodeOne(ring, encodeOne(t, ring, nil))
	require.NoError(t, err)
	assert.True(t, proto.Equal(&commonpb.Payload{}, back))
}

func TestRotation(t *testing.T) {
	oldKey, newKey := keyLine(t, "old"), keyLine(t, "new")
	before := ringOf(t, oldKey)
	during := ringOf(t, oldKey, newKey)
	after := ringOf(t, newKey, oldKey)
	end := ringOf(t, newKey)

	written := encodeOne(t, before, payloadOf("x"))
	for _, ring := range []*Keyring{before, during, after} {
		back, err := decodeOne(ring, written)
		require.NoError(t, err)
		assert.Equal(t, "x", string(back.Data))
	}
	assert.Equal(t, "old", string(encodeOne(t, during, payloadOf("x")).Metadata[MetadataKeyID]))
	fresh := encodeOne(t, after, payloadOf("x"))
	assert.Equal(t, "new", string(fresh.Metadata[MetadataKeyID]))
	_, err := decodeOne(during, fresh)
	require.NoError(t, err)

	_, err = decodeOne(end, written)
	require.ErrorIs(t, err, ErrUnknownKey)
	assert.Contains(t, err.Error(), `unknown encryption key "old": the key file has new`)
}

func TestAnotherKeyOfTheSameName(t *testing.T) {
	written := encodeOne(t, ringOf(t, keyLine(t, "k")), payloadOf("x"))
	_, err := decodeOne(ringOf(t, keyLine(t, "k")), written)
	require.ErrorIs(t, err, ErrTampered)
	assert.Contains(t, err.Error(), `another key that is named "k" too`)
}

func TestEveryChangeIsFound(t *testing.T) {
	ring := ringOf(t, keyLine(t, "a"), keyLine(t, "b"))
	sealed := encodeOne(t, ring, payloadOf("secret"))
	for i := range sealed.Data {
		for _, bit := range []byte{1, 0x80} {
			changed := proto.CloneOf(sealed)
			changed.Data[i] ^= bit
			_, err := decodeOne(ring, changed)
			require.ErrorIs(t, err, ErrTampered, "byte %d", i)
		}
	}
	for n := range sealed.Data {
		cut := proto.CloneOf(sealed)
		cut.Data = cut.Data[:n]
		_, err := decodeOne(ring, cut)
		require.ErrorIs(t, err, ErrTampered, "cut to %d", n)
	}
	for name, change := range map[string]func(*commonpb.Payload){
		"longer":         func(p *commonpb.Payload) { p.Data = append(p.Data, 0) },
		"other key":      func(p *commonpb.Payload) { p.Metadata[MetadataKeyID] = []byte("b") },
		"more metadata":  func(p *commonpb.Payload) { p.Metadata["x"] = nil },
		"other metadata": func(p *commonpb.Payload) { p.Metadata["messageType"] = []byte("y") },
	} {
		changed := proto.CloneOf(sealed)
		change(changed)
		_, err := decodeOne(ring, changed)
		require.ErrorIs(t, err, ErrTampered, name)
	}
	unnamed := proto.CloneOf(sealed)
	delete(unnamed.Metadata, MetadataKeyID)
	_, err := decodeOne(ring, unnamed)
	require.ErrorIs(t, err, ErrUnknownKey)
	long := proto.CloneOf(sealed)
	long.Metadata[MetadataKeyID] = []byte(strings.Repeat("k", 1<<20))
	_, err = decodeOne(ring, long)
	require.ErrorIs(t, err, ErrUnknownKey)
	assert.Less(t, len(err.Error()), 300)
}

func TestMetadataIsWrittenUnambiguously(t *testing.T) {
	assert.NotEqual(t, canonical(map[string][]byte{"a": []byte("bc")}), canonical(map[string][]byte{"ab": []byte("c")}))
	assert.NotEqual(t, canonical(map[string][]byte{"a": nil}), canonical(nil))
	assert.NotEqual(t, canonical(map[string][]byte{"a": []byte("1"), "b": nil}), canonical(map[string][]byte{"a": nil, "b": []byte("1")}))
}

func TestDataConverterHidesValues(t *testing.T) {
	ring := ringOf(t, keyLine(t, "a"))
	dc := ring.DataConverter()
	payloads, err := dc.ToPayloads(map[string]string{"PASSWORD": "hunter2"}, 7)
	require.NoError(t, err)
	assert.NotContains(t, payloads.String(), "hunter2")
	var env map[string]string
	var n int
	require.NoError(t, dc.FromPayloads(payloads, &env, &n))
	assert.Equal(t, "hunter2", env["PASSWORD"])
	assert.Equal(t, 7, n)
}

func TestFailureConverterHidesMessages(t *testing.T) {
	ring := ringOf(t, keyLine(t, "a"))
	fc := ring.FailureConverter()
	failure := fc.ErrorToFailure(temporal.NewApplicationErrorWithOptions("hunter2 is wrong", "StagingError",
		temporal.ApplicationErrorOptions{Cause: fmt.Errorf("cause hunter2"), Details: []any{"hunter2"}}))
	assert.NotContains(t, failure.String(), "hunter2")
	back := fc.FailureToError(failure)
	assert.Contains(t, back.Error(), "hunter2 is wrong")
	var app *temporal.ApplicationError
	require.ErrorAs(t, back, &app)
	assert.Equal(t, "StagingError", app.Type())
	require.ErrorContains(t, app.Unwrap(), "cause hunter2")
}

func TestManyAtOnce(t *testing.T) {
	keys := []string{keyLine(t, "a"), keyLine(t, "b")}
	ring := ringOf(t, keys...)
	var foreign []*commonpb.Payload // more derived keys than are kept
	for range openersKept + 100 {
		foreign = append(foreign, encodeOne(t, ringOf(t, keys[1]), payloadOf("far")))
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 200 {
				back, err := decodeOne(ring, encodeOne(t, ring, payloadOf("near")))
				if assert.NoError(t, err) {
					assert.Equal(t, "near", string(back.Data))
				}
				back, err = decodeOne(ring, foreign[i*5%len(foreign)])
				if assert.NoError(t, err) {
					assert.Equal(t, "far", string(back.Data))
				}
			}
		})
	}
	all.Wait()
	for _, p := range foreign {
		_, err := decodeOne(ring, p)
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, len(ring.open), openersKept)
}

func TestDerivedKeys(t *testing.T) {
	a, b := keyLine(t, "a"), keyLine(t, "b")
	ring := ringOf(t, a, b)
	keys := ring.Derive("directory-server")
	require.Len(t, keys, 2)
	assert.Len(t, keys[0], 32)
	assert.NotEqual(t, keys[0], keys[1])
	assert.NotEqual(t, keys[0], ring.Derive("another")[0])
	assert.NotEqual(t, ring.keys[0].secret[:], keys[0])
	assert.Equal(t, keys, ringOf(t, a, b).Derive("directory-server"), "the same in every process")
	assert.Equal(t, keys[1], ringOf(t, b, a).Derive("directory-server")[0], "the current key's is first")
}

func TestPrintedKeyringShowsNoKey(t *testing.T) {
	line := keyLine(t, "a")
	ring := ringOf(t, line)
	secret := strings.Fields(line)[1]
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		said := fmt.Sprintf(verb, ring)
		assert.Equal(t, "keyring of a", said)
		assert.NotContains(t, said, secret)
	}
}

func FuzzDecode(f *testing.F) {
	ring := ringOf(f, keyLine(f, "a"))
	sealed := encodeOne(f, ring, payloadOf("x"))
	f.Add([]byte(EncodingEncrypted), []byte("a"), sealed.Data)
	f.Add([]byte(EncodingEncrypted), []byte(""), []byte{})
	f.Add([]byte(converter.MetadataEncodingJSON), []byte("a"), []byte("{}"))
	f.Fuzz(func(t *testing.T, encoding, id, data []byte) {
		p := &commonpb.Payload{Metadata: map[string][]byte{"encoding": encoding, MetadataKeyID: id}, Data: data}
		back, err := decodeOne(ring, p)
		switch {
		case string(encoding) != EncodingEncrypted:
			if err != nil || back != p {
				t.Fatal("a payload in clear passes unchanged")
			}
		case err == nil && string(data) != string(sealed.Data):
			t.Fatal("nobody without the key makes a payload that decodes")
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	ring, p := ringOf(b, keyLine(b, "a")), payloadOf(strings.Repeat("x", 2000))
	for b.Loop() {
		encodeOne(b, ring, p)
	}
}

func BenchmarkDecode(b *testing.B) {
	ring := ringOf(b, keyLine(b, "a"))
	p := encodeOne(b, ring, payloadOf(strings.Repeat("x", 2000)))
	for b.Loop() {
		if _, err := decodeOne(ring, p); err != nil {
			b.Fatal(err)
		}
	}
}
