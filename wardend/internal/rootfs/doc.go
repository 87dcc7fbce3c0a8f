// Package rootfs knows the root directories of containers: who their users are, whether a directory can be one, and
// how to make one.
//
// A rootfs is a list of plain directories, its layers, the uppermost first. [Users] and [Check] see them as the
// overlay of a container shows them, without mounting anything, and never follow a link out of them: a layer may be
// an application's, whose author chose what lies in it.
//
//	[Host]    makes a rootfs of this machine's own programs: fast, for development
//	[Debian]  makes one with debootstrap
//
// Both make it beside the directory that was asked for and move it there when it is whole:
//
//	DIR absent, empty or an earlier one of ours --> .DIR.wardend-new --(rename)--> DIR
//	                                                     |
//	                      killed: the next run for DIR clears it
package rootfs
