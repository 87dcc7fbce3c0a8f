package push

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/syslog"
	"github.com/durable-dea/dea/starter/internal/size"
)

// Options are what a user asks of a push.
type Options struct {
	// Source is a directory or a zip.
	Source string
	// Name is the app's name and id, a DNS label.
	Name string
	// Instances is how many there should be, from 0.
	Instances int
	// Memory and Disk are an instance's.
	Memory, Disk size.MB
	// Buildpacks are names or keys of the operator's, or git URLs, which may hold credentials. One builds the app; of
	// several all run in this order, and the last builds it. None, or a blank one alone, detects.
	Buildpacks []string
	// Env holds NAME=value pairs. Secret.
	Env []string
	// Drains are URLs of syslog drains, each as of a service that is bound to the app. Secret, as credentials may stand in them.
	Drains []string
	// Command starts the app, instead of what its droplet says. Blank is none.
	Command string
	// NoRoute says that the app listens nowhere: running is healthy enough.
	NoRoute bool
	// Domain is what routes end in.
	Domain string
	// Stack is the root file system to stage and run on; empty for the only one that the nodes have.
	Stack string
	// HealthCheckTimeout is how long the app may take to open its port; 0 for the node's default. Whole seconds.
	HealthCheckTimeout time.Duration
	// Timeout is how long the instances may take to run.
	Timeout time.Duration
}

// DefaultDomain resolves to the own machine wherever names are looked up as RFC 6761 has it.
const DefaultDomain = "localhost"

// fileDescriptors are an instance's, as a cloud controller gives by default.
const fileDescriptors = 16384

var (
	labelShape = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// domainShape allows the leading dot that some write, and a port.
	domainShape = regexp.MustCompile(`^\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(:[0-9]+)?$`)
)

// ErrUsage: what the user asks can never work. Its text says what to change.
var ErrUsage = errors.New("wrong usage")

func usagef(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrUsage}, args...)...)
}

// Validate says what is wrong with the options, with an ErrUsage.
func (o Options) Validate() error {
	switch {
	case o.Source == "":
		return usagef("name the directory or the zip to push")
	case o.Name == "":
		return usagef("name the app with --name")
	case !labelShape.MatchString(o.Name):
		return usagef("the name %q cannot be part of a host name: use up to 63 of a-z, 0-9 and '-', "+
			"with a letter or a digit at both ends", o.Name)
	case !o.NoRoute && !domainShape.MatchString(o.Domain):
		return usagef("--domain %q is no domain; without a route use --no-route", o.Domain)
	case o.Instances < 0 || o.Instances > api.MaxInstances:
		return usagef("--instances must be from 0 to %d", api.MaxInstances)
	case o.HealthCheckTimeout%time.Second != 0 || o.HealthCheckTimeout < 0:
		return usagef("--health-check-timeout must be whole seconds")
	}
	for n, url := range o.Drains {
		if _, err := syslog.ParseURL(url); err != nil {
			return usagef("--drain %d of %d: %w", n+1, len(o.Drains), err)
		}
	}
	return o.validateBuildpacks()
}

// validateBuildpacks says what can be said without the list of the operator's buildpacks. No git URL is repeated.
func (o Options) validateBuildpacks() error {
	seen := map[string]bool{}
	for i, name := range o.buildpacks() {
		switch {
		case strings.TrimSpace(name) == "":
			return usagef("--buildpack %d of %d is blank: give each the name of a buildpack or a git URL", i+1, len(o.Buildpacks))
		case seen[name]:
			return usagef("--buildpack %d of %d is there twice: each runs once", i+1, len(o.Buildpacks))
		case api.IsGitSource(name):
			if _, err := api.ParseGitSource(name); err != nil {
				return usagef("--buildpack %w", err)
			}
		}
		seen[name] = true
	}
	return nil
}

// buildpacks are those that were asked for; a blank one alone is none.
func (o Options) buildpacks() []string {
	if len(o.Buildpacks) == 1 && strings.TrimSpace(o.Buildpacks[0]) == "" {
		return nil
	}
	return o.Buildpacks
}

// routes are the app's URIs.
func (o Options) routes() []string {
	if o.NoRoute {
		return nil
	}
	return []string{o.Name + "." + strings.TrimPrefix(o.Domain, ".")}
}

// command is the start command; one of blanks alone is none.
func (o Options) command() string {
	if strings.TrimSpace(o.Command) == "" {
		return ""
	}
	return o.Command
}

// services are what is bound to the app.
func (o Options) services() []api.Service {
	var services []api.Service
	for n, url := range o.Drains {
		services = append(services, api.Service{
			Name: fmt.Sprintf("drain-%d", n+1), Label: "user-provided", SyslogDrainURL: url,
		})
	}
	return services
}

// limits are an instance's.
func (o Options) limits() api.Limits {
	return api.Limits{MemoryMB: int64(o.Memory), DiskMB: int64(o.Disk), FDs: fileDescriptors}
}
