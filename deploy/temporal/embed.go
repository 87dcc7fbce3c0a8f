// Package temporal holds the settings of Temporal's server that Durable DEA is measured with, for whoever embeds
// the server. The file beside it is the same for those who mount it.
package temporal

import _ "embed"

//go:embed dynamicconfig.yaml
var dynamicConfig string

// DynamicConfig is the content of dynamicconfig.yaml, in the format of Temporal's file-based dynamic config.
func DynamicConfig() []byte { return []byte(dynamicConfig) }
