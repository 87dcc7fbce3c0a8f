package nodeid_test

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/nodeid"
)

func TestReadTellsWhatTakeMade(t *testing.T) {
	dir := t.TempDir()
	_, err := nodeid.Read(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	id, err := nodeid.Take(dir, 3)
	require.NoError(t, err)
	defer func() { require.NoError(t, id.Release()) }()
	read, err := nodeid.Read(dir)
	require.NoError(t, err)
	require.Equal(t, id.String(), read)
}
