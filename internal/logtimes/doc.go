// Package logtimes is the form of the small files that say when the bytes of an app's log came. The launcher in the
// container writes one beside each log, whose own bytes stay as the app wrote them:
//
//	logs/stdout.log     logs/.stdout.times        header | entry | entry | ...
//	logs/stdout.log.1   logs/.stdout.times.1
//
// An entry says that the bytes from its offset on came at its time. It is written before them, so whoever sees a byte
// sees its time. The header says which file the times are of, by inode, since the two are moved aside one after the
// other; and how many bytes of the stream came before that file, so that a place in the stream has one number for ever,
// through rotation, truncation and the copy that is kept of a crash.
//
// The app can write to all of it. So what is read here may be torn, of any size, in no order and of no sense: an Index
// gives some time or none, and does so in bounded time and memory.
package logtimes
