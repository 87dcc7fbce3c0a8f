package logging

import (
	"fmt"
	"reflect"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/sdk/log"
	"google.golang.org/protobuf/proto"
)

// maxValue bounds one value of a log line in bytes; stack traces are the longest that come.
const maxValue = 8 << 10

// Temporal adapts a logger for Temporal's SDK. The SDK logs with whatever values its callers give it; of these only
// numbers, truth values, texts, times, errors and what says itself as a text are written. Anything else, such as a
// payload, a message of the protocol or an input struct, appears as the name of its type.
func Temporal(to hclog.Logger) log.Logger { return temporalLogger{to: to} }

// temporalLogger is a hclog.Logger with the SDK's idea of With.
type temporalLogger struct{ to hclog.Logger }

var (
	_ log.Logger     = temporalLogger{}
	_ log.WithLogger = temporalLogger{}
)

func (l temporalLogger) Debug(msg string, keyvals ...any) {
	if l.to.IsDebug() { // the SDK's most frequent level, mostly off
		l.to.Debug(msg, safe(keyvals)...)
	}
}
func (l temporalLogger) Info(msg string, keyvals ...any)  { l.to.Info(msg, safe(keyvals)...) }
func (l temporalLogger) Warn(msg string, keyvals ...any)  { l.to.Warn(msg, safe(keyvals)...) }
func (l temporalLogger) Error(msg string, keyvals ...any) { l.to.Error(msg, safe(keyvals)...) }

// With gives a logger that writes keyvals with every line.
func (l temporalLogger) With(keyvals ...any) log.Logger {
	return temporalLogger{to: l.to.With(safe(keyvals)...)}
}

// safe copies keyvals with what must not be logged taken out.
func safe(keyvals []any) []any {
	if len(keyvals)%2 != 0 {
		keyvals = append(keyvals[:len(keyvals):len(keyvals)], "(no value)")
	}
	out := make([]any, len(keyvals))
	for i, v := range keyvals {
		if i%2 == 0 {
			out[i] = fmt.Sprint(safeValue(v))
			continue
		}
		out[i] = safeValue(v)
	}
	return out
}

func safeValue(v any) any {
	switch v := v.(type) {
	case nil, time.Time:
		return v
	case time.Duration:
		return v.String()
	case error:
		return cut(text(v.Error, v))
	case fmt.Stringer:
		if _, ok := v.(proto.Message); ok { // its String prints all that it holds
			return typeName(v)
		}
		return cut(text(v.String, v))
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return v
	case reflect.String:
		return cut(r.String())
	case reflect.Slice:
		if names, ok := v.([]string); ok {
			return cut(fmt.Sprint(names))
		}
	}
	return typeName(v)
}

// text asks a value for its text. A typed nil pointer often panics there, and a log line must not.
func text(say func() string, v any) (said string) {
	defer func() {
		if recover() != nil {
			said = typeName(v)
		}
	}()
	return say()
}

func typeName(v any) string { return fmt.Sprintf("(%T)", v) }

func cut(s string) string {
	if len(s) <= maxValue {
		return s
	}
	return s[:maxValue] + "…"
}
