package stack

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// makeExecKey makes the key by which starter is let into instances. It is another one each time: nothing else knows it.
func makeExecKey(identity, authorizedKeys string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make the key for exec: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "devserver")
	if err != nil {
		return fmt.Errorf("make the key for exec: %w", err)
	}
	theirs, err := ssh.NewPublicKey(public)
	if err != nil {
		return fmt.Errorf("make the key for exec: %w", err)
	}
	if err := replace(identity, pem.EncodeToMemory(block)); err != nil {
		return err
	}
	return replace(authorizedKeys, ssh.MarshalAuthorizedKey(theirs))
}
