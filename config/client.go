package config

// Client is the configuration of whoever talks to the installation from outside of its nodes: client.yml.
type Client struct {
	Temporal Temporal `yaml:"temporal"`
	// CloudController is where packages and droplets are kept, with basic auth. May be empty for commands that need
	// none.
	CloudController URL `yaml:"cc_url"`
	// ExecIdentity is the file of a private key in OpenSSH's form, by which `starter exec` is let in; empty for those of the
	// user's agent and in his home.
	ExecIdentity string `yaml:"exec_identity" kind:"path"`
	// Router is where the router answers that leads to apps, http:// or https://. An app's routes are shown as URLs with its
	// scheme and port. May be empty.
	Router URL `yaml:"router_url"`
}

// Temporal says how Temporal is reached.
type Temporal struct {
	// Address is host:port of its frontend.
	Address   string `yaml:"address" env:"TEMPORAL_ADDRESS"`
	Namespace string `yaml:"namespace" env:"TEMPORAL_NAMESPACE"`
	TLS       TLS    `yaml:"tls"`
	// APIKey signs on to Temporal. With it the connection is TLS, always.
	APIKey Secret `yaml:"api_key" env:"TEMPORAL_API_KEY"`
	// EncryptionKeyFile has the keys that encrypt all that crosses Temporal. Required.
	EncryptionKeyFile string `yaml:"encryption_key_file" kind:"path"`
}

// TLS says how the connection is secured. Any field set turns TLS on.
type TLS struct {
	// Enabled turns TLS on with the machine's certificate authorities and no client certificate.
	Enabled bool `yaml:"enabled" env:"TEMPORAL_TLS"`
	// CAFile has the authorities that are trusted instead of the machine's; PEM, like the others.
	CAFile string `yaml:"ca_file" kind:"path" env:"TEMPORAL_TLS_SERVER_CA_CERT_PATH"`
	// CertFile and KeyFile are the client's certificate; both or neither.
	CertFile string `yaml:"cert_file" kind:"path" env:"TEMPORAL_TLS_CLIENT_CERT_PATH"`
	KeyFile  string `yaml:"key_file" kind:"path" env:"TEMPORAL_TLS_CLIENT_KEY_PATH"`
	// ServerName is expected in the server's certificate instead of the address's host.
	ServerName string `yaml:"server_name" env:"TEMPORAL_TLS_SERVER_NAME"`
}

// Files are the files and the name.
func (t TLS) Files() TLSFiles {
	return TLSFiles{CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile, ServerName: t.ServerName}
}

// On says whether the connection is to be TLS, apart from an API key's demand for it.
func (t TLS) On() bool { return t != TLS{} }
