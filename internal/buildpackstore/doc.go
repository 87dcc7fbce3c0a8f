// Package buildpackstore keeps the operator's buildpacks on a node, each fetched and unpacked once. A key names one
// version of a buildpack for ever.
//
//	<base>/admin_buildpacks/<key>/               the unpacked buildpack
//	                        .records/<key>.json  what came, see Record; its time is when a request last named the key
//	                        .uses/<user>         the keys that a staging uses, written before they are fetched
//	                        .parts/<key>.part    the zip as it comes, resumed by the next attempt
//	                               <key>.zip     the whole zip
//	                               <key>.new     the directory as it is unpacked
//	                               *.gone        what is being removed
//
//	(none) -- Ensure --> .part --> .zip --> .new --> record --> directory -- Reap --> .gone --> (none)
//
// A buildpack appears by a rename, whole and after its record, so what is there can be used; and it goes by a rename, before
// its record. A directory without a record, which only damage or an earlier release leaves, is fetched anew, since nobody
// knows what it was made of. A process may die between any two of these steps: the next Ensure goes on or starts over,
// and Reap takes away what it left.
//
// A buildpack is in use while there is a user of it: Use writes that down, before Ensure, and Reap asks which users are
// still there. Both hold the same lock, so none is removed that is about to be used. One process per base directory.
package buildpackstore
