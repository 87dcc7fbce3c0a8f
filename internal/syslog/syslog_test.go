package syslog

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	parser "github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/octetcounting"
	"github.com/leodido/go-syslog/v4/rfc5424"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var origin = Origin{
	Organization: "my org", Space: "dev", App: "hello", AppID: "5ca1ab1e-0000-4000-8000-000000000001",
	OrganizationID: "o-1", SpaceID: "s-1", Index: 3, InstanceID: "i-1", Node: "n-1",
}

var at = time.Date(2026, 1, 2, 16, 4, 5, 123_456_789, time.FixedZone("", 3600))

func TestMessageIsAsCloudFoundryWritesIt(t *testing.T) {
	text := string(origin.Writer(FromApp, false).AppendFrames(nil, Message{Time: at, Severity: Info, Text: "hello there\r\n"}))
	require.Equal(t, `381 <14>1 2026-01-02T15:04:05.123456+00:00 my-org.dev.hello 5ca1ab1e-0000-4000-8000-000000000001 `+
		`[APP/PROC/WEB/3] - [tags@47450 app_id="5ca1ab1e-0000-4000-8000-000000000001" app_name="hello" index="n-1" instance_id="3" `+
		`organization_id="o-1" organization_name="my org" process_instance_id="i-1" process_type="web" `+
		`source_type="APP/PROC/WEB" space_id="s-1" space_name="dev"] hello there`+"\n", text)
	text = string(Origin{App: "hello"}.Writer(FromDrain, true).AppendDatagram(nil, Message{Severity: Err, Text: "gone"}))
	require.Equal(t, `<11>1 - hello - [LGR/0] - - gone`, text)
}

// parse reads frames by somebody else's parser, which fails the test at the first that it does not understand.
func parse(t *testing.T, frames []byte) []*rfc5424.SyslogMessage {
	t.Helper()
	var all []*rfc5424.SyslogMessage
	octetcounting.NewParser(parser.WithMaxMessageLength(1<<20), parser.WithListener(func(r *parser.Result) {
		require.NoError(t, r.Error, "%q", frames)
		all = append(all, r.Message.(*rfc5424.SyslogMessage))
	})).Parse(bytes.NewReader(frames))
	return all
}

func TestMessagesAreReadBack(t *testing.T) {
	w := origin.Writer(FromApp, false)
	lines := []string{"one", "", "with [brackets] \"quotes\" \\ and ünïcödé", "tab\tand \x1b[31mcolour", "\xff\xfe bytes", "7 <14>1 - - - - - - forged"}
	var frames []byte
	for n, line := range lines {
		frames = w.AppendFrames(frames, Message{Time: at, Severity: []Severity{Info, Err}[n%2], Text: line})
	}
	all := parse(t, frames)
	require.Len(t, all, len(lines))
	for n, m := range all {
		assert.EqualValues(t, 1, *m.Facility)
		assert.EqualValues(t, []int{6, 3}[n%2], *m.Severity)
		assert.True(t, at.Truncate(time.Microsecond).Equal(*m.Timestamp))
		assert.Equal(t, "my-org.dev.hello", *m.Hostname)
		assert.Equal(t, origin.AppID, *m.Appname)
		assert.Equal(t, "[APP/PROC/WEB/3]", *m.ProcID)
		assert.Nil(t, m.MsgID)
		assert.Equal(t, "3", (*m.StructuredData)[dataID]["instance_id"])
		assert.Equal(t, "i-1", (*m.StructuredData)[dataID]["process_instance_id"])
		assert.Equal(t, lines[n]+"\n", *m.Message)
	}
}

func TestLinesAreCleaned(t *testing.T) {
	for line, want := range map[string]string{
		"a\x00b\x00":           "ab",
		"a\nb\r\n":             "a b",
		"\ufeffmarked":         "\ufeffmarked",
		"\ufeffwrong\xff":      "wrong\xff",
		"\ufeff\ufeffmore\xff": "more\xff",
		"a\rb":                 "a\rb",
		"\r\n":                 "",
		"\tblanks\tare left\t": "\tblanks\tare left\t",
	} {
		assert.Equal(t, want, clean(line), "%q", line)
	}
}

func TestLongLinesAreSeveralMessages(t *testing.T) {
	line := strings.Repeat("ä", MaxText)
	all := parse(t, origin.Writer(FromApp, true).AppendFrames(nil, Message{Time: at, Severity: Info, Text: line}))
	require.Len(t, all, 2)
	var whole strings.Builder
	for _, m := range all {
		text := strings.TrimSuffix(*m.Message, "\n")
		assert.True(t, utf8.ValidString(text), "no character is torn")
		assert.LessOrEqual(t, len(text), MaxText)
		whole.WriteString(text)
	}
	assert.Equal(t, line, whole.String())
}

func TestDatagramsAreCut(t *testing.T) {
	for line, want := range map[string]int{
		strings.Repeat("a", 5000):    MaxDatagram,
		strings.Repeat("\xff", 5000): MaxDatagram,
		"short":                      0,
	} {
		datagram := origin.Writer(FromApp, false).AppendDatagram([]byte("before"), Message{Time: at, Severity: Info, Text: line})
		datagram = datagram[len("before"):]
		require.LessOrEqual(t, len(datagram), MaxDatagram)
		if want > 0 {
			assert.Len(t, datagram, want)
		}
		_, err := rfc5424.NewParser().Parse(datagram)
		require.NoError(t, err)
	}
	torn := origin.Writer(FromApp, true).AppendDatagram(nil, Message{Time: at, Severity: Info, Text: strings.Repeat("ä€", 2000)})
	assert.True(t, utf8.Valid(torn))
}

