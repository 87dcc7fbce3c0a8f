package activities

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// hookTimeout bounds one hook. The job of one that takes longer goes on, and is ended with its container.
const hookTimeout = time.Minute

// hookError is a hook that ended with another status than 0, did not end in time, or cannot be read. What it said is in the
// app's logs alone.
type hookError struct {
	name   string
	status uint32
	// late tells that it did not end in time.
	late bool
	// cause is why it was not run at all; nil when it was.
	cause error
}

func (e *hookError) Unwrap() error { return e.cause }

func (e *hookError) Error() string {
	switch {
	case e.cause != nil:
		return fmt.Sprintf("hook %s cannot be run: %v", e.name, e.cause)
	case e.late:
		return fmt.Sprintf("hook %s did not end within %s", e.name, hookTimeout)
	default:
		return fmt.Sprintf("hook %s ended with %d; the app's logs have what it said", e.name, e.status)
	}
}

// maxHookBytes bounds an operator's hook: it travels to Warden as a script.
const maxHookBytes = 1 << 20

// hook runs one of the operator's scripts in the instance's container, with the instance's environment; run twice, it does
// so once, see hookScript, and has the same outcome. A hook that is not configured is no error, nor one whose file is
// missing, which is only logged, as dea_ng had it; one that cannot be read, that ends with anything but 0, or not within
// hookTimeout, is a hookError.
func (s *instanceStart) hook(ctx context.Context, name string) error {
	path := s.config.Hooks[name]
	if path == "" {
		return nil
	}
	text, err := readBounded(path, maxHookBytes)
	if errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("a hook is missing and was left out", "hook", name, "path", path, "instance", s.id)
		return nil
	}
	if err != nil {
		return &hookError{name: name, cause: err}
	}
	exports, err := s.exports()
	if err != nil {
		return fmt.Errorf("hook %s: %w", name, err)
	}
	limited, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	response, err := s.warden.Run(limited, &wardenpb.RunRequest{
		Handle:  s.handle(),
		Script:  proto.String(hookScript(name, exports, string(text))),
		Rlimits: s.rlimits(),
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return &hookError{name: name, late: true}
	}
	if err != nil {
		return fmt.Errorf("hook %s: %w", name, err)
	}
	if status := response.GetExitStatus(); status != 0 {
		return &hookError{name: name, status: status}
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
