package activities

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// hookTimeout bounds one hook. The job of one that takes longer goes on, and is ended with its container.
const hookTimeout = time.Minute

// hookError is a hook that ended with another status than 0, or did not end in time.
type hookError struct {
	name   string
	status uint32
	stderr string
}

func (e *hookError) Error() string {
	return fmt.Sprintf("hook %s ended with %d: %s", e.name, e.status, tail(e.stderr))
}

// maxHookBytes bounds an operator's hook: it travels to Warden as a script.
const maxHookBytes = 1 << 20

// hook runs one of the operator's scripts in the instance's container, with the instance's environment. A hook that
// is not configured is no error; one that ends with anything but 0, or not within hookTimeout, is a hookError.
func (s *instanceStart) hook(ctx context.Context, name string) error {
	path := s.config.Hooks[name]
	if path == "" {
		return nil
	}
	text, err := readBounded(path, maxHookBytes)
	if err != nil {
		return fmt.Errorf("hook %s: %w", name, err)
	}
	exports, err := s.exports()
	if err != nil {
		return fmt.Errorf("hook %s: %w", name, err)
	}
	limited, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	response, err := s.warden.Run(limited, &wardenpb.RunRequest{
		Handle:  s.handle(),
		Script:  proto.String(findRoot + "\n" + exports + "\n" + string(text)),
		Rlimits: s.rlimits(),
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return &hookError{name: name, stderr: "it did not end in time"}
	}
	if err != nil {
		return fmt.Errorf("hook %s: %w", name, err)
	}
	if status := response.GetExitStatus(); status != 0 {
		return &hookError{name: name, status: status, stderr: response.GetStderr()}
	}
	return nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return os.ReadFile(path)
}

// tail is the end of a text, as much of it as an error should carry.
func tail(text string) string {
	const most = 2000
	if len(text) > most {
		return "…" + text[len(text)-most:]
	}
	return text
}
