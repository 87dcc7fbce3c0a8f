// Package directory is a node's directory server: it shows what is in an instance's or a staging's directory to
// whoever holds a signed URL, and to nobody else.
//
//	GET /instance_paths/{instance id}?path&timestamp&hmac
//	GET /staging_tasks/{task id}/file_path?path&timestamp&hmac
//	GET /instance_logs/{instance id}?path&timestamp&hmac[&lines][&since][&from][&follow]
//	GET /stats?path&timestamp&hmac
//	GET /stats/instances/{instance id}?path&timestamp&hmac
//
// The last two answer with what the node and an instance use, as JSON; their path is empty. So is that of an instance's
// logs, which are answered as package applog has them on the wire: the last lines, 100 or as many as lines says, of those
// since a time (RFC 3339); or what comes behind the position from. With follow the answer goes on with what the instance
// says, until its directory is no more; of a crashed one it ends with what is kept. After what was there at first, and
// after each batch of what follows, comes the position behind it.
//
// The HMAC is SHA-512's, in hex, over the URL's path and the sorted parameters path and timestamp (seconds of Unix
// time). tail, tail_offset, tail_file and format are ways to read and not signed: who may read a file may follow it. Answers that are
// no success, each with a sentence as plain text:
//
//	400  the URL is older than Lifetime, or its timestamp lies ahead; tail of what is no file; no such format; odd parameters
//	401  the HMAC is missing or is not that of any key
//	403  the path leads outside, or to what is neither a file nor a directory, or may not be read
//	404  the resolver does not know the instance or task, or there is no such path in its directory
//	416  no range that was asked for is in the file, or more than 16 were asked for
//	503  the resolver says that the directory is not there yet; with Retry-After, the server has as many readers as it
//	     can serve
//
// # Files
//
// A file is answered with its content, labelled as text or as bytes and never as what a browser runs or as JSON. Ranges,
// several of them, too, HEAD, and conditional requests by ETag and Last-Modified are answered as RFC 9110 has them. Of ranges
// that are more bytes than the file has, the file is sent as a whole.
//
// With tail in the query a file is followed: what it holds is sent from tail_offset on, then what is appended, through
// truncation and rotation, until the client goes or the instance's or staging's directory is no more; of one that is over
// and only kept, until the file's end. Without tail_offset only what is appended from now on is sent; a negative tail_offset
// counts from the file's end. A file was truncated when it is shorter than what was sent of it; one that has grown beyond
// that again within a quarter of a second looks as one that was appended to.
//
// An answer that breaks off instead of ending, as when the server ends, can be gone on with by another request from the byte that
// is missing. As an answer may be of several files, one after the other, who wants to do so asks with tail_file, empty at
// first: such an answer is of one file. It says in X-Tail-File which that is and in X-Tail-Offset where it begins; when the file is
// truncated, or another has its name, it ends, with the trailer X-Tail-Next. With tail_file as it was said the next request goes on
// in that file, or begins where another begins that has the name by then.
//
// # Listings
//
// A directory is answered with its entries, as many as 10,000, in the format that format in the query says (text, json or
// html), else in the one that the Accept header likes best of text/plain, application/json and text/html, else as text.
// Entries are looked at and not followed.
//
//	text  a line for each entry: name, a slash after a directory's, and a file's size in bytes, "-" for all else
//	json  an api.FileListing: {"path", "entries": [{"name", "type", "size", "mode", "modified"}], "truncated"}, where type
//	      is file, directory, link or other, mode is in octal and modified in RFC 3339. Only listings are application/json
//	html  a page without a script, which its Content-Security-Policy would not let run
//
// The page links to the files and directories that it lists, by URLs that the server signs with the request's own
// timestamp: whoever holds the URL of a directory may read what is beneath it, for as long as that URL lasts and no longer.
// That is what a listing is asked for, and gives nobody more than he may have: who signs decides by the app, signs any
// of its paths for whom he signs one, and each link is checked as any other path when it is used. A page
// links neither upwards nor to what is a link itself, which may lead out of the directory that was signed; who is to read
// one file alone is given the file's URL.
//
// # Readers
//
// Each reader has its own goroutine and its own open files, and waits for nobody. A tail that has nothing to send holds
// no buffer. One that takes longer than a minute for a piece of 32 KB is given up. At most 1,024 tails are under way, or as
// many as fit in half of the files that the process may open, and 256 other answers; half of each for one directory, so
// that a URL, in however many hands, keeps nobody from another instance.
//
// # No way out
//
// Paths are opened through an os.Root: neither "..", nor a link, nor a directory that is swapped for a link while it
// is being opened leads out of it, and a sibling whose name begins alike is as far outside as any other place. A
// link with an absolute target means a place in the container, not on the node, and is refused. What was opened is
// looked at before it is read: only files and directories of real file systems are, so that no fifo blocks a
// request, no device is read and nothing of the kernel's (proc, sysfs) is shown, wherever it is mounted. What else is mounted
// in the directory, so that the node sees it, was put there by the node, and is the instance's to read.
//
// A hard link cannot be told from a file, and is one: an app can only link to what lies on its own file system and what its
// container lets it see, which Warden sees to, and of that, as long as the kernel's fs.protected_hardlinks is on, to what
// its user may write.
package directory
