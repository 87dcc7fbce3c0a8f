// Package cloudcontroller is the starter's side of a cloud controller: it puts packages there, learns the operator's
// buildpacks, and names the URLs that a staging request and a start message carry.
//
// Name and password come with the controller's URL and leave in the Authorization header and in those URLs alone:
// no error and no String of this package shows them.
package cloudcontroller
