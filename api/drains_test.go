package api

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLogDrains(t *testing.T) {
	m := StartMessage{
		Name: "hello",
		Services: []Service{
			{Name: "database"},
			{Name: "logs", SyslogDrainURL: "syslog://u:hunter2@logs:514"},
			{Name: "again", SyslogDrainURL: "syslog://u:hunter2@logs:514"},
			{Name: "more", SyslogDrainURL: "syslog-tls://more"},
		},
		VCAPApplication: map[string]any{"space_name": "dev", "space_id": "s-1", "organization_name": "org", "organization_id": 7},
	}
	drains := m.LogDrains()
	assert.Equal(t, LogDrains{
		Drains: []LogDrain{{"logs", "syslog://u:hunter2@logs:514"}, {"more", "syslog-tls://more"}},
		App:    "hello", Space: "dev", SpaceID: "s-1", Organization: "org",
	}, drains)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
		assert.NotContains(t, fmt.Sprintf(verb, drains), "hunter2", verb)
	}
	m.Services = m.Services[:1]
	assert.Empty(t, m.LogDrains())
}
