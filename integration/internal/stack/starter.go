package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// maxAnswer bounds what is read of an HTTP answer.
const maxAnswer = 16 << 20

// Starter runs the command line as a person would and gives its standard output. Where it fails, the error has its words
// and its exit status (*exec.ExitError).
func (s *Stack) Starter(ctx context.Context, args ...string) (string, error) {
	var stdout bytes.Buffer
	if err := s.StarterTo(ctx, &stdout, args...); err != nil {
		return stdout.String(), fmt.Errorf("%w\n%s", err, stdout.String())
	}
	return stdout.String(), nil
}

// StarterTo is Starter whose standard output is written as it comes; when ctx ends, so does the command.
func (s *Stack) StarterTo(ctx context.Context, stdout io.Writer, args ...string) error {
	command, err := s.Command(ctx, args...)
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	command.Stdout, command.Stderr = stdout, &stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("starter %v: %w\n%s", args, err, stderr.String())
	}
	return nil
}

// Command is starter with these arguments, to be run by the caller.
func (s *Stack) Command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	starter, err := Bin("starter")
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, starter, append([]string{"--config", s.Config}, args...)...)
	command.Env = cleanEnvironment()
	return command, nil
}

// cleanEnvironment is this process's environment without what goes over a configuration file: that was set for another
// installation.
func cleanEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "TEMPORAL_") || strings.HasPrefix(variable, "DEA_")
	})
}

// StarterJSON is Starter with --output json, whose answer goes into out.
func (s *Stack) StarterJSON(ctx context.Context, out any, args ...string) error {
	text, err := s.Starter(ctx, append(args, "--output", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), out); err != nil {
		return fmt.Errorf("read the answer of starter %v: %w\n%s", args, err, text)
	}
	return nil
}

// Get asks for a URL over a connection of its own and gives the answer's status and body.
func Get(ctx context.Context, url string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", fmt.Errorf("get %s: %w", url, err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", fmt.Errorf("get: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, "", fmt.Errorf("get %s: %w", url, err)
	}
	return response.StatusCode, string(content), nil
}
