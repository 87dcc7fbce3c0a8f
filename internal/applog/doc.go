// Package applog reads what an instance wrote to its standard output and standard error, line by line and in the order of
// time, from the files in its home directory or in what is kept of it after a crash.
//
//	logs/stdout.log.1  logs/stdout.log  ---+
//	                                        >-- Reader -- Record, Record, ...   Position: where to go on
//	logs/stderr.log.1  logs/stderr.log  ---+
//
// A line's time is when the launcher read its end from the app, as the file beside the log says (package logtimes);
// without that file it is when the log was written to last. Each stream's lines come in the order of its file, whatever
// their times are; the two streams are merged by time. A line that is longer than MaxLine comes in parts; one that has no
// end yet waits for it, or for the end of the log.
//
// A Reader follows its files through rotation and truncation. When it, or whoever goes on from its Position, comes back
// after more was written than is kept, the next Record says how much is missing. A Position holds from one process to the
// next, and from the home directory to the copy that is kept of a crash.
//
// An app can write to all of this. It can have its own log read wrongly, again, or not at all; it cannot have anything
// outside of its directory read, nor keep a reader waiting or have it use much: a Read looks at a few files, at no more
// than MaxRead bytes and a line, and keeps nothing but what it returns. Whoever reads many bounds how often.
//
// A Reader needs no goroutine. Changed tells for the price of a few fstats whether a Read may find anything.
package applog
