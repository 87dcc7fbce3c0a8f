package web

import (
	"fmt"
	"net"
	"strconv"

	"github.com/temporalio/ui-server/v2/server"
	"github.com/temporalio/ui-server/v2/server/config"
	"github.com/temporalio/ui-server/v2/server/server_options"
)

// UIOptions say what Temporal's UI shows and where.
type UIOptions struct {
	// Address is host:port to listen on.
	Address string
	// Temporal is host:port of the frontend's gRPC API.
	Temporal string
	// Namespace is the one that is shown first.
	Namespace string
	// Codec is the URL of the codec server that the browser decodes payloads with.
	Codec string
}

// UI is Temporal's UI.
type UI struct {
	server *server.Server
	done   chan error
}

// StartUI serves the UI. It returns at once: ask WaitAnswer. The UI ends the whole process when it cannot listen, so
// the port must be known to be free.
func StartUI(options UIOptions) (*UI, error) {
	host, text, err := net.SplitHostPort(options.Address)
	if err != nil {
		return nil, fmt.Errorf("address of the UI: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("port of the UI: %w", err)
	}
	made := server.NewServer(server_options.WithConfigProvider(&config.Config{
		TemporalGRPCAddress: options.Temporal,
		Host:                host,
		Port:                port,
		EnableUI:            true,
		DefaultNamespace:    options.Namespace,
		HideLogs:            true,
		// It asks nobody outside for news or versions.
		DisableNewsFetch: true,
		Codec:            config.Codec{Endpoint: options.Codec},
		// Without TLS the browser takes only cookies that need none.
		CORS: config.CORS{CookieInsecure: true},
	}))
	ui := &UI{server: made, done: make(chan error, 1)}
	go func() { ui.done <- made.Start() }()
	return ui, nil
}

// Stop ends the UI.
func (u *UI) Stop() error {
	u.server.Stop()
	return <-u.done
}
