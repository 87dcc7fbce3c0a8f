package execserver

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

func newKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	key, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	return key
}

func TestWhatAKeyIsGranted(t *testing.T) {
	key, other, now := newKey(t), newKey(t), time.Date(2026, 5, 2, 12, 30, 0, 0, time.UTC)
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	file := filepath.Join(t.TempDir(), "keys")
	for _, test := range []struct {
		text     string
		err      string
		apps     []string
		terminal bool
	}{
		{text: line + " alice", terminal: true},
		{text: "# of old\n\nssh-dss AAAA broken\n" + line + " alice\n", terminal: true},
		{text: `apps="a, b" ` + line + " alice", apps: []string{"a", "b"}, terminal: true},
		{text: `apps="" ` + line + " alice", apps: []string{}, terminal: true},
		{text: "apps " + line + " alice", apps: []string{}, terminal: true},
		{text: "no-pty,no-port-forwarding,no-X11-forwarding " + line + " alice"},
		{text: "restrict " + line + " alice"},
		{text: "restrict,pty " + line + " alice", terminal: true},
		{text: `expiry-time="20260503" ` + line + " alice", terminal: true},
		{text: `expiry-time="202605021231Z" ` + line + " alice", terminal: true},
		{text: `expiry-time="202605021230" ` + line + " alice", err: "expired"},
		{text: `expiry-time="20260502" ` + line + " alice", err: "expired"},
		{text: `expiry-time="soon" ` + line + " alice", err: "cannot be read"},
		{text: `command="true" ` + line + " alice", err: "option command"},
		{text: `from="10.0.0.0/8" ` + line + "\n" + line + " alice", err: "option from"}, // the first line counts
		{text: string(ssh.MarshalAuthorizedKey(other)), err: "not in the file"},
		{text: "", err: "not in the file"},
	} {
		require.NoError(t, os.WriteFile(file, []byte(test.text), 0o600))
		g, err := lookUp(file, key, now)
		if test.err != "" {
			require.ErrorContains(t, err, test.err, test.text)
			continue
		}
		require.NoError(t, err, test.text)
		require.Equal(t, grant{
			fingerprint: ssh.FingerprintSHA256(key), comment: "alice", apps: test.apps, noTerminal: !test.terminal,
		}, g, test.text)
		for _, app := range []string{"a", "b", "c", ""} {
			require.Equal(t, test.apps == nil || strings.Contains(strings.Join(test.apps, ","), app) && app != "", g.allows(app), test.text)
		}
	}
	_, err := lookUp(file+"-not-there", key, now)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestAFileThatOthersMayWriteLetsNobodyIn: they would let themselves in.
func TestAFileThatOthersMayWriteLetsNobodyIn(t *testing.T) {
	key, file := newKey(t), filepath.Join(t.TempDir(), "keys")
	text := ssh.MarshalAuthorizedKey(key)
	require.NoError(t, os.WriteFile(file, text, 0o600))
	for mode, words := range map[os.FileMode]string{
		0o600: "", 0o444: "", 0o644: "", 0o620: "chmod go-w", 0o664: "chmod go-w", 0o602: "chmod go-w", 0o666: "chmod go-w",
	} {
		require.NoError(t, os.Chmod(file, mode))
		_, err := lookUp(file, key, time.Now())
		if words == "" {
			require.NoError(t, err, mode)
			continue
		}
		require.ErrorIs(t, err, errKeysFile, mode)
		require.ErrorContains(t, err, words)
		require.ErrorContains(t, err, file)
	}
	require.NoError(t, os.Chmod(file, 0o600))
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(file, 65534, 65534))
		_, err := lookUp(file, key, time.Now())
		require.ErrorIs(t, err, errKeysFile)
		require.ErrorContains(t, err, "another user")
	}
	require.NoError(t, os.Remove(file))
	require.NoError(t, unix.Mkfifo(file, 0o600))
	_, err := lookUp(file, key, time.Now())
	require.ErrorContains(t, err, "no regular file")
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.WriteFile(file, make([]byte, maxKeysFile+1), 0o600))
	_, err = lookUp(file, key, time.Now())
	require.ErrorContains(t, err, "larger than")
}

func TestTheNodesKeyIsMadeOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	first, err := hostKey(file)
	require.NoError(t, err)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	second, err := hostKey(file)
	require.NoError(t, err)
	require.Equal(t, first.PublicKey().Marshal(), second.PublicKey().Marshal())
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	_, err = hostKey(file)
	require.ErrorContains(t, err, file)
	entries, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}
