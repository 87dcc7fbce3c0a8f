// Package bus runs the NATS server by which nodes tell routers where instances answer.
package bus

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/durable-dea/dea/config"
)

// user is the one name that is let in.
const user = "dea"

// readyWithin is how long the server may take to listen, which is all that it does at its start.
const readyWithin = 10 * time.Second

// Options say where the server listens and whom it lets in.
type Options struct {
	// Address is host:port.
	Address string
	// PasswordFile keeps the password that clients need, for its owner alone; made where it is not there.
	PasswordFile string
	Log          hclog.Logger
}

// Server is a NATS server that runs. It keeps nothing: who was not connected has not heard.
type Server struct {
	server *server.Server
	url    config.URL
}

// Start starts the server and returns when clients can connect.
func Start(o Options) (*Server, error) {
	host, text, err := net.SplitHostPort(o.Address)
	if err != nil {
		return nil, fmt.Errorf("address of NATS: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("port of NATS: %w", err)
	}
	password, err := loadPassword(o.PasswordFile)
	if err != nil {
		return nil, err
	}
	made, err := server.NewServer(&server.Options{
		ServerName: "devserver", Host: host, Port: port, Username: user, Password: password, NoSigs: true,
	})
	if err != nil {
		return nil, fmt.Errorf("make the NATS server: %w", err)
	}
	made.SetLogger(logger{o.Log}, o.Log.IsDebug(), false)
	made.Start()
	address := url.URL{Scheme: "nats", User: url.UserPassword(user, password), Host: o.Address}
	s := &Server{server: made, url: config.URL(address.String())}
	if !made.ReadyForConnections(readyWithin) {
		s.Stop()
		return nil, fmt.Errorf("NATS does not listen on %s: its log has the reason", o.Address)
	}
	return s, nil
}

// URL is where clients connect, with user and password.
func (s *Server) URL() config.URL { return s.url }

// Stop closes every connection and ends the server.
func (s *Server) Stop() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

// loadPassword reads the password, or makes one where there is none.
func loadPassword(file string) (string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		password := rand.Text()
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			return "", fmt.Errorf("keep the password of NATS: %w", err)
		}
		return password, nil
	}
	if err != nil {
		return "", fmt.Errorf("read the password of NATS: %w", err)
	}
	password := strings.TrimSpace(string(text))
	if password == "" {
		return "", fmt.Errorf("%s holds no password: remove it for a new one", file)
	}
	return password, nil
}

// logger has the server log to ours.
type logger struct{ log hclog.Logger }

func (l logger) Noticef(format string, args ...any) { l.log.Info(fmt.Sprintf(format, args...)) }
func (l logger) Warnf(format string, args ...any)   { l.log.Warn(fmt.Sprintf(format, args...)) }
func (l logger) Errorf(format string, args ...any)  { l.log.Error(fmt.Sprintf(format, args...)) }
func (l logger) Debugf(format string, args ...any)  { l.log.Debug(fmt.Sprintf(format, args...)) }
func (l logger) Tracef(format string, args ...any)  { l.log.Trace(fmt.Sprintf(format, args...)) }

// Fatalf is for what keeps the server from running, such as a port in use. It does not end the process: Start tells.
func (l logger) Fatalf(format string, args ...any) { l.log.Error(fmt.Sprintf(format, args...)) }