// TestDatagramsHaveRoomForTheLine whatever an app, its space and its organization are called.
func TestDatagramsHaveRoomForTheLine(t *testing.T) {
	long := strings.Repeat(`"`, 500)
	o := Origin{
		Organization: strings.Repeat("o", 500), Space: strings.Repeat("s", 500), App: long, AppID: strings.Repeat("i", 500),
		OrganizationID: long, SpaceID: long, Index: math.MinInt, InstanceID: long, Node: long,
	}
	m := Message{Time: at, Severity: Info, Text: strings.Repeat("x", 5000)}
	datagram := o.Writer(FromApp, false).AppendDatagram(nil, m)
	require.Len(t, datagram, MaxDatagram)
	parsed, err := rfc5424.NewParser().Parse(datagram)
	require.NoError(t, err)
	message := parsed.(*rfc5424.SyslogMessage)
	assert.Greater(t, len(*message.Message), 600)
	assert.Equal(t, "web", (*message.StructuredData)[dataID]["process_type"], "what fits is there")
	assert.Len(t, (*parse(t, o.Writer(FromApp, false).AppendFrames(nil, m))[0].StructuredData)[dataID], 11, "a frame has all")
}

func TestFieldsTakeAnyName(t *testing.T) {
	hostile := "a \"]\\\n\x00\x7fé\xff" + strings.Repeat("x", 500)
	o := Origin{
		Organization: hostile, Space: hostile, App: hostile, AppID: hostile, OrganizationID: hostile, SpaceID: hostile,
		InstanceID: hostile, Node: hostile, Index: -7,
	}
	all := parse(t, o.Writer(FromApp, false).AppendFrames(nil, Message{Time: at, Severity: Info, Text: "x"}))
	require.Len(t, all, 1)
	assert.LessOrEqual(t, len(*all[0].Hostname), 255)
	assert.LessOrEqual(t, len(*all[0].Appname), 48)
	got := (*all[0].StructuredData)[dataID]["app_name"]
	assert.True(t, strings.HasPrefix(got, `a "]\   é`+"\ufffd"+"xxx"), "%q", got)
	all = parse(t, Origin{}.Writer("", false).AppendFrames(nil, Message{Severity: Info}))
	require.Len(t, all, 1)
	assert.Nil(t, all[0].Hostname)
	assert.Nil(t, all[0].Timestamp)
}

func TestAddresses(t *testing.T) {
	for url, want := range map[string]Address{
		"syslog://logs.example.com:1514":                          {TCP, "logs.example.com", "1514", false},
		"syslog://logs.example.com":                               {TCP, "logs.example.com", "514", false},
		"syslog-tls://u:hunter2@[2001:db8::1]/token?t=x":          {TLS, "2001:db8::1", "6514", false},
		"\tsyslog-udp://10.1.2.3:5140?disable-metadata=true\t":    {UDP, "10.1.2.3", "5140", true},
		"SYSLOG-TLS://h:1?drain-type=all&drain-data=logs&token=s": {TLS, "h", "1", false},
	} {
		got, err := ParseURL(url)
		require.NoError(t, err, url)
		assert.Equal(t, want, got)
		assert.NotContains(t, got.String(), "hunter2")
	}
	for url, want := range map[string]error{
		"https://u:hunter2@logs.example.com":   ErrScheme,
		"ftp://u:hunter2@logs.example.com":     ErrScheme,
		"syslog://u:hunter2%@logs.example.com": ErrNoURL,
		"syslog://:514":                        ErrNoURL,
		"syslog://host:0":                      ErrNoURL,
		"syslog://host:99999":                  ErrNoURL,
		"syslog://ho st:1":                     ErrNoURL,
		"syslog:host":                          ErrNoURL,
		"syslog://[fe80::1%25\u009b2J]:1":      ErrNoURL,
		"hunter2":                              ErrNoURL,
		"":                                     ErrNoURL,
		"syslog://h:1?drain-type=metrics&p=hunter2": ErrNoLogs,
		"syslog://h:1?drain-data=traces":            ErrNoLogs,
	} {
		_, err := ParseURL(url)
		require.ErrorIs(t, err, want, url)
		assert.NotContains(t, err.Error(), "hunter2")
	}
}

// FuzzMessages looks whether somebody else's parser reads back whatever was written.
func FuzzMessages(f *testing.F) {
	f.Add("hello", "org", "space", "app", "id", int64(1), 2)
	f.Add("\ufeff\xff\x00\n", "]\"\\", " -", "é\xff", "\x7f", int64(-1), -3)
	f.Fuzz(func(t *testing.T, text, organization, space, app, id string, seconds int64, index int) {
		o := Origin{
			Organization: organization, Space: space, App: app, AppID: id, OrganizationID: id, SpaceID: space,
			Index: index, InstanceID: id, Node: app,
		}
		m := Message{Time: time.Unix(seconds, 0), Severity: Info, Text: text}
		w := o.Writer(FromApp, false)
		frames := w.AppendFrames(nil, m)
		if len(text) == 0 {
			require.Len(t, parse(t, frames), 1)
		}
		var back strings.Builder
		for _, one := range parse(t, frames) {
			require.True(t, strings.HasSuffix(*one.Message, "\n"))
			back.WriteString(strings.TrimSuffix(*one.Message, "\n"))
		}
		require.Equal(t, clean(text), back.String())
		datagram := w.AppendDatagram(nil, m)
		require.LessOrEqual(t, len(datagram), MaxDatagram)
		_, err := rfc5424.NewParser().Parse(datagram)
		require.NoError(t, err)
	})
}
