package rootfs

import (
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// maxServers is how many name servers the resolver asks.
const maxServers = 3

// noServers is said when a rootfs is made on a machine whose name servers no container can reach.
const noServers = "no name server of this machine can be reached from a container: write one into etc/resolv.conf of the rootfs"

// resolvFiles are where this machine's name servers stand: the usual file, and the one that systemd-resolved writes
// for those that cannot ask its own server at 127.0.0.53.
func resolvFiles() []string {
	return []string{"etc/resolv.conf", "run/systemd/resolve/resolv.conf"}
}

// ResolvConf gives the resolv.conf of a container: of the first of the machine's files that names any server which a
// container can reach. Without one the content is a comment that says so, and ok is false. From is the machine's root
// directory. It fails when a file is there and cannot be read.
func ResolvConf(from string) (content string, ok bool, err error) {
	for _, name := range resolvFiles() {
		raw, err := readSmall(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", false, err
		}
		if content, ok := filterResolv(raw); ok {
			return content, true, nil
		}
	}
	return "# " + noServers + "\n", false, nil
}

func readSmall(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile))
	return string(raw), err
}

// filterResolv keeps what means the same in a container: IPv4 servers that are not the machine itself (a container
// has no IPv6, and its 127.0.0.0/8 is its own), the search list and the options.
func filterResolv(raw string) (content string, ok bool) {
	word := regexp.MustCompile(`^[A-Za-z0-9._:-]+$`)
	var lines []string
	servers := 0
	for line := range strings.Lines(raw) {
		fields := strings.Fields(line)
		if len(fields) < 2 { //nolint:mnd // a keyword and a value
			continue
		}
		switch fields[0] {
		case "nameserver":
			if servers < maxServers && reachable(fields[1]) {
				lines = append(lines, "nameserver "+fields[1])
				servers++
			}
		case "search", "domain", "options":
			kept := fields[:1]
			for _, f := range fields[1:] {
				if word.MatchString(f) {
					kept = append(kept, f)
				}
			}
			if len(kept) > 1 {
				lines = append(lines, strings.Join(kept, " "))
			}
		}
	}
	if servers == 0 {
		return "", false
	}
	return strings.Join(lines, "\n") + "\n", true
}

func reachable(server string) bool {
	address, err := netip.ParseAddr(server)
	return err == nil && address.Is4() && !address.IsLoopback() && !address.IsUnspecified() && !address.IsMulticast()
}
