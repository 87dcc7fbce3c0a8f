// Package tail reads files of nodes by the signed URLs of their directory servers: the end of one, or one as it is
// written. It hands on whole lines, and no error of it shows a URL, since whoever has one can read the file.
package tail
