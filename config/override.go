package config

import (
	"reflect"
	"strings"

	"github.com/spf13/pflag"
)

// flagConfig names the flag of the configuration file.
const flagConfig = "config"

// flagSpec ties a flag to a key.
type flagSpec struct{ name, path, usage string }

func nodeFlags() []flagSpec {
	return append([]flagSpec{
		{"base-dir", "base_dir", "`directory` of all that the node keeps"},
		{"warden-socket", "warden_socket", "unix `socket` of the Warden server"},
		{"runner", "runner", "the dea-runner `program`"},
		{"local-route", "local_route", "`address` at which the node's instances are reached"},
		{"index", "index", "`number` of the node, for people"},
		{"zone", "placement_properties.zone", "availability `zone`"},
		{"resources-memory-mb", "resources.memory_mb", "memory of the node in `MB`"},
		{"resources-disk-mb", "resources.disk_mb", "disk space of the node in `MB`"},
		{"on-stop", "on_stop", "what becomes of the instances when TERM or INT ends the worker: `leave` or stop"},
		{"log-level", "logging.level", "`level`: trace, debug, info, warn, error or off"},
		{"log-format", "logging.format", "`format`: text or json"},
		{"log-file", "logging.file", "`file` to log to instead of standard error"},
	}, clientFlags()...)
}

func clientFlags() []flagSpec {
	return []flagSpec{
		{"temporal-address", "temporal.address", "`host:port` of Temporal"},
		{"temporal-namespace", "temporal.namespace", "`namespace` in Temporal"},
		{"encryption-key-file", "temporal.encryption_key_file", "`file` with the keys that encrypt what crosses Temporal"},
	}
}

// NodeFlags adds the flags of a node's configuration, --config among them.
func NodeFlags(flags *pflag.FlagSet) {
	flags.String(flagConfig, "", "the node's configuration `file`, a dea.yml (DEA_CONFIG)")
	addFlags(flags, nodeFlags())
}

// ClientFlags adds the flags of a client's configuration, --config among them.
func ClientFlags(flags *pflag.FlagSet) {
	flags.String(flagConfig, "", "the client's configuration `file` (DEA_CONFIG; else dea/client.yml in the user's configuration)")
	addFlags(flags, clientFlags())
}

func addFlags(flags *pflag.FlagSet, specs []flagSpec) {
	for _, s := range specs {
		flags.String(s.name, "", s.usage)
	}
}

// overrideByEnv takes every key that the environment has.
func (l *loader) overrideByEnv(into reflect.Value) {
	for _, at := range leaves(l.schema, "") {
		if !at.settable() {
			continue
		}
		name := envOf(at.field, at.path)
		if text := l.env(name); text != "" {
			l.override(into, at, text, "environment "+name)
		}
	}
}

// overrideByFlags takes every key whose flag was given.
func (l *loader) overrideByFlags(into reflect.Value) {
	if l.from.Flags == nil {
		return
	}
	byPath := make(map[string]leaf)
	for _, at := range leaves(l.schema, "") {
		byPath[at.path] = at
	}
	for _, spec := range nodeFlags() { // a client's flags are among them
		at, inSchema := byPath[spec.path]
		if f := l.from.Flags.Lookup(spec.name); inSchema && f != nil && f.Changed {
			l.override(into, at, f.Value.String(), "flag --"+spec.name)
		}
	}
}

// override takes one value, in the place of the file's: what was wrong with that one does not matter then.
func (l *loader) override(root reflect.Value, at leaf, text, source string) {
	kept := l.problems[:0]
	for _, p := range l.problems {
		if p.Path != at.path {
			kept = append(kept, p)
		}
	}
	l.problems = kept
	l.origins[at.path] = origin{source: source}

	into, kind := valueAt(root, at.path), at.field.Tag.Get(tagKind)
	words := ""
	if into.Kind() == reflect.Slice {
		parts := strings.Split(text, ",")
		list := reflect.MakeSlice(into.Type(), len(parts), len(parts))
		for i, part := range parts {
			if w := setText(list.Index(i), strings.TrimSpace(part), kind, l.cwd); w != "" {
				words = w
			}
		}
		into.Set(list)
	} else {
		words = setText(into, text, kind, l.cwd)
	}
	if words != "" {
		l.problems = append(l.problems, &Error{Path: at.path, Source: source, Words: words})
	}
}
