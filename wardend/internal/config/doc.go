// Package config reads how a wardend is to run: defaults, over them a file with the names that the original Warden's
// configuration has, over that the command line.
package config
