// Package remote runs a command in an instance for the user at this machine, by the SSH of the instance's node: with his terminal where he
// has one, else with pipes that change no byte. Which key the node must show comes encrypted through Temporal, so that
// nothing is trusted at first sight.
package remote
