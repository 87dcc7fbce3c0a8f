package push

import (
	"cmp"
	"strings"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/starter/internal/cloudcontroller"
)

// stagingRequest is the cloud controller's message for a push.
func stagingRequest(
	o Options, task string, urls cloudcontroller.URLs, buildpacks []cloudcontroller.Buildpack,
) (api.StagingRequest, error) {
	properties := api.StagingProperties{
		Services:    o.services(),
		Resources:   o.limits(),
		Environment: o.Env,
		Meta:        api.StagingMeta{Command: o.command()},
	}
	if err := choose(&properties, o.buildpacks(), buildpacks); err != nil {
		return api.StagingRequest{}, err
	}
	admin := make([]api.AdminBuildpack, 0, len(buildpacks))
	for _, b := range buildpacks {
		admin = append(admin, b.AdminBuildpack)
	}
	return api.StagingRequest{
		AppID:                     o.Name,
		TaskID:                    task,
		Stack:                     o.Stack,
		Properties:                properties,
		DownloadURI:               urls.Package,
		UploadURI:                 urls.DropletUpload,
		BuildpackCacheDownloadURI: urls.CacheDownload,
		BuildpackCacheUploadURI:   urls.CacheUpload,
		AdminBuildpacks:           admin,
		MemoryLimit:               int64(o.Memory),
		DiskLimit:                 int64(o.Disk),
		AcceptsHTTP:               true,
	}, nil
}

// choose sets which buildpacks are used: none is detection, one is asked for in the way that every controller knows, several
// in their order.
func choose(properties *api.StagingProperties, wanted []string, buildpacks []cloudcontroller.Buildpack) error {
	if len(wanted) == 0 && len(buildpacks) == 0 {
		return usagef("the cloud controller has no buildpack: an operator has to add one")
	}
	chosen := make([]string, 0, len(wanted))
	for _, one := range wanted {
		if !api.IsGitSource(one) {
			key, err := keyOf(one, buildpacks)
			if err != nil {
				return err
			}
			one = key
		}
		chosen = append(chosen, one)
	}
	switch {
	case len(chosen) > 1:
		properties.Buildpacks = chosen
	case len(chosen) == 1 && api.IsGitSource(wanted[0]):
		properties.Buildpack = chosen[0]
	case len(chosen) == 1:
		properties.BuildpackKey = chosen[0]
	}
	return nil
}

// keyOf finds a buildpack by its name or its key. The first of a name wins, as it does in detection.
func keyOf(wanted string, buildpacks []cloudcontroller.Buildpack) (string, error) {
	names := make([]string, 0, len(buildpacks))
	for _, b := range buildpacks {
		if b.Key == wanted || b.Name == wanted {
			return b.Key, nil
		}
		names = append(names, cmp.Or(b.Name, b.Key))
	}
	if len(names) == 0 {
		return "", usagef("there is no buildpack %q: the cloud controller has none", wanted)
	}
	return "", usagef("there is no buildpack %q: there are %s", wanted, strings.Join(names, ", "))
}

// appSpec says what the app is to be, once it is staged. droplet is the URL of the droplet.
func appSpec(o Options, version, sha1, droplet string) api.AppSpec {
	routes := o.routes()
	return api.AppSpec{
		Instances: o.Instances,
		Message: api.StartMessage{
			AppID:              o.Name,
			Version:            version,
			Name:               o.Name,
			URIs:               routes,
			SHA1:               sha1,
			ExecutableURI:      droplet,
			Stack:              o.Stack,
			Limits:             o.limits(),
			Env:                o.Env,
			Services:           o.services(),
			StartCommand:       o.command(),
			HealthCheckTimeout: int(o.HealthCheckTimeout.Seconds()),
			VCAPApplication: map[string]any{
				"application_id":      o.Name,
				"application_name":    o.Name,
				"application_uris":    append([]string{}, routes...),
				"application_version": version,
				"name":                o.Name,
				"uris":                append([]string{}, routes...),
				"version":             version,
				"limits":              map[string]any{"mem": int64(o.Memory), "disk": int64(o.Disk), "fds": fileDescriptors},
			},
		},
	}
}
