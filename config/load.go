package config

import "github.com/spf13/pflag"

// LoadOptions say where a configuration comes from.
type LoadOptions struct {
	// File is the configuration file; empty means the flag --config, then DEA_CONFIG, then, for a client alone,
	// $XDG_CONFIG_HOME/dea/client.yml (~/.config when that is not set) if it is there.
	File string
	// Flags are parsed flags that NodeFlags or ClientFlags added; nil when there are none.
	Flags *pflag.FlagSet
	// Env looks a variable up; nil means os.Getenv. An empty value is not set.
	Env func(string) string
}
