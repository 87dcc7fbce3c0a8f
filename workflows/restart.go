package workflows

import (
	"time"

	"github.com/durable-dea/dea/api"
)

// The restart policy, as HM9000 and Diego have it: three restarts at once, then after 30 s doubling to 16 min; five
// minutes of RUNNING clear the count.
const (
	immediateRestarts = 3
	firstRestartPause = 30 * time.Second
	longestPause      = 16 * time.Minute
	provenAfter       = 5 * time.Minute
)

// restartPause is how long to wait before an instance is started again that has crashed count times.
func restartPause(count int) time.Duration {
	if count <= immediateRestarts {
		return 0
	}
	pause := firstRestartPause
	for range count - immediateRestarts - 1 {
		if pause *= 2; pause >= longestPause {
			return longestPause
		}
	}
	return pause
}

// crashed counts a crash that happened now. ran is how long the instance was RUNNING before.
func crashed(before api.CrashCount, last api.InstanceStatus, ran time.Duration, now time.Time) api.CrashCount {
	if ran >= provenAfter {
		before.Count = 0
	}
	after := api.CrashCount{Count: before.Count + 1, Last: last}
	if pause := restartPause(after.Count); pause > 0 {
		after.RetryAt = now.Add(pause)
	}
	return after
}
