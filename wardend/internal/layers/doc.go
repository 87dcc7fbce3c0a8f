// Package layers makes a container's file tree out of directories that many
// containers share.
//
// An [Overlay] stacks read-only layers and a directory of the container's own,
// which takes what the container writes. The layers belong to the machine's
// ids on the disk; each is shown through an idmapped clone, so that what the
// machine's root owns there belongs to the container's root. Nothing is copied
// and no layer is ever written to. [MountBind] adds directories and files of
// the machine.
//
// # What is left when wardend is killed
//
// Clones and overlays are detached mounts, which are gone with the files that
// refer to them, until the last step attaches the whole at its target: it is
// there wholly or not at all. Kernels before 6.15 stack only what is attached;
// there the clones lie on the target itself for a moment. Either way
// [Unmount] of the target frees all that a kill can have left. The layers'
// mounts are private: what is mounted in a container's tree never appears
// elsewhere, nor the other way round (for the target itself see [Private]).
//
// # What the kernel must have
//
// Overlays over idmapped layers came with Linux 5.19. [Probe] finds out.
package layers
