package gitclone

import (
	"bytes"
	"fmt"
)

// Reason is why a clone failed, as far as it can be told.
type Reason int

// Reasons.
const (
	Unknown Reason = iota
	// NoGit: the container has none.
	NoGit
	// NotFound: there is no such repository, or it is hidden.
	NotFound
	// Refused: the credentials are wrong or missing.
	Refused
	// NoRef: the repository has neither branch nor tag nor commit of that name.
	NoRef
	// Unreachable: nobody answers, or not in time.
	Unreachable
	// Forbidden: the scheme is not one of ours.
	Forbidden
	// Distrusted: the server's certificate or key is not to be trusted.
	Distrusted
	// Empty: the repository has no commit.
	Empty
)

// Error is a clone that failed. Nothing in it holds credentials.
type Error struct {
	Reason Reason
	// Submodules is set when it is not the repository itself that failed.
	Submodules bool
	// Status is git's exit status.
	Status int
	// Cause is the end of what git said.
	Cause string
}

// Error has the cause, too.
func (e *Error) Error() string { return e.Words() + ": " + e.Cause }

// Words are for the user.
func (e *Error) Words() string {
	if e.Submodules {
		return "of one of its submodules, " + e.reason()
	}
	return e.reason()
}

func (e *Error) reason() string {
	switch e.Reason {
	case NoGit:
		return "the stack has no git"
	case NotFound:
		return "the repository is not found"
	case Refused:
		return "the server refuses the credentials, or wants some"
	case NoRef:
		return "there is no such branch, tag or commit"
	case Unreachable:
		return "the server cannot be reached"
	case Forbidden:
		return "the URL's scheme is not one of https, http, ssh, git and file"
	case Distrusted:
		return "the server's certificate or host key cannot be trusted"
	case Empty:
		return "the repository is empty"
	default:
		return fmt.Sprintf("git ended with exit status %d", e.Status)
	}
}

// signs are what git, curl, ssh and the servers say; git has one exit status for all. The first that is found counts.
var signs = []struct {
	reason Reason
	words  []string
}{
	{NoRef, []string{"not found in upstream", "couldn't find remote ref", "not our ref", "did not contain"}},
	{Forbidden, []string{"' not allowed"}},
	{Distrusted, []string{"certificate", "host key verification failed"}},
	{NotFound, []string{
		"repository not found", "' not found", "not exported", "does not appear to be a git repository",
		"project you were looking for could not be found", "returned error: 404", "does not exist",
	}},
	{Refused, []string{
		"authentication failed", "could not read username", "could not read password", "permission denied (", "access denied",
		"returned error: 401", "returned error: 403", "too many authentication failures",
	}},
	{Unreachable, []string{
		"could not resolve", "name or service not known", "temporary failure in name resolution", "unable to look up",
		"failed to connect", "unable to connect", "couldn't connect", "connection refused", "connection timed out",
		"operation timed out", "no route to host", "network is unreachable", "operation too slow", "connection reset",
		"recv failure", "empty reply from server", "timed out during banner exchange", "not responding", "returned error: 5",
	}},
}

func reasonOf(said []byte) Reason {
	said = bytes.ToLower(said)
	for _, sign := range signs {
		for _, words := range sign.words {
			if bytes.Contains(said, []byte(words)) {
				return sign.reason
			}
		}
	}
	return Unknown
}
