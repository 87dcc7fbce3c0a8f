// Package droplets is a node's cache of droplets. Each comes as a file once and, where containers can share one, is
// unpacked once, as a layer that lies beneath the root of every instance.
//
//	<base>/droplets/<sha1>/droplet.tgz        the droplet, in a directory of its own: that is what a container is given
//	                                          which unpacks it by itself
//	                .layers/<layer>/root/     as an instance sees it: home/vcap, and the link app
//	                               layer.json what is in it, see record
//	                .uses/<sha1>/<instance>   an instance uses it; the directory's time is when it was last used or came
//	                .parts/<sha1>             the droplet as it comes, resumed by the next attempt
//	                      <layer>.new         a layer as it is unpacked
//	                      *.gone              what is being removed
//
//	(none) -- .parts -- Move, Put --> droplet.tgz -- Layer --> .new --> layer
//	   ^                                  |                               |
//	   +-- .gone <-- Reap: nobody uses it and its time is over, or others need the room
//
// A droplet comes in by rename or by link, after its SHA-1 was found right, and a layer by rename, so that what is here
// is whole; and both go by rename. A process may die between any two of these steps: what it left half made is taken
// away by the next Layer or Reap. A layer is not written to the disk before it is used, since that would wait for whatever
// else the file system has to write. Instead it is good only until the machine is started again, when no container that
// uses it is left, and is then unpacked anew.
//
// A droplet is in use while an instance claims it: Claim writes that down, before anybody looks whether the droplet is
// here, and Reap holds the same lock, so none is removed that is about to be used. Uses outlive the process.
// One process per base directory.
package droplets
