package activities

import (
	"context"
	"crypto/sha1" //nolint:gosec // the wire's digest of a droplet
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/fetch"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/internal/workspace"
)

// uploadField is the form's field for droplets and for caches alike.
const uploadField = "upload[droplet]"

// UploadParams says whose droplet is to be sent.
type UploadParams struct {
	Request api.StagingRequest `json:"request"`
}

// UploadResult says what was sent.
type UploadResult struct {
	// DropletSHA1 is the digest of the droplet that is in the node's cache and at the controller.
	DropletSHA1  string `json:"droplet_sha1"`
	DropletBytes int64  `json:"droplet_bytes"`
	// CacheBytes is 0 when no buildpack cache was sent.
	CacheBytes int64 `json:"cache_bytes,omitempty"`
}

// Upload sends the droplet of a finished build to the cloud controller and puts it into the node's cache without a copy;
// beside that it sends the buildpack cache, whose failure is only logged. What the build said of the droplet's SHA-1 is
// compared with the file: the build ran in a container of the user's.
//
// Run twice it sends all of it again. Cancelled, the controller drops what it got by half. It heartbeats, with
// how much has gone.
func (c *CloudController) Upload(ctx context.Context, params UploadParams) (UploadResult, error) {
	request := params.Request
	space := c.workspaces.Path(request.TaskID)
	all := &transfers{ctx: ctx}
	ofDroplet, ofCache := all.add(), all.add()
	cache := beside(ctx, func(ctx context.Context) int64 {
		defer ofCache.over()
		return c.cache(ctx, request, space, ofCache)
	})
	result, err := c.droplet(ctx, request, space, ofDroplet)
	ofDroplet.over()
	if err != nil {
		cache.end()
		return UploadResult{}, err
	}
	result.CacheBytes = cache.await()
	if err := ctx.Err(); err != nil {
		return UploadResult{}, err
	}
	c.log.Info("uploaded", "app", request.AppID, "task", request.TaskID,
		"droplet_bytes", result.DropletBytes, "cache_bytes", result.CacheBytes)
	return result, nil
}

func (c *CloudController) droplet(
	ctx context.Context, request api.StagingRequest, space workspace.Workspace, progress *transfer,
) (UploadResult, error) {
	promised, err := space.Result()
	if err != nil {
		return UploadResult{}, api.Final(api.ErrStager, "the build left no result", err)
	}
	file, err := space.OpenOut(runspec.FileDroplet)
	if err != nil {
		return UploadResult{}, api.Final(api.ErrStager, "the build left no droplet", err)
	}
	defer file.Close()
	target, err := withQuery(request.UploadURI, "async=true")
	if err != nil {
		return UploadResult{}, jobFault(err, "the droplet", request.UploadURI)
	}
	if info, err := file.Stat(); err != nil || info.Size() == 0 {
		return UploadResult{}, api.Final(api.ErrStager, "the build left an empty droplet", err)
	}
	result := UploadResult{}
	// Beside the upload, and not within it: a server may answer before it has read all.
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		var answer fetch.Answer
		answer, result.DropletBytes, err = c.send(groupCtx, target, file, runspec.FileDroplet, progress)
		if err == nil {
			err = c.finish(groupCtx, answer, target)
		}
		return jobFault(err, "the droplet", target)
	})
	group.Go(func() (err error) {
		result.DropletSHA1, err = digestOf(groupCtx, file)
		if err == nil && !strings.EqualFold(result.DropletSHA1, promised.DropletSHA1) {
			err = api.Final(api.ErrStager, "the droplet is not the one that the build made", nil)
		}
		return err
	})
	if err := group.Wait(); err != nil {
		return UploadResult{}, err
	}
	if err := c.droplets.Put(result.DropletSHA1, file); err != nil {
		return UploadResult{}, nodeFault("the droplet cannot be stored", err)
	}
	return result, nil
}

// cache gives the size of the cache that was sent, 0 for none.
func (c *CloudController) cache(
	ctx context.Context, request api.StagingRequest, space workspace.Workspace, progress *transfer,
) int64 {
	if request.BuildpackCacheUploadURI == "" {
		return 0
	}
	file, err := space.OpenOut(runspec.FileBuildpackCache)
	if err == nil {
		defer file.Close()
		var info fs.FileInfo
		if info, err = file.Stat(); err == nil && info.Size() == 0 {
			return 0
		}
	}
	var size int64
	if err == nil {
		var answer fetch.Answer
		// A bare 200 answers it: there is no job to wait for.
		answer, size, err = c.send(ctx, request.BuildpackCacheUploadURI, file, runspec.FileBuildpackCache, progress)
		if err == nil && answer.Status >= http.StatusMultipleChoices {
			err = &fetch.StatusError{Status: answer.Status, Host: fetch.Host(request.BuildpackCacheUploadURI)}
		}
	}
	if err != nil {
		c.log.Warn("buildpack cache not kept", "task", request.TaskID, "error", err)
		return 0
	}
	return size
}

// send uploads a file. It gives the controller's answer, whatever its status, and the file's size in bytes.
func (c *CloudController) send(
	ctx context.Context, target string, file *os.File, name string, progress *transfer,
) (answer fetch.Answer, size int64, err error) {
	info, err := file.Stat()
	if err != nil {
		return answer, 0, err
	}
	answer, err = c.http.Post(ctx, fetch.Upload{
		URL: target, Field: uploadField, FileName: name,
		Content: io.NewSectionReader(file, 0, info.Size()), Size: info.Size(),
		Progress: func(done int64) { progress.moved(done, info.Size()) },
	})
	return answer, info.Size(), err
}

// digestOf is the SHA-1 of an open file, in hex.
func digestOf(ctx context.Context, file *os.File) (string, error) {
	digest := sha1.New() //nolint:gosec // the wire's digest of a droplet
	const step = 4 << 20
	for at := int64(0); ; at += step {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := io.Copy(digest, io.NewSectionReader(file, at, step))
		if err != nil {
			return "", nodeFault("the droplet cannot be read", err)
		}
		if n < step {
			return hex.EncodeToString(digest.Sum(nil)), nil
		}
	}
}
