package stack

import (
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/durable-dea/dea/internal/execserver"
)

// makeExecKey makes the key by which starter is let into instances. It is another one each time: nothing else knows it.
func makeExecKey(identity, authorizedKeys string) error {
	private, public, err := execserver.NewKey("devserver")
	if err != nil {
		return fmt.Errorf("make the key for exec: %w", err)
	}
	if err := replace(identity, private); err != nil {
		return err
	}
	return replace(authorizedKeys, ssh.MarshalAuthorizedKey(public))
}
