// Package droplets is a node's cache of droplets: <base>/droplets/<sha1>/droplet.tgz. Each lies in a directory of its
// own, since that directory is what an instance's container is given.
//
// A droplet comes in by rename or by link, after its SHA-1 was found right, so that what is here is whole. Downloads
// that are under way lie in <base>/droplets/.parts/<sha1>.
package droplets
