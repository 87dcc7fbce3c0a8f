package appenv

import (
	"fmt"
	"maps"
	"net"
	"strconv"
	"time"

	"github.com/durable-dea/dea/api"
)

// appHost is the address that an app is to listen at: all that its container has.
const appHost = "0.0.0.0"

// Location is where an instance runs.
type Location struct {
	InstanceID string
	// HostIP is the address at which the instance is reached from outside, at HostPort.
	HostIP   string
	HostPort uint32
	// ContainerPort is the port that the app is to listen at.
	ContainerPort uint32
	// StartedAt is when the instance was started; zero leaves the times out of VCAP_APPLICATION.
	StartedAt time.Time
}

// Staging is the environment of a staging. An environment of the user's that no shell can export is an error, in
// words for the user and without a value.
func Staging(request api.StagingRequest, timeoutSeconds int) ([]Var, error) {
	message := api.StartMessage{}
	if request.StartMessage != nil {
		message = *request.StartMessage
	}
	limits := request.Properties.Resources
	if limits.MemoryMB == 0 {
		limits.MemoryMB = max(message.Limits.MemoryMB, request.MemoryLimit)
	}
	vars, err := common(vcapApplication(message, limits), request.Properties.Services, limits)
	if err != nil {
		return nil, err
	}
	vars = append(vars,
		Var{Name: "STAGING_TIMEOUT", Value: strconv.Itoa(timeoutSeconds)},
		// Not of a DEA: buildpacks with bin/supply choose what they supply by it.
		Var{Name: "CF_STACK", Value: request.Stack},
	)
	return withOwn(vars, request.Properties.Environment)
}

// Instance is the environment of an instance. Its errors are those of Staging.
func Instance(message api.StartMessage, at Location) ([]Var, error) {
	application := vcapApplication(message, message.Limits)
	application["instance_id"] = at.InstanceID
	application["instance_index"] = message.Index
	application["host"] = appHost
	application["port"] = at.ContainerPort
	if !at.StartedAt.IsZero() {
		for _, key := range []string{"started_at", "start"} {
			application[key] = at.StartedAt.Format("2006-01-02 15:04:05 -0700")
		}
		for _, key := range []string{"started_at_timestamp", "state_timestamp"} {
			application[key] = at.StartedAt.Unix()
		}
	}
	vars, err := common(application, message.Services, message.Limits)
	if err != nil {
		return nil, err
	}
	containerPort, hostPort := decimal(at.ContainerPort), decimal(at.HostPort)
	vars = append(vars,
		Var{Name: "HOME", Value: "/home/vcap/app", form: rooted},
		Var{Name: "TMPDIR", Value: "/home/vcap/tmp", form: rooted},
		Var{Name: "VCAP_APP_HOST", Value: appHost},
		Var{Name: "VCAP_APP_PORT", Value: containerPort},
		Var{Name: "PORT", Value: containerPort},
		Var{Name: "CF_INSTANCE_INDEX", Value: strconv.Itoa(message.Index)},
		Var{Name: "CF_INSTANCE_IP", Value: at.HostIP},
		Var{Name: "CF_INSTANCE_PORT", Value: hostPort},
		Var{Name: "CF_INSTANCE_ADDR", Value: net.JoinHostPort(at.HostIP, hostPort)},
		Var{Name: "CF_INSTANCE_PORTS", Value: fmt.Sprintf(`[{"external":%s,"internal":%s}]`, hostPort, containerPort)},
		Var{Name: "CF_INSTANCE_GUID", Value: at.InstanceID},
	)
	return withOwn(vars, message.Env)
}

// common is what stagings and instances both have, in the order in which it is set.
func common(application map[string]any, services []api.Service, limits api.Limits) ([]Var, error) {
	applicationJSON, err := toJSON("VCAP_APPLICATION", application)
	if err != nil {
		return nil, err
	}
	servicesJSON, err := vcapServices(services)
	if err != nil {
		return nil, err
	}
	vars := []Var{
		{Name: "VCAP_APPLICATION", Value: applicationJSON},
		{Name: "VCAP_SERVICES", Value: servicesJSON},
	}
	if uri := databaseURL(services); uri != "" {
		vars = append(vars, Var{Name: "DATABASE_URL", Value: uri})
	}
	vars = append(vars, Var{Name: "MEMORY_LIMIT", Value: fmt.Sprintf("%dm", limits.MemoryMB)})
	for _, v := range vars {
		if err := v.check(); err != nil {
			return nil, err
		}
	}
	return vars, nil
}

func withOwn(vars []Var, pairs []string) ([]Var, error) {
	more, err := own(pairs)
	return append(vars, more...), err
}

// vcapApplication is what the controller says of the app, and the names that apps know from Cloud Foundry, the old
// ones (version, name, uris, users) included.
func vcapApplication(message api.StartMessage, limits api.Limits) map[string]any {
	application := maps.Clone(message.VCAPApplication)
	if application == nil {
		application = make(map[string]any)
	}
	uris := message.URIs
	if uris == nil {
		uris = []string{}
	}
	application["limits"] = limits
	application["application_version"], application["version"] = message.Version, message.Version
	application["application_name"], application["name"] = message.Name, message.Name
	application["application_uris"], application["uris"] = uris, uris
	application["users"] = nil
	return application
}

func decimal(port uint32) string { return strconv.FormatUint(uint64(port), 10) }
