// Package connection opens the way to Temporal, the same for every program of Durable DEA: encrypted payloads and
// failures, TLS, API key, and a logger that writes no payload.
package connection

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc/codes"

	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/codec"
	"github.com/durable-dea/dea/internal/logging"
	"github.com/durable-dea/dea/internal/tlsfiles"
)

// dialTimeout bounds Dial when its context has no deadline.
const dialTimeout = 15 * time.Second

// ErrUnreachable is in the error of a Temporal that does not answer: trying again later may help.
var ErrUnreachable = errors.New("Temporal cannot be reached") //nolint:staticcheck // a name begins the sentence

// ErrRefused is in the error of a Temporal that answers and does not let us in: trying again does not help.
var ErrRefused = errors.New("Temporal refuses the connection") //nolint:staticcheck // a name begins the sentence

// Dial connects to Temporal and asks it what it can, so that a client which is returned has worked once. Without a
// deadline in ctx it takes 15 s at most. Its errors say what to do; errors.Is knows ErrUnreachable, ErrRefused,
// codec.ErrKeyFile and fs.ErrNotExist. Whoever dials closes the client. Each of change may add to its options.
func Dial(ctx context.Context, cfg config.Temporal, log hclog.Logger, change ...func(*client.Options)) (client.Client, error) {
	options, err := Options(cfg, log)
	if err != nil {
		return nil, err
	}
	for _, f := range change {
		f(&options)
	}
	if _, set := ctx.Deadline(); !set {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, dialTimeout)
		defer cancel()
	}
	c, err := client.DialContext(ctx, options)
	if err != nil {
		return nil, explain(ctx, err, cfg)
	}
	return c, nil
}

// Options are what Dial connects with, for a program that needs to add to them (an identity, metrics).
func Options(cfg config.Temporal, log hclog.Logger) (client.Options, error) {
	if cfg.EncryptionKeyFile == "" {
		return client.Options{}, fmt.Errorf("%w: none is set: set temporal.encryption_key_file to the file that the "+
			"whole installation shares", codec.ErrKeyFile)
	}
	ring, err := codec.LoadKeyring(cfg.EncryptionKeyFile)
	if err != nil {
		return client.Options{}, err
	}
	security, err := tlsConfig(cfg)
	if err != nil {
		return client.Options{}, err
	}
	options := client.Options{
		HostPort:          cfg.Address,
		Namespace:         cfg.Namespace,
		Logger:            logging.Temporal(log),
		DataConverter:     ring.DataConverter(),
		FailureConverter:  ring.FailureConverter(),
		ConnectionOptions: client.ConnectionOptions{TLS: security},
	}
	if cfg.APIKey != "" {
		options.Credentials = client.NewAPIKeyStaticCredentials(cfg.APIKey.Reveal())
	}
	return options, nil
}

// tlsConfig is nil for a connection in clear. An API key never goes over one.
func tlsConfig(cfg config.Temporal) (*tls.Config, error) {
	if !cfg.TLS.On() && cfg.APIKey == "" {
		return nil, nil
	}
	return tlsfiles.Load("temporal.tls", cfg.TLS.Files())
}

// explain says what an operator can do about an error of dialing.
func explain(ctx context.Context, err error, cfg config.Temporal) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("connect to Temporal at %s: %w", cfg.Address, ctx.Err())
	}
	switch serviceerror.ToStatus(err).Code() {
	case codes.PermissionDenied, codes.Unauthenticated:
		return fmt.Errorf("%w at %s: check temporal.api_key and temporal.tls: %w", ErrRefused, cfg.Address, err)
	}
	hint := "is it up, and is temporal.address right?"
	if cfg.TLS.On() || cfg.APIKey != "" {
		hint = "is it up, is temporal.address right, and does it speak TLS with a certificate that temporal.tls trusts?"
	}
	return fmt.Errorf("%w at %s: %s: %w", ErrUnreachable, cfg.Address, hint, err)
}
