package codec

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
)

const (
	saltSize  = 16
	nonceSize = 12
	tagSize   = 16

	// infoPayload separates the payloads' keys from all that Derive makes.
	infoPayload = "dea payload v1"

	// sealsPerSalt is how many messages one derived key encrypts. Random nonces of 96 bits are safe to about 2^32.
	sealsPerSalt = 1 << 20
	// openersKept bounds the cache of derived keys; making one anew costs a few microseconds.
	openersKept = 1024
)

// sealer encrypts with one derived key.
type sealer struct {
	aead cipher.AEAD
	salt [saltSize]byte
	left int
}

// openerID says which derived key it is.
type openerID struct {
	key  string
	salt [saltSize]byte
}

// opener decrypts with one derived key.
type opener struct{ aead cipher.AEAD }

// sealer hands out the derived key for one more message.
func (k *Keyring) sealer() (cipher.AEAD, [saltSize]byte, error) {
	k.sealing.Lock()
	defer k.sealing.Unlock()
	if k.seal == nil || k.seal.left == 0 {
		fresh := &sealer{left: sealsPerSalt}
		if _, err := rand.Read(fresh.salt[:]); err != nil {
			return nil, fresh.salt, fmt.Errorf("draw a salt: %w", err)
		}
		aead, err := newAEAD(&k.keys[0], fresh.salt)
		if err != nil {
			return nil, fresh.salt, err
		}
		fresh.aead = aead
		k.seal = fresh
	}
	k.seal.left--
	return k.seal.aead, k.seal.salt, nil
}

// encrypt gives salt, nonce and ciphertext in one piece.
func (k *Keyring) encrypt(plain, authenticated []byte) ([]byte, error) {
	aead, salt, err := k.sealer()
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, saltSize+nonceSize, saltSize+nonceSize+len(plain)+tagSize)
	copy(sealed, salt[:])
	nonce := sealed[saltSize:]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("draw a nonce: %w", err)
	}
	return aead.Seal(sealed, nonce, plain, authenticated), nil
}

// decrypt undoes encrypt. A wrong key is not told from a changed text: nothing can.
func (k *Keyring) decrypt(with *key, sealed, authenticated []byte) ([]byte, error) {
	if len(sealed) < saltSize+nonceSize+tagSize {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrTampered, len(sealed))
	}
	aead, err := k.opener(with, [saltSize]byte(sealed[:saltSize]))
	if err != nil {
		return nil, err
	}
	nonce, text := sealed[saltSize:saltSize+nonceSize], sealed[saltSize+nonceSize:]
	plain, err := aead.Open(nil, nonce, text, authenticated)
	if err != nil {
		return nil, fmt.Errorf("%w: it was altered, or encrypted with another key that is named %q too", ErrTampered, with.id)
	}
	return plain, nil
}

// opener finds or makes the derived key of a message.
func (k *Keyring) opener(with *key, salt [saltSize]byte) (cipher.AEAD, error) {
	id := openerID{key: with.id, salt: salt}
	k.opening.RLock()
	known, ok := k.open[id]
	k.opening.RUnlock()
	if ok {
		return known.aead, nil
	}
	aead, err := newAEAD(with, salt)
	if err != nil {
		return nil, err
	}
	k.opening.Lock()
	defer k.opening.Unlock()
	if len(k.open) >= openersKept {
		for old := range k.open { // any one will do: a map's order is as good as chance
			delete(k.open, old)
			break
		}
	}
	k.open[id] = opener{aead: aead}
	return aead, nil
}

func newAEAD(k *key, salt [saltSize]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.derive(salt[:], infoPayload))
	if err != nil {
		return nil, fmt.Errorf("make the cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make the cipher: %w", err)
	}
	return aead, nil
}
