// Package buildpackstore keeps the operator's buildpacks on a node, each fetched and unpacked once:
// <base>/admin_buildpacks/<key>/. A key names one version of a buildpack for ever.
//
// A buildpack appears by a rename, whole, so that what is there can be used. While it comes it is <key>.part (the zip)
// and <key>.new (the directory) in <base>/admin_buildpacks/.parts.
package buildpackstore
