package tail_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/starter/internal/tail"
)

// open opens a path of the node's directory.
func (n *node) open(t *testing.T, path, byteRange string) (*tail.Content, error) {
	t.Helper()
	c := tail.New()
	t.Cleanup(c.Close)
	content, err := c.Open(context.Background(), func() string { return n.sign(path, false) }, byteRange)
	if err == nil {
		t.Cleanup(content.Close)
	}
	return content, err
}

// read is a file's content.
func (n *node) read(t *testing.T, path, byteRange string) string {
	t.Helper()
	content, err := n.open(t, path, byteRange)
	require.NoError(t, err)
	require.Nil(t, content.Listing)
	var out bytes.Buffer
	require.NoError(t, content.CopyTo(context.Background(), &out))
	return out.String()
}

func TestADirectoryIsListed(t *testing.T) {
	n := newNode(t)
	n.append(t, "x")
	require.NoError(t, os.Mkdir(filepath.Join(n.dir, "sub"), 0o755))
	content, err := n.open(t, "", "")
	require.NoError(t, err)
	require.Len(t, content.Listing.Entries, 2)
	require.Equal(t, api.FileTypeFile, content.Listing.Entries[0].Type)
	require.Equal(t, "sub", content.Listing.Entries[1].Name)
}

// TestAFileThatLooksLikeAListingIsAFile: the server labels no file so.
func TestAFileThatLooksLikeAListingIsAFile(t *testing.T) {
	n := newNode(t)
	const text = `{"path":"","entries":[]}`
	n.append(t, text)
	require.JSONEq(t, text, n.read(t, "log", ""))
}

func TestPartsOfAFile(t *testing.T) {
	n := newNode(t)
	n.append(t, "0123456789")
	for byteRange, want := range map[string]string{"": "0123456789", "0-3": "0123", "8-": "89", "-3": "789", "-100": "0123456789"} {
		require.Equal(t, want, n.read(t, "log", byteRange), byteRange)
	}
	_, err := n.open(t, "log", "10-")
	require.ErrorIs(t, err, tail.ErrNoSuchBytes)
}

func TestTextIsToldFromOtherContent(t *testing.T) {
	n := newNode(t)
	n.append(t, "\x1b[31mtext\n")
	require.NoError(t, os.WriteFile(filepath.Join(n.dir, "binary"), []byte("\x7fELF\x00\x01\x02"), 0o600))
	for path, text := range map[string]bool{"log": true, "binary": false} {
		content, err := n.open(t, path, "")
		require.NoError(t, err)
		require.Equal(t, text, content.Text, path)
	}
}

// TestAFileIsWholeThoughConnectionsBreak, each byte of it once.
func TestAFileIsWholeThoughConnectionsBreak(t *testing.T) {
	n := newNode(t)
	whole := make([]byte, 1<<20)
	_, err := rand.Read(whole)
	require.NoError(t, err)
	n.append(t, string(whole))
	n.broken.Store(4) // each after ten bytes
	require.Equal(t, string(whole), n.read(t, "log", ""))
	n.broken.Store(3)
	require.Equal(t, string(whole[5:500_001]), n.read(t, "log", "5-500000"))
	n.broken.Store(3)
	require.Equal(t, string(whole[len(whole)-1000:]), n.read(t, "log", "-1000"))
}

// changing appends to a file when the first of it is written.
type changing struct{ change func() }

func (c changing) Write(p []byte) (int, error) {
	c.change()
	return len(p), nil
}

func TestAFileThatChangesIsNotPatchedTogether(t *testing.T) {
	n := newNode(t)
	n.append(t, "0123456789 and more")
	n.broken.Store(1)
	content, err := n.open(t, "log", "")
	require.NoError(t, err)
	err = content.CopyTo(context.Background(), changing{func() { n.append(t, "x") }})
	require.ErrorIs(t, err, tail.ErrChanged)
}

func TestANodeThatIsAwayEndsACopy(t *testing.T) {
	n := newNode(t)
	n.append(t, "0123456789 and more than ten bytes in all")
	n.broken.Store(1000)
	content, err := n.open(t, "log", "0-5")
	require.NoError(t, err)
	require.NoError(t, content.CopyTo(context.Background(), &bytes.Buffer{}))
	n.broken.Store(1)
	content, err = n.open(t, "log", "")
	require.NoError(t, err)
	n.url = "http://127.0.0.1:1"
	require.ErrorIs(t, content.CopyTo(context.Background(), &bytes.Buffer{}), tail.ErrUnreachable)
}

// full is a disk that is.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

func TestWhatCannotBeWrittenIsNotReadAgain(t *testing.T) {
	n := newNode(t)
	n.append(t, "x")
	content, err := n.open(t, "log", "")
	require.NoError(t, err)
	require.ErrorContains(t, content.CopyTo(context.Background(), full{}), "the disk is full")
	_, err = n.open(t, "missing", "")
	require.ErrorIs(t, err, tail.ErrNotThere)
	require.NotErrorIs(t, err, tail.ErrNotYet)
}

func TestADirectoryHasNoLines(t *testing.T) {
	n := newNode(t)
	c := tail.New()
	defer c.Close()
	_, err := c.Last(context.Background(), n.sign("", false), 3)
	require.ErrorIs(t, err, tail.ErrDirectory)
}
