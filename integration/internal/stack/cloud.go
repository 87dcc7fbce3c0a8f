package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/durable-dea/dea/api"
)

// cloud is the address of something at the cloud controller, with basic auth.
func (s *Stack) cloud(query string, path ...string) (string, error) {
	u, err := url.Parse(s.Client.CloudController.Reveal())
	if err != nil {
		return "", errors.New("the cloud controller's address cannot be read") // it has a password
	}
	u = u.JoinPath(path...)
	u.RawQuery = query
	return u.String(), nil
}

// ask sends a request to the cloud controller and gives the body of an answer under 300.
func (s *Stack) ask(ctx context.Context, method, contentType string, body io.Reader, path ...string) ([]byte, error) {
	address, err := s.cloud("", path...)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, fmt.Errorf("ask the cloud controller: %w", err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the cloud controller: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err == nil && response.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s %v: %s: %s", method, path, response.Status, content)
	}
	return content, err
}

// Upload puts bytes at the cloud controller as an app's package, whatever they are.
func (s *Stack) Upload(ctx context.Context, app string, content []byte) error {
	return s.UploadFrom(ctx, app, bytes.NewReader(content))
}

// UploadFrom is Upload of what need not be in memory.
func (s *Stack) UploadFrom(ctx context.Context, app string, content io.Reader) error {
	return s.send(ctx, http.MethodPut, "application", content, "v2", "apps", app, "bits")
}

// send uploads content as the one file of a form.
func (s *Stack) send(ctx context.Context, method, field string, content io.Reader, path ...string) error {
	form, to := io.Pipe()
	writer := multipart.NewWriter(to)
	go func() {
		part, err := writer.CreateFormFile(field, "file")
		if err == nil {
			_, err = io.Copy(part, content)
		}
		to.CloseWithError(errors.Join(err, writer.Close()))
	}()
	_, err := s.ask(ctx, method, writer.FormDataContentType(), form, path...)
	return errors.Join(err, form.Close()) // an answer that came early leaves the writer with nobody to write to
}

// Forget takes an app, and all that is kept for it, from the cloud controller.
func (s *Stack) Forget(ctx context.Context, app string) error {
	_, err := s.ask(ctx, http.MethodDelete, "", nil, "v2", "apps", app)
	return err
}

// Callback is what the cloud controller was told at the end of a staging.
func (s *Stack) Callback(ctx context.Context, app, task string) (api.StagingResult, error) {
	var result api.StagingResult
	content, err := s.ask(ctx, http.MethodGet, "", nil, "internal", "dea", "staging", app, task)
	if err != nil {
		return result, err
	}
	if err := json.Unmarshal(content, &result); err != nil {
		return result, fmt.Errorf("read the callback: %w", err)
	}
	return result, nil
}

// StagingRequest asks to stage an app with what the cloud controller has of it, as a cloud controller would.
func (s *Stack) StagingRequest(ctx context.Context, app string) (api.StagingRequest, error) {
	name, err := s.StackName(ctx)
	if err != nil {
		return api.StagingRequest{}, err
	}
	return s.StagingRequestOn(ctx, app, name)
}

// StagingRequestOn is StagingRequest for a stack that is known. It asks no node, of which none may answer at the moment.
func (s *Stack) StagingRequestOn(ctx context.Context, app, stack string) (api.StagingRequest, error) {
	content, err := s.ask(ctx, http.MethodGet, "", nil, "v2", "buildpacks")
	if err != nil {
		return api.StagingRequest{}, err
	}
	request := api.StagingRequest{
		AppID:  app,
		TaskID: uuid.NewString(),
		Stack:  stack,
		Properties: api.StagingProperties{
			Resources: api.Limits{MemoryMB: 256, DiskMB: 512, FDs: 1024},
		},
		MemoryLimit: 256, DiskLimit: 512,
		AcceptsHTTP: true,
	}
	if err := json.Unmarshal(content, &request.AdminBuildpacks); err != nil {
		return api.StagingRequest{}, fmt.Errorf("read the list of buildpacks: %w", err)
	}
	for _, one := range []struct {
		to    *string
		query string
		path  []string
	}{
		{&request.DownloadURI, "", []string{"staging", "apps", app}},
		{&request.UploadURI, "async=true", []string{"staging", "droplets", app, "upload"}},
		{&request.BuildpackCacheDownloadURI, "", []string{"staging", "buildpack_cache", app, "download"}},
		{&request.BuildpackCacheUploadURI, "", []string{"staging", "buildpack_cache", app, "upload"}},
	} {
		if *one.to, err = s.cloud(one.query, one.path...); err != nil {
			return api.StagingRequest{}, err
		}
	}
	return request, nil
}

