// Package directory is a node's directory server: it shows what is in an instance's or a staging's directory to
// whoever holds a signed URL, and to nobody else.
//
//	GET /instance_paths/{instance id}?path&timestamp&hmac
//	GET /staging_tasks/{task id}/file_path?path&timestamp&hmac
//	GET /stats?path&timestamp&hmac
//	GET /stats/instances/{instance id}?path&timestamp&hmac
//
// The last two answer with what the node and an instance use, as JSON; their path is empty.
//
// A directory is answered with a listing, a file with its content, whole or in ranges. With tail in the query a
// file is followed: what it holds is sent from tail_offset on, then what is appended, through truncation and
// rotation, until the client goes or the instance's or staging's directory is no more; of one that is over and only kept,
// until the file's end. Without tail_offset only
// what is appended from now on is sent; a negative tail_offset counts from the file's end.
//
// The HMAC is SHA-512's, in hex, over the URL's path and the sorted parameters path and timestamp (seconds of Unix
// time). tail and tail_offset are ways to read and not signed: who may read a file may follow it. Answers that are
// no success, each with a sentence as plain text:
//
//	400  the URL is older than Lifetime, or its timestamp lies ahead; tail of what is no file
//	401  the HMAC is missing or is not that of any key
//	403  the path leads outside, or to what is neither a file nor a directory, or may not be read
//	404  the resolver does not know the instance or task, or there is no such path in its directory
//	503  the resolver says that the directory is not there yet
//
// # No way out
//
// Paths are opened through an os.Root: neither "..", nor a link, nor a directory that is swapped for a link while it
// is being opened leads out of it, and a sibling whose name begins alike is as far outside as any other place. A
// link with an absolute target means a place in the container, not on the node, and is refused. What was opened is
// looked at before it is read: only files and directories of real file systems are, so that no fifo blocks a
// request, no device is read and nothing of the kernel's (proc, sysfs) is shown.
package directory
