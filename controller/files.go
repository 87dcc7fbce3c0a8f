package controller

import (
	"context"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/directory"
)

// FileKind says whose directory on a node is meant.
type FileKind string

// The kinds of directories.
const (
	// InstanceFiles are an instance's home directory: app/, logs/, tmp/. The id is the instance's.
	InstanceFiles = FileKind(directory.Instance)
	// StagingFiles are what a staging gives out. The id is the task's.
	StagingFiles = FileKind(directory.Staging)
)

// Names of files that every directory of its kind has.
const (
	// StagingLog is a staging's log, written while it runs and kept on the node for a while afterwards.
	StagingLog = "staging.log"
	// DropletLog is, in an instance, the log of the staging that made its droplet.
	DropletLog = "logs/staging_task.log"
	// StdoutLog and StderrLog are what an instance wrote.
	StdoutLog = "logs/stdout.log"
	StderrLog = "logs/stderr.log"
)

// FileURL is a URL of a file on a node, "" where the node's own URL (base) is not known yet. It is signed, so it is
// secret for the hour that it can be used. With tail the answer goes on with what is appended until the directory is no more.
func (c *Client) FileURL(kind FileKind, id, base, path string, tail bool) string {
	keys := c.keys.Derive(directory.KeyPurpose)
	if base == "" || len(keys) == 0 {
		return ""
	}
	return directory.SignedURL(base, keys[0], directory.Kind(kind), id, path, c.now(), tail)
}

// CurrentFilesURL is the base URL at which a node serves its files now: a worker that was started again may serve them
// elsewhere than the status of an instance or a staging says, which is known. A node that cannot be asked gives known.
func (c *Client) CurrentFilesURL(ctx context.Context, node, known string) string {
	if node == "" {
		return known
	}
	limited, cancel := context.WithTimeout(ctx, detailTimeout)
	defer cancel()
	status, err := c.Node(limited, node)
	if err != nil || status.FilesURL == "" {
		return known
	}
	return status.FilesURL
}

// LogURL follows the staging's log from its beginning; "" until the staging has its place. It is secret for the
// hour that it can be used.
func (s *Staging) LogURL(status api.StagingStatus) string {
	return s.client.FileURL(StagingFiles, s.TaskID, status.FilesURL, StagingLog, true)
}
