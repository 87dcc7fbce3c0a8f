// Package compose holds the tests of docker-compose.yml and of what it mounts. They use the compose specification's own
// loader, so that a mistake is found without a container engine; they stand in this module since the loader is
// no dependency that the root module should have.
package compose
