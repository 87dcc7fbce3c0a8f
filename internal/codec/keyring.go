package codec

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"

	"go.temporal.io/sdk/converter"
)

// keySize is the length in bytes of a key: AES-256.
const keySize = 32

// ErrUnknownKey is in the error of a payload that was encrypted with a key that the keyring does not have.
var ErrUnknownKey = errors.New("unknown encryption key")

// ErrTampered is in the error of a payload that was altered, cut short, or encrypted with another key of the same id.
var ErrTampered = errors.New("payload does not authenticate")

// key is one line of the key file.
type key struct {
	id     string
	secret [keySize]byte
}

// Keyring is the keys of a key file: the first encrypts, all decrypt. It is safe for concurrent use and never shows a
// key when it is printed.
type Keyring struct {
	keys []key // one at least; ids differ

	sealing sync.Mutex
	seal    *sealer // the derived key in use; nil at first

	opening sync.RWMutex
	open    map[openerID]opener // derived keys met lately
}

func newKeyring(keys []key) *Keyring {
	return &Keyring{keys: keys, open: make(map[openerID]opener)}
}

// Codec encrypts and decrypts payloads. It is safe for concurrent use.
func (k *Keyring) Codec() converter.PayloadCodec { return payloadCodec{ring: k} }

// DataConverter is Temporal's default one with everything encrypted.
func (k *Keyring) DataConverter() converter.DataConverter {
	return converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), k.Codec())
}

// FailureConverter encrypts the messages and the stack traces of failures too.
func (k *Keyring) FailureConverter() converter.FailureConverter {
	return temporalFailureConverter(k.DataConverter())
}

// Derive makes of each key, the current first, a key of 32 bytes for another purpose: who knows one purpose's key
// learns neither the key itself nor another purpose's. The purpose is a fixed text such as "directory-server".
func (k *Keyring) Derive(purpose string) [][]byte {
	derived := make([][]byte, len(k.keys))
	for i := range k.keys {
		derived[i] = k.keys[i].derive(nil, "dea derive v1: "+purpose)
	}
	return derived
}

// String names the keys and shows none.
func (k *Keyring) String() string {
	return fmt.Sprintf("keyring of %s", strings.Join(k.ids(), ", "))
}

// GoString is String, so that %#v shows no key either.
func (k *Keyring) GoString() string { return k.String() }

// Format is String whatever the verb.
func (k *Keyring) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

func (k *Keyring) ids() []string {
	ids := make([]string, len(k.keys))
	for i := range k.keys {
		ids[i] = k.keys[i].id
	}
	return ids
}

func (k *Keyring) find(id string) (*key, bool) {
	for i := range k.keys {
		if k.keys[i].id == id {
			return &k.keys[i], true
		}
	}
	return nil, false
}

// derive is HKDF-SHA256 of the key.
func (k *key) derive(salt []byte, info string) []byte {
	derived, err := hkdf.Key(sha256.New, k.secret[:], salt, info, keySize)
	if err != nil {
		// Only a length over 255 hashes is an error, and keySize is one hash.
		panic("codec: " + err.Error())
	}
	return derived
}
