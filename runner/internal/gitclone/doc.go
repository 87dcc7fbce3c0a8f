// Package gitclone brings a buildpack from a git repository, with the git of the container: that one knows the
// certificates, proxies and keys that the container has.
//
//	clone --depth=1 --branch=REF ----+--> submodules, shallow ----+--> the commit
//	   | fails, or REF is a commit   |       | fails              |    (nothing named .git is left)
//	   +--> whole clone, checkout ---+       +--> whole ----------+
//
// Git asks nobody anything, and what it says is told without the credentials that a URL may hold.
package gitclone
