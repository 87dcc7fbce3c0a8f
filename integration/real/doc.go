// Package real pushes apps to nodes whose wardends make real containers, in a sandbox of its own: containers have
// addresses. Everything else about the stack is tested on plain processes, by package integration.
package real
