// Serve is the app whose instances are measured: it answers every request at $PORT alike, and needs next to nothing for
// it. Its arguments are for whoever looks for its process.
package main

import (
	"net"
	"os"
)

const answer = "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n"

func main() {
	listener, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		go serve(conn)
	}
}

// serve answers when anything was asked: a probe asks nothing.
func serve(conn net.Conn) {
	defer conn.Close()
	var request [1024]byte
	if n, _ := conn.Read(request[:]); n > 0 {
		_, _ = conn.Write([]byte(answer))
	}
}