// AppSpec is an app of one instance that runs a droplet which the cloud controller has.
func (s *Stack) AppSpec(ctx context.Context, app, sha1 string) (api.AppSpec, error) {
	stack, err := s.StackName(ctx)
	if err != nil {
		return api.AppSpec{}, err
	}
	droplet, err := s.DropletURL(app, sha1)
	if err != nil {
		return api.AppSpec{}, err
	}
	return api.AppSpec{
		Instances: 1,
		Message: api.StartMessage{
			AppID: app, Version: uuid.NewString(), Name: app, URIs: []string{app + ".localhost"},
			SHA1: sha1, ExecutableURI: droplet, Stack: stack,
			Limits: api.Limits{MemoryMB: 64, DiskMB: 64, FDs: 1024},
		},
	}, nil
}

// DropletURL is where the cloud controller has a droplet.
func (s *Stack) DropletURL(app, sha1 string) (string, error) {
	return s.cloud("", "staging", "droplets", app, sha1, "download")
}

// StackName is the name of the one stack that the nodes offer.
func (s *Stack) StackName(ctx context.Context) (string, error) {
	nodes, err := s.Control.Nodes(ctx)
	if err != nil {
		return "", fmt.Errorf("list the nodes: %w", err)
	}
	for _, node := range nodes {
		for _, name := range node.Stacks {
			return name, nil
		}
	}
	return "", errors.New("no node offers a stack")
}

// InUse fails when anything of an app or a staging is left on a node: a container, a staging's workspace, or a
// reservation; it says what.
func (s *Stack) InUse(ctx context.Context) error {
	containers, err := s.Containers()
	left := []error{err, leftover("container", containers)}
	workspaces, err := s.inNodes("base", "staging", "*")
	left = append(left, err, leftover("workspace", workspaces))
	for _, node := range s.Nodes {
		left = append(left, s.reserved(ctx, node.ID))
	}
	for _, own := range s.own {
		left = append(left, s.reserved(ctx, own.ID))
	}
	return errors.Join(left...)
}

// leftover fails when there is anything, and says what.
func leftover(what string, found []string) error {
	var left []error
	for _, path := range found {
		left = append(left, fmt.Errorf("%s left: %s", what, path))
	}
	return errors.Join(left...)
}

// reserved fails when a node's ledger has a reservation.
func (s *Stack) reserved(ctx context.Context, node string) error {
	status, err := s.Control.Node(ctx, node)
	left := []error{err}
	for _, reservation := range status.Reservations {
		left = append(left, fmt.Errorf("reservation left at %s: %s", node, reservation.ID))
	}
	if status.Reserved != (api.Resources{}) {
		left = append(left, fmt.Errorf("resources left reserved at %s: %+v", node, status.Reserved))
	}
	return errors.Join(left...)
}

// UploadsByHalf fails when the cloud controller keeps anything of an upload that has not come to its end.
func (s *Stack) UploadsByHalf() error {
	uploads, err := filepath.Glob(filepath.Join(s.Data, "cc", "uploads", "*"))
	return errors.Join(err, leftover("upload", uploads))
}

// UploadCache puts bytes at the cloud controller as an app's buildpack cache, whatever they are.
func (s *Stack) UploadCache(ctx context.Context, app string, content []byte) error {
	return s.send(ctx, http.MethodPost, "upload[droplet]", bytes.NewReader(content), "staging", "buildpack_cache", app, "upload")
}
