package cloudcontroller

// URLs are where an app's parts are, with basic auth in them: secret.
type URLs struct {
	// Package is the zip to stage.
	Package string
	// DropletUpload takes the droplet, asynchronously.
	DropletUpload string
	// CacheDownload and CacheUpload are the buildpack cache's; the download may answer 404.
	CacheDownload, CacheUpload string
}

// URLs names where an app's parts are.
func (c *Client) URLs(app string) URLs {
	return URLs{
		Package:       c.secret("", "staging", "apps", app),
		DropletUpload: c.secret("async=true", "staging", "droplets", app, "upload"),
		CacheDownload: c.secret("", "staging", "buildpack_cache", app, "download"),
		CacheUpload:   c.secret("", "staging", "buildpack_cache", app, "upload"),
	}
}

// DropletURL is where a staged droplet is, with basic auth in it: secret.
func (c *Client) DropletURL(app, sha1 string) string {
	return c.secret("", "staging", "droplets", app, sha1, "download")
}

func (c *Client) secret(query string, path ...string) string {
	u := c.base.JoinPath(path...)
	u.User, u.RawQuery = c.user, query
	return u.String()
}
