package directory

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// Lifetime is how long a signed URL can be used to begin a request; a request that has begun may last longer.
	Lifetime = time.Hour
	// maxAhead is how far the signer's clock may be ahead of the node's.
	maxAhead = 5 * time.Minute
)

// Kind says whose directory is meant.
type Kind string

// The kinds of directories.
const (
	// Instance is an app's instance; its id is the instance's.
	Instance Kind = "instance_paths"
	// Staging is a staging; its id is the task's.
	Staging Kind = "staging_tasks"
)

// Parameters of a URL.
const (
	paramPath       = "path"
	paramTimestamp  = "timestamp"
	paramHMAC       = "hmac"
	paramTail       = "tail"
	paramTailOffset = "tail_offset"
	paramTailFile   = "tail_file"
	paramFormat     = "format"
)

// Reasons to refuse a URL.
var (
	errBadHMAC = errors.New("the URL's hmac is wrong")
	errExpired = errors.New("the URL has expired")
)

// SignedURL makes a URL for reading path (slash-separated, relative to the directory of the instance or task; ""
// for the directory itself) from the directory server at base, such as "http://10.0.0.7:34567". It can be used for
// Lifetime from at on. With tail the file is sent from its beginning and followed; a client that was cut off sets
// tail_offset to the number of bytes it has.
func SignedURL(base string, key []byte, kind Kind, id, path string, at time.Time, tail bool) string {
	query := signedQuery(key, kind, id, path, strconv.FormatInt(at.Unix(), 10))
	if tail {
		query.Set(paramTail, "")
		query.Set(paramTailOffset, "0")
	}
	return strings.TrimRight(base, "/") + urlPath(kind, id) + "?" + query.Encode()
}

// signedQuery is a URL's query: its path, its time and the signature of both.
func signedQuery(key []byte, kind Kind, id, path, timestamp string) url.Values {
	return url.Values{
		paramPath:      {path},
		paramTimestamp: {timestamp},
		paramHMAC:      {hex.EncodeToString(sum(key, kind, id, path, timestamp))},
	}
}

func urlPath(kind Kind, id string) string {
	if kind == nodeStats {
		return "/" + string(kind)
	}
	p := "/" + string(kind) + "/" + url.PathEscape(id)
	if kind == Staging {
		p += "/file_path"
	}
	return p
}

func sum(key []byte, kind Kind, id, path, timestamp string) []byte {
	signed := url.Values{paramPath: {path}, paramTimestamp: {timestamp}}
	mac := hmac.New(sha512.New, key)
	// Encode sorts by name and escapes, so that no two sets of values give one text.
	mac.Write([]byte(urlPath(kind, id) + "?" + signed.Encode()))
	return mac.Sum(nil)
}

// verify says whether a URL was signed with one of the keys and can still be used: nil, errBadHMAC or errExpired.
func verify(keys [][]byte, kind Kind, id string, query url.Values, now time.Time) error {
	got, err := hex.DecodeString(query.Get(paramHMAC))
	if err != nil {
		return errBadHMAC
	}
	known := false
	for _, key := range keys {
		want := sum(key, kind, id, query.Get(paramPath), query.Get(paramTimestamp))
		known = hmac.Equal(got, want) || known
	}
	if !known {
		return errBadHMAC
	}
	seconds, err := strconv.ParseInt(query.Get(paramTimestamp), 10, 64)
	if err != nil {
		return errExpired
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > Lifetime || age < -maxAhead {
		return errExpired
	}
	return nil
}
