// Package tlsfiles makes a client's TLS configuration of files that an operator names.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/durable-dea/dea/config"
)

// Load makes the configuration of a client that speaks TLS 1.2 at least. section is where in the configuration files are
// named, for the words of an error, as "temporal.tls".
func Load(section string, files config.TLSFiles) (*tls.Config, error) {
	security := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: files.ServerName}
	if files.CAFile != "" {
		pem, err := os.ReadFile(files.CAFile)
		if err != nil {
			return nil, fmt.Errorf("%s.ca_file: %w", section, err)
		}
		security.RootCAs = x509.NewCertPool()
		if !security.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s.ca_file: %s holds no certificate in PEM form", section, files.CAFile)
		}
	}
	if files.CertFile != "" || files.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("%s.cert_file and key_file: %w", section, err)
		}
		security.Certificates = []tls.Certificate{pair}
	}
	return security, nil
}
