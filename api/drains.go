package api

import (
	"fmt"
	"io"
)

// LogDrains say where the lines of an instance go beside its files, and what they are called there. The names are what the
// controller calls things; any may be empty.
type LogDrains struct {
	// Drains are those of the bound services, each URL once, in their order. Without any, nothing else is set.
	Drains         []LogDrain `json:"drains,omitempty"`
	App            string     `json:"app,omitempty"`
	Space          string     `json:"space,omitempty"`
	SpaceID        string     `json:"space_id,omitempty"`
	Organization   string     `json:"organization,omitempty"`
	OrganizationID string     `json:"organization_id,omitempty"`
}

// LogDrain is a service's, which takes lines.
type LogDrain struct {
	// Service is the name by which the app's owner knows it.
	Service string `json:"service,omitempty"`
	// URL is where they go. Secret, as credentials may stand in it.
	URL string `json:"url"`
}

// String is what may be shown: the name of the service.
func (d LogDrain) String() string { return "the syslog drain of the service " + d.Service }

// Format shows String whatever the verb.
func (d LogDrain) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, d.String()) }

// LogDrains are where the lines of the app's instances go.
func (m StartMessage) LogDrains() LogDrains {
	var drains LogDrains
	known := map[string]bool{}
	for _, s := range m.Services {
		if s.SyslogDrainURL != "" && !known[s.SyslogDrainURL] {
			known[s.SyslogDrainURL] = true
			drains.Drains = append(drains.Drains, LogDrain{Service: s.Name, URL: s.SyslogDrainURL})
		}
	}
	if len(drains.Drains) == 0 {
		return LogDrains{}
	}
	said := func(name string) string {
		text, _ := m.VCAPApplication[name].(string)
		return text
	}
	drains.App = m.Name
	drains.Space, drains.SpaceID = said("space_name"), said("space_id")
	drains.Organization, drains.OrganizationID = said("organization_name"), said("organization_id")
	return drains
}
