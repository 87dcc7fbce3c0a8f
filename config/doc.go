// Package config reads the configuration of a node's worker (dea.yml) and of the starter (client.yml).
//
// A value is taken from the first of these that has it:
//
//	flag          --resources-memory-mb 4096       (only the flags that NodeFlags and ClientFlags add)
//	environment   DEA_RESOURCES_MEMORY_MB=4096     (any single value or list of texts; empty is not set)
//	file          resources: {memory_mb: 4096}
//	default       DefaultNode, DefaultClient
//
// The environment's name of a key is DEA_ and its path in capitals with underscores; the temporal section uses the
// names that Temporal's own tools use (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_…).
// Secrets have no flag, since other users of a machine see the flags of a process.
//
// Everything wrong is told at once: an error of this package is one *Error, or several joined, each with the path of
// its key, its line and words for the operator. Problems lists them. No error holds the value of a secret.
//
// A relative path in a file is relative to that file's directory; one in a flag or the environment, to the working
// directory. After loading, every path is absolute.
package config
