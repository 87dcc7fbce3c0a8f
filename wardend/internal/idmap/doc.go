// Package idmap knows which user and group ids of the machine are those of a
// container, and makes the user namespaces that idmapped mounts need.
//
// Each container has a [Range] of its own, so that the root of one container
// is neither the machine's root nor the root of another. Files that are shared
// read-only by many containers belong to the machine's ids on the disk; an
// idmapped mount shows them as the container's, which takes a user namespace
// with the range as its mapping (see [UserNamespace]). Nobody lives in that namespace:
// it exists as an open file only and is gone with it.
package idmap
