package execserver

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/durable-dea/dea/internal/supervisor"
)

// TestNoLogHasWhatAnyoneCallsHimself: who has no key chooses a name, of any bytes and as often as he likes.
func TestNoLogHasWhatAnyoneCallsHimself(t *testing.T) {
	key := newKey(t)
	file := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(file, ssh.MarshalAuthorizedKey(key), 0o600))
	var log bytes.Buffer
	s := &Server{
		options: Options{AuthorizedKeys: file, Instances: func() []supervisor.Instance { return []supervisor.Instance{{ID: "i-1"}} }},
		log:     hclog.New(&hclog.LoggerOptions{Output: &log}),
	}
	for _, name := range []string{"", "a\nb", "\x1b[2J", strings.Repeat("x", 30_000)} {
		for _, shown := range []ssh.PublicKey{key, newKey(t)} {
			_, _, err := s.admit(name, shown)
			var banner *ssh.BannerError
			require.ErrorAs(t, err, &banner)
			require.Equal(t, "the user's name is no instance's id\n", banner.Message)
		}
	}
	require.Empty(t, log.String())
	_, found, err := s.admit("i-1", key)
	require.NoError(t, err)
	require.Equal(t, "i-1", found.ID)
	_, _, err = s.admit("i-1", newKey(t))
	require.Error(t, err)
	require.Contains(t, log.String(), "i-1", "a key that is not let in is told of")
}
