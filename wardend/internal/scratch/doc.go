// Package scratch is where containers write: a directory for each, with a hard limit on the bytes in it that can be
// raised and lowered at any time.
//
//	(nothing) --Make--> writable <--Limit, Usage, Open--> writable --Remove--> (nothing)
//
// What can limit a directory depends on the machine. From the best to the worst:
//
//	project quota  an ext4 or xfs that was mounted with prjquota: bytes and inodes, no cost, no other file system. On ext4
//	               they do not hold for who has CAP_SYS_RESOURCE on the host; what goes through an overlay has not
//	btrfs          a subvolume for each container. Either the file system that the store lies on, or one sparse image
//	               that is made, and mounted by a loop device; bytes only
//	image          a sparse ext4 image for each container, mounted by a loop device each; bytes only
//
// Beneath the store's directory lie, of the kind that it is,
//
//	quota/<id>/          a container's directory, with a project id of its own
//	btrfs.img            the file system, where the store's own is no btrfs
//	btrfs/<id>/          a container's subvolume
//	template.img         an empty ext4
//	images/<id>/image    a container's file system
//	images/<id>/root/    and where it is mounted
//
// so that the next server on the depot knows which kind its containers are of, and keeps to it while there are any.
// Closing an empty store leaves nothing.
//
// Loop devices are freed by the kernel with the last mount (autoclear), whoever ends it, so that no death of the server
// leaves one behind. All images are sparse and mounted with discard: they cost the host what is used in them now. Their
// sum can be promised more than the host's file system has: who places containers must count.
package scratch
