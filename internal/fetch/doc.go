// Package fetch moves files between the node and HTTP servers: downloads into a file, resumed by range, and uploads
// of a file as a multipart form. Nothing is ever whole in memory.
//
// A transfer has no limit on its whole duration, since nobody knows how large a droplet is; it ends with ErrStalled
// when nothing has moved for a while.
//
// Basic auth may stand in a URL, and a query may be a signature. Neither is in any error of this package; who logs a
// URL sends it through Redact first.
package fetch
