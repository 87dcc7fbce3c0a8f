// Package cloudcontroller stands in for the part of a Cloud Controller that an execution agent talks to: it keeps
// packages, droplets, buildpacks and buildpack caches, takes uploads as asynchronous jobs, and takes the callback
// at the end of a staging. Paths, form fields and answers are cloud_controller_ng's.
//
//	PUT    /v2/apps/{app}/bits                        package, multipart field "application"; makes the app
//	DELETE /v2/apps/{app}                             the app and all that is kept for it
//	GET    /staging/apps/{app}                        package
//	POST   /staging/droplets/{app}/upload?async=true  droplet, multipart field "upload[droplet]"; answers with a job
//	GET    /staging/droplets/{app}/{sha1}/download    droplet
//	POST   /staging/buildpack_cache/{app}/upload      buildpack cache, the same field; a bare 200
//	GET    /staging/buildpack_cache/{app}/download    buildpack cache, 404 when there is none
//	GET    /staging/jobs/{guid}                       how far an upload is
//	GET    /v2/buildpacks                             [{key,name,url}] in the order of detection
//	GET    /v2/buildpacks/{key}/download              buildpack, a zip
//	POST   /internal/dea/staging/{app}/completed      the callback
//	GET    /internal/dea/staging/{app}/{task}         the callback that was stored (not of the original's wire)
//	GET    /healthz                                   without credentials
//
// Everything else needs basic auth. URLs that the server hands out (jobs, buildpacks) carry the credentials, as
// the original's do: an agent follows them as they are.
//
// An upload's job:
//
//	         received and on disk     a slot is free           SHA-1 known, in the store
//	request ----------------------> queued ------------> running -----------------------> finished
//	                                  ^                     |  \
//	                                  |    Close, a crash   |   `---> failed (the app is gone, the disk is full)
//	                                  `---------------------'
//
// # On disk
//
// All is below Options.Dir, which belongs to one Server at a time. Whatever was acknowledged is found again after a
// restart or a crash: files are synced and appear under their names by a rename or a link, never half.
//
//	credentials.json               0600
//	apps/<app>/package.zip         an app exists when its directory does
//	apps/<app>/droplets/<sha1>.tgz
//	apps/<app>/buildpack_cache.tgz
//	apps/<app>/completed/<task>.json
//	buildpacks/<key>.zip
//	jobs/<guid>.json
//	uploads/                       what is being received or waits for its job
//	trash/                         what is being deleted
package cloudcontroller
