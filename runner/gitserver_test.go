package main_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/durable-dea/dea/internal/gittest"
)

// repositories are those of gittest, served also in ways that only the runner's tests need.
type repositories struct{ *gittest.Repositories }

func newRepositories(t *testing.T) *repositories {
	t.Helper()
	return &repositories{gittest.New(t)}
}

// WriteTo makes files a gittest.Content.
func (f files) WriteTo(t *testing.T, dir string) {
	t.Helper()
	writeFiles(t, dir, f)
}

// serve starts an HTTP server and gives its host and port.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// listen has every connection handled until the test ends. It gives host and port.
func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer connection.Close()
				handle(connection)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		all.Wait()
	})
	return listener.Addr().String()
}

// daemon serves git's own protocol, by git's own daemon.
func (r *repositories) daemon(t *testing.T) string {
	t.Helper()
	return listen(t, func(connection net.Conn) {
		cmd := exec.Command("git", "daemon", "--inetd", "--export-all", "--base-path="+r.Root)
		cmd.Env = gittest.Env()
		end, err := connection.(*net.TCPConn).File()
		if err != nil {
			return
		}
		defer end.Close()
		cmd.Stdin, cmd.Stdout = end, end
		_ = cmd.Run()
	})
}

// secureShell is an ssh server that knows git-upload-pack alone. It lets in whom allow does.
func (r *repositories) secureShell(t *testing.T, config *ssh.ServerConfig) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	config.AddHostKey(signer)
	return listen(t, func(connection net.Conn) {
		server, channels, requests, err := ssh.NewServerConn(connection, config)
		if err != nil {
			return
		}
		defer server.Close()
		go ssh.DiscardRequests(requests)
		for offered := range channels {
			channel, requests, err := offered.Accept()
			if err != nil {
				return
			}
			r.session(channel, requests)
		}
	})
}

var uploadPack = regexp.MustCompile(`^git-upload-pack '/([\w.-]+)'$`)

func (r *repositories) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for request := range requests {
		if request.Type != "exec" {
			_ = request.Reply(request.Type == "env", nil)
			continue
		}
		var command struct{ Line string }
		_ = ssh.Unmarshal(request.Payload, &command)
		_ = request.Reply(true, nil)
		status := struct{ Code uint32 }{128}
		if found := uploadPack.FindStringSubmatch(command.Line); found != nil {
			status.Code = r.upload(channel, found[1])
		}
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
		return
	}
}

func (r *repositories) upload(channel ssh.Channel, name string) uint32 {
	cmd := exec.Command("git", "upload-pack", filepath.Join(r.Root, name))
	cmd.Env = gittest.Env()
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return 1
	}
	go func() {
		_, _ = io.Copy(stdin, channel)
		_ = stdin.Close()
	}()
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		return uint32(exit.ExitCode())
	}
	return 0
}
