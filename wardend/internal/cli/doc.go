// Package cli is wardend's command line.
package cli
