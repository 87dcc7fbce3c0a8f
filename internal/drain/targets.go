package drain

import (
	"fmt"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/cleantext"
	"github.com/durable-dea/dea/internal/syslog"
)

// MaxDrains is how many drains an instance has; further ones are left out.
const MaxDrains = 16

// target is a drain that can be sent to.
type target struct {
	service string
	address syslog.Address
}

// targets are the drains that can be sent to, each address once, and what is to be said of the others.
func targets(drains api.LogDrains) (all []target, refused []string) {
	known := map[string]bool{}
	for _, d := range drains.Drains {
		service := cleantext.Line(d.Service)
		address, err := syslog.ParseURL(d.URL)
		switch {
		case err != nil:
			refused = append(refused, fmt.Sprintf("the syslog drain of service %q is left out: %v", service, err))
		case known[address.String()]:
		case len(all) == MaxDrains:
			refused = append(refused, fmt.Sprintf("the syslog drain of service %q is left out: %d is the most that an app has",
				service, MaxDrains))
		default:
			known[address.String()] = true
			all = append(all, target{service, address})
		}
	}
	return all, refused
}

// Refused are sentences for the app's owner, one for each drain that gets nothing, in which there is nothing secret.
func Refused(drains api.LogDrains) []string {
	_, refused := targets(drains)
	return refused
}
