package cli

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/cloudcontroller"
	"github.com/durable-dea/dea/starter/internal/push"
	"github.com/durable-dea/dea/starter/internal/remote"
	"github.com/durable-dea/dea/starter/internal/watch"
)

func TestExitCode(t *testing.T) {
	staging := &controller.Error{
		Kind: controller.ErrStagingFailed, Words: "w", Cause: api.Final(api.ErrBuildpackCompile, "w", nil),
	}
	for _, test := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{errors.New("anything"), 1},
		{&controller.Error{Kind: controller.ErrRefused}, 1},
		{usageError{errors.New("x")}, 2},
		{fmt.Errorf("%w: x", push.ErrUsage), 2},
		{&controller.Error{Kind: controller.ErrInvalid}, 2},
		{&controller.Error{Kind: controller.ErrInstanceExists}, 2},
		{&controller.Error{Kind: controller.ErrNoSuchApp}, 3},
		{&controller.Error{Kind: controller.ErrNoSuchNode}, 3},
		{&controller.Error{Kind: controller.ErrNoSuchInstance}, 3},
		{staging, 4},
		{&watch.NotRunningError{}, 4},
		{&controller.Error{Kind: controller.ErrUnreachable, Cause: context.DeadlineExceeded}, 5},
		{&controller.Error{Kind: controller.ErrNoWorker}, 5},
		{&cloudcontroller.Error{Kind: cloudcontroller.ErrUnreachable}, 5},
		{fmt.Errorf("upload: %w", context.Canceled), 130},
		{&controller.Error{Kind: remote.ErrCutOff}, 255},
		{&controller.Error{Kind: remote.ErrRefused}, 1},
		{remote.StatusError(5), 5},
	} {
		require.Equal(t, test.code, exitCode(test.err), "%v", test.err)
	}
}
