package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/cloudcontroller"
	"github.com/durable-dea/dea/starter/internal/push"
	"github.com/durable-dea/dea/starter/internal/remote"
	"github.com/durable-dea/dea/starter/internal/tail"
	"github.com/durable-dea/dea/starter/internal/watch"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitAppFailed   = 4
	exitUnreachable = 5
	exitInterrupted = 130
	exitCutOff      = 255
)

// exitCodes is the table that the help shows.
func exitCodes() string {
	var b strings.Builder
	for _, row := range []struct {
		code  int
		words string
	}{
		{exitOK, "done"},
		{exitFailed, "failed, for a reason that is none of the others"},
		{exitUsage, "wrong usage: arguments, a flag's value, the configuration, or a request that can never work"},
		{exitNotFound, "no such app, node, instance, staging or file"},
		{exitAppFailed, "the app failed: no droplet could be staged, or its instances do not run"},
		{exitUnreachable, "the platform cannot be used: Temporal, a worker or the cloud controller does not answer"},
		{exitInterrupted, "interrupted"},
		{exitCutOff, "exec: the session was cut off, and how the command did is not known"},
	} {
		fmt.Fprintf(&b, "  %-4d %s\n", row.code, row.words)
	}
	return b.String()
}

// usageError is what was wrong before a command began.
type usageError struct{ err error }

func (u usageError) Error() string { return u.err.Error() }
func (u usageError) Unwrap() error { return u.err }

// exitCode tells which code an error gives.
func exitCode(err error) int {
	var usage usageError
	var status remote.StatusError
	if errors.As(err, &status) {
		return int(status)
	}
	for _, kind := range []struct {
		code  int
		kinds []error
	}{
		{exitInterrupted, []error{context.Canceled}},
		{exitCutOff, []error{remote.ErrCutOff}},
		{exitAppFailed, []error{controller.ErrStagingFailed, watch.ErrAppFailed}},
		{exitUsage, []error{controller.ErrInvalid, controller.ErrInstanceExists, push.ErrUsage}},
		{exitNotFound, []error{
			controller.ErrNoSuchApp, controller.ErrNoSuchInstance, controller.ErrNoSuchNode, controller.ErrNoSuchStaging,
			cloudcontroller.ErrNotFound, tail.ErrNotThere,
		}},
		{exitUnreachable, []error{
			controller.ErrUnreachable, controller.ErrNoWorker, controller.ErrNotSetUp, cloudcontroller.ErrUnreachable,
			tail.ErrUnreachable,
		}},
	} {
		for _, one := range kind.kinds {
			if errors.Is(err, one) {
				return kind.code
			}
		}
	}
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage), len(config.Problems(err)) > 0:
		return exitUsage
	default:
		return exitFailed
	}
}
