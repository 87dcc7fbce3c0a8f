// Package pool gives out ports and networks, each to one container at a time.
package pool
