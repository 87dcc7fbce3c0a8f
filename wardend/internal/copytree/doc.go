// Package copytree copies files and directories with the meaning that rsync gives to source and target, as the Warden
// protocol's copies have (the original ran `rsync -r -p --links`): a trailing slash on the source means its content;
// links are copied as links and permissions are kept; the last element of the target may be new, its parent not.
// Times, extended attributes and hard links are not kept, holes are. Devices, pipes, sockets and what the kernel makes
// up (/proc, /sys) are left out.
//
// One side may be a container's tree, whose own processes change it while it is copied, and mean no good. So:
//
//   - A path in the container is resolved by the kernel with the container's root as its root (openat2,
//     RESOLVE_IN_ROOT): absolute links and ".." stay within, magic links are refused.
//   - From there on each step is one name, relative to an open directory, and never follows a link. Names come from
//     the directory itself, so none has a slash or is "..". What was a directory and is a link now is an error.
//   - Owner and permissions are set on open files, not on names.
//   - A file's length is the one that it had when it was opened, a tree is at most maxDepth deep: neither a file that
//     grows for ever nor a tree without end keeps a copy or its memory growing.
//
// The host's side is trusted: its paths are followed as any program would.
//
// A copy that is cancelled, fails, or dies with its process leaves what it has copied so far; a file is either the old
// one or whole. What may be left beside it after a death are files named .copy-*.
package copytree
