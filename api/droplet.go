package api

// FetchDropletInput starts FetchDroplet.
type FetchDropletInput struct {
	// Node is where the droplet goes.
	Node string `json:"node"`
	// SHA1 is the droplet's digest, 40 hexadecimal digits.
	SHA1 string `json:"sha1"`
	// URI is where the droplet is. Basic auth may stand in it. Secret.
	URI string `json:"uri"`
}
