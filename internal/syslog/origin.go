package syslog

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a message's fields, in bytes. RFC 5424 has the second and third; HOSTNAME's, which is 255, follows from the
// three labels that it consists of. A parameter's value has no bound there.
const (
	maxLabel   = 63
	maxAppName = 48
	maxProcID  = 128
	maxValue   = 255
	// maxDatagramData bounds the structured data of a datagram: names that are escaped take twice their length, and the line is
	// to have room in MaxDatagram. The other fields are 400 bytes at most.
	maxDatagramData = 1 << 10
)

// nothing stands for a field that is not there.
const nothing = "-"

// dataID names the structured data: 47450 is Cloud Foundry's number as an enterprise, and these are its tags.
const dataID = "tags@47450"

// The sources of messages.
const (
	// FromApp is an instance of an app.
	FromApp = "APP/PROC/WEB"
	// FromDrain is the drain itself: Cloud Foundry's short name for Loggregator, whose words on lost lines have it.
	FromDrain = "LGR"
)

// Origin says whose messages these are. Each text is anybody's and may be empty: what must not be in its field is left out.
type Origin struct {
	// Organization, Space and App are names; AppID, OrganizationID and SpaceID are guids.
	Organization, Space, App       string
	AppID, OrganizationID, SpaceID string
	// Index is the instance's number, InstanceID its id, Node that of its node.
	Index            int
	InstanceID, Node string
}

// Writer makes a writer of messages from a source, plain for one without structured data.
func (o Origin) Writer(source string, plain bool) *Writer {
	process := "[" + source + "/" + strconv.Itoa(o.Index) + "]"
	fields := " " + strings.Join([]string{o.host(), printable(o.AppID, maxAppName), printable(process, maxProcID), nothing}, " ") + " "
	if plain {
		return &Writer{frame: fields + nothing + " ", datagram: fields + nothing + " "}
	}
	return &Writer{frame: fields + o.data(source, math.MaxInt) + " ", datagram: fields + o.data(source, maxDatagramData) + " "}
}

// host is organization.space.app, as far as they are known.
func (o Origin) host() string {
	var labels []string
	for _, name := range []string{o.Organization, o.Space, o.App} {
		if name = label(name); name != "" {
			labels = append(labels, name)
		}
	}
	if len(labels) == 0 {
		return nothing
	}
	return strings.Join(labels, ".")
}

// data are the tags, by name, as Cloud Foundry's: instance_id is the instance's number there, and index is its node. One that
// does not fit into so many bytes is left out.
func (o Origin) data(source string, most int) string {
	var b strings.Builder
	b.WriteString("[" + dataID)
	for _, tag := range [...]struct{ name, value string }{
		{"app_id", o.AppID},
		{"app_name", o.App},
		{"index", o.Node},
		{"instance_id", strconv.Itoa(o.Index)},
		{"organization_id", o.OrganizationID},
		{"organization_name", o.Organization},
		{"process_instance_id", o.InstanceID},
		{"process_type", "web"},
		{"source_type", source},
		{"space_id", o.SpaceID},
		{"space_name", o.Space},
	} {
		text := " " + tag.name + `="` + value(tag.value) + `"`
		if tag.value != "" && b.Len()+len(text)+len("]") <= most {
			b.WriteString(text)
		}
	}
	b.WriteByte(']')
	return b.String()
}

// label is a name as a part of a host's: blanks become dashes, and what is neither letter, digit nor dash is dropped.
func label(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return '-'
		case r == '-', '0' <= r && r <= '9', 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z':
			return r
		default:
			return -1
		}
	}, name)
	return strings.Trim(name[:min(len(name), maxLabel)], "-")
}

// printable is a text as RFC 5424's PRINTUSASCII, in which there are no blanks.
func printable(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, text)
	if text == "" {
		return nothing
	}
	return text[:min(len(text), most)]
}

var escapes = strings.NewReplacer(`"`, `\"`, `\`, `\\`, `]`, `\]`)

// value is a text as the value of a parameter: UTF-8 without control characters.
func value(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, string(utf8.RuneError)))
	return escapes.Replace(text[:cut(text, maxValue)])
}
