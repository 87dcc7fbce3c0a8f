package execserver

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
)

// hostKey reads the node's key, or makes it.
func hostKey(file string) (ssh.Signer, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = makeKey(file)
	}
	if err != nil {
		return nil, fmt.Errorf("the node's key for exec: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("the node's key for exec: %s cannot be read, and is made anew when it is not there: %w", file, err)
	}
	return signer, nil
}

// NewKey makes a key: the private one in OpenSSH's form, with a comment, and the public one.
func NewKey(comment string) (text []byte, public ssh.PublicKey, err error) {
	theirs, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return nil, nil, err
	}
	if public, err = ssh.NewPublicKey(theirs); err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(block), public, nil
}

// makeKey appears whole, by a rename.
func makeKey(file string) ([]byte, error) {
	text, _, err := NewKey("")
	if err != nil {
		return nil, err
	}
	part, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*") // 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(part.Name())
	_, err = part.Write(text)
	if err = errors.Join(err, part.Sync(), part.Close()); err != nil {
		return nil, err
	}
	return text, os.Rename(part.Name(), file)
}
