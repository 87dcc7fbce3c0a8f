// Package logging makes the loggers: one hclog logger a process, and its adapter for Temporal's SDK.
package logging
