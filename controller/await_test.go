package controller

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
)

// absences is a Temporal that goes away again and again: each question lasts a time and is not answered, but for the
// last. Only a clock of its own makes an hour of that a test.
type absences struct {
	client.Client
	client.WorkflowRun
	clock *time.Time
	lasts []time.Duration
}

func (a *absences) GetWorkflow(context.Context, string, string) client.WorkflowRun { return a }

func (a *absences) Get(context.Context, any) error {
	if len(a.lasts) == 0 {
		return nil
	}
	*a.clock = a.clock.Add(a.lasts[0])
	a.lasts = a.lasts[1:]
	return serviceerror.NewUnavailable("away")
}

func TestAwaitCountsEachAbsenceForItself(t *testing.T) {
	for name, test := range map[string]struct {
		lasts []time.Duration
		ends  bool
	}{
		"short absences, far apart": {[]time.Duration{time.Hour, time.Minute, time.Hour, time.Minute}, true},
		"one that does not end":     {[]time.Duration{time.Hour, 2 * time.Minute, 2 * time.Minute, 2 * time.Minute}, false},
	} {
		t.Run(name, func(t *testing.T) {
			clock := time.Now()
			temporal := &absences{clock: &clock, lasts: test.lasts}
			c := New(temporal, nil)
			c.now = func() time.Time { return clock }
			err := c.await(context.Background(), "w", nil)
			if test.ends {
				require.NoError(t, err)
				return
			}
			require.True(t, isUnreachable(err))
		})
	}
}
