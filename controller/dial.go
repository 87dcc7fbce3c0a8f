package controller

import (
	"context"
	"errors"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/codec"
	"github.com/durable-dea/dea/internal/connection"
)

// Options say where the platform is.
type Options struct {
	// Temporal is where its server is and the file of the keys that all of the installation shares.
	Temporal config.Temporal
	// Log takes what Temporal's client has to say; nil drops it.
	Log hclog.Logger
}

// Dial connects to the platform; the caller closes what it gets. Fails with ErrUnreachable when Temporal does not
// answer, ErrRefused when it does not let the client in, ErrNotSetUp for a keys' file that cannot be used.
func Dial(ctx context.Context, o Options) (*Client, error) {
	log := o.Log
	if log == nil {
		log = hclog.NewNullLogger()
	}
	temporal, err := connection.Dial(ctx, o.Temporal, log)
	if err != nil {
		return nil, dialError(ctx, o.Temporal.Address, err)
	}
	keyring, err := codec.LoadKeyring(o.Temporal.EncryptionKeyFile)
	if err != nil {
		temporal.Close()
		return nil, dialError(ctx, o.Temporal.Address, err)
	}
	c := New(temporal, keyring, WithNamespace(o.Temporal.Namespace))
	c.own = true
	return c, nil
}

// dialError keeps the connection's own words: they say what to do.
func dialError(ctx context.Context, address string, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled
	case errors.Is(err, connection.ErrUnreachable):
		return &Error{ErrUnreachable, "Temporal's server at " + address + " does not answer", nextUnreachable, err}
	case errors.Is(err, connection.ErrRefused):
		return &Error{ErrRefused, err.Error(), "", err}
	default:
		return &Error{ErrNotSetUp, err.Error(), "", err}
	}
}
