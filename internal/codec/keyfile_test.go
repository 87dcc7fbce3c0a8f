package codec

import (
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestKeyFilesThatAreRefused(t *testing.T) {
	good := keyLine(t, "a")
	short := base64.StdEncoding.EncodeToString(make([]byte, 16))
	for name, c := range map[string]struct {
		text  string
		mode  os.FileMode
		words string
	}{
		"group may read":   {good, 0o640, "chmod 600"},
		"others may read":  {good, 0o604, "chmod 600"},
		"others may write": {good, 0o602, "chmod 600"},
		"empty":            {"", 0o600, "it holds no key"},
		"comments only":    {"# a\n\n  # b\n", 0o600, "it holds no key"},
		"one word":         {good + "\nalone\n", 0o600, "line 2: expected an id and a key, found 1 words"},
		"three words":      {"# x\n" + good + " more", 0o600, "line 2: expected an id and a key, found 3 words"},
		"short key":        {"a " + short, 0o600, "line 1: the key must be the base64 of 32 bytes"},
		"no base64":        {"a " + strings.Repeat("*", 44), 0o600, "line 1: the key must be the base64"},
		"bad id":           {"a/b " + strings.Fields(good)[1], 0o600, "line 1: the id must be"},
		"long id":          {strings.Repeat("a", 65) + " " + strings.Fields(good)[1], 0o600, "line 1: the id must be"},
		"twice":            {good + "\n" + keyLine(t, "a"), 0o600, "line 2: the id a stands in line 1 already"},
		"huge":             {good + strings.Repeat("\n", maxKeyFile), 0o600, "is over"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "keys")
			require.NoError(t, os.WriteFile(file, []byte(c.text), 0o600))
			require.NoError(t, os.Chmod(file, c.mode))
			_, err := LoadKeyring(file)
			require.ErrorIs(t, err, ErrKeyFile)
			assert.Contains(t, err.Error(), c.words)
			assert.Contains(t, err.Error(), file)
			assert.NotContains(t, err.Error(), strings.Fields(good)[1], "no key in an error")
			_, err = CreateKeyFile(file)
			require.ErrorIs(t, err, ErrKeyFile, "a bad file is not replaced")
		})
	}
}

func TestWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	_, err := LoadKeyring(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = LoadKeyring(dir)
	require.ErrorIs(t, err, ErrKeyFile)
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	_, err = LoadKeyring(fifo)
	require.ErrorIs(t, err, ErrKeyFile)
	_, err = CreateKeyFile(filepath.Join(dir, "none", "keys"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestKeyFileIsCreatedOnce(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "keys")
	rings := make([]*Keyring, 16)
	var all sync.WaitGroup
	for i := range rings {
		all.Go(func() {
			var err error
			rings[i], err = CreateKeyFile(file)
			assert.NoError(t, err)
		})
	}
	all.Wait()
	for _, ring := range rings {
		require.NotNil(t, ring)
		assert.Equal(t, rings[0].keys, ring.keys, "all have the one key")
	}
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, left, 1, "no temporary file stays")

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	again, err := CreateKeyFile(file)
	require.NoError(t, err)
	assert.Equal(t, rings[0].keys, again.keys)
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, text, after)
	another, err := CreateKeyFile(filepath.Join(dir, "other"))
	require.NoError(t, err)
	assert.NotEqual(t, another.keys, again.keys)
}
