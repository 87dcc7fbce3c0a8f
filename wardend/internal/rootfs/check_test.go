package rootfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func details(r *Report) string {
	var all strings.Builder
	for _, f := range r.Findings {
		all.WriteString(string(f.Status) + ": " + f.What + " " + f.Detail + "\n")
	}
	return all.String()
}

// usable makes a directory that can be a rootfs, with this program as its shell.
func usable(t *testing.T, with map[string]string) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	files := map[string]string{
		passwdFile: madePasswd, groupFile: madeGroup, "usr/bin/bash": string(self[:4096]), "bin": "->usr/bin",
		resolvFile: "nameserver 192.0.2.1\n", "home/vcap/x": "", "proc/x": "", "dev/x": "", "sys/x": "",
	}
	for name, content := range with {
		files[name] = content
		if content == "" {
			delete(files, name)
		}
	}
	dir := layer(t, files)
	if _, err := os.Stat(filepath.Join(dir, "usr/bin/bash")); err == nil {
		require.NoError(t, os.Chmod(filepath.Join(dir, "usr/bin/bash"), 0o755))
	}
	return dir
}

func TestCheck(t *testing.T) {
	good := usable(t, nil)
	report, err := Check([]string{good})
	require.NoError(t, err)
	require.True(t, report.Usable, details(report))
	require.Equal(t, vcap(), *report.User)
	require.Contains(t, details(report), "ok: program /bin/bash found at "+good+"/usr/bin/bash")
	require.Contains(t, details(report), "warning: directory /tmp is missing")

	droplet := layer(t, map[string]string{"home/vcap/app/x": ""})
	report, err = Check([]string{droplet, good})
	require.NoError(t, err)
	require.True(t, report.Usable, details(report))
	report, err = Check([]string{droplet})
	require.NoError(t, err)
	require.False(t, report.Usable)
	require.Contains(t, details(report), "failed: user vcap is missing; add the lines")
}

func TestCheckFinds(t *testing.T) {
	for words, with := range map[string]map[string]string{
		"user vcap has uid 0":                   {passwdFile: "vcap:x:0:0::/:\nroot:x:0:0::/root:\n"},
		"user root is missing":                  {passwdFile: "vcap:x:1:1::/home/vcap:\n"},
		"user root has uid 9 in place of 0":     {passwdFile: "vcap:x:1:1::/home/vcap:\nroot:x:9:9::/:\n"},
		"user vcap cannot be told":              {passwdFile: "vcap:x:x:0::/:\n"},
		"program /bin/bash cannot be found":     {"usr/bin/bash": ""},
		"program /bin/bash is no program":       {"usr/bin/bash": "words"},
		"program /bin/bash is no file":          {"usr/bin/bash": "", "usr/bin/bash/x": "x"},
		"for another kind of machine":           {"usr/bin/bash": "\x7fELF\x02\x01" + strings.Repeat("\x00", 12) + "\xfe\xca"},
		"directory /home/vcap is missing; cont": {"home/vcap/x": ""},
		"jobs start there, and it is no":        {"home/vcap/x": "", "home/vcap": "file"},
		"directory /proc is no directory":       {"proc/x": "", "proc": "file"},
		"file /etc/resolv.conf cannot be read":  {resolvFile: "->resolv.conf"},
		"directory /dev cannot be looked at":    {"dev/x": "", "dev": "->dev"},
		"directory /tmp has mode 0755":          {"tmp/x": "x"},
		"directory /home/vcap belongs to uid":   {passwdFile: "vcap:x:4321:1::/home/vcap:\nroot:x:0:0::/root:\n"},
	} {
		report, err := Check([]string{usable(t, with)})
		require.NoError(t, err)
		require.Contains(t, details(report), words)
	}
}

func TestCheckModes(t *testing.T) {
	for words, shut := range map[string]string{
		"failed: program /bin/bash not everybody may run it": "usr/bin/bash", "failed: program /bin/bash not everybody may enter": "usr",
		"warning: layer ": "",
	} {
		dir := usable(t, nil)
		require.NoError(t, os.Chmod(filepath.Join(dir, shut), 0o700))
		report, err := Check([]string{dir})
		require.NoError(t, err)
		require.Contains(t, details(report), words)
	}
}

func TestCheckLayers(t *testing.T) {
	file := filepath.Join(layer(t, map[string]string{"f": "x"}), "f")
	for words, layers := range map[string][]string{
		"is no absolute path": {"relative"},
		"no such file":        {"/no/such/dir"},
		"is no directory":     {file},
		"a rootfs has 1 to ":  nil,
	} {
		report, err := Check(layers)
		require.NoError(t, err)
		require.False(t, report.Usable)
		require.Contains(t, details(report), words)
	}
}

func TestResolvConf(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"as it is":     {map[string]string{"etc/resolv.conf": "# words\nnameserver 192.0.2.1\nnameserver 192.0.2.1 \n"}, "nameserver 192.0.2.1\nnameserver 192.0.2.1\n"},
		"three":        {map[string]string{"etc/resolv.conf": strings.Repeat("nameserver 192.0.2.1\n", 9)}, strings.Repeat("nameserver 192.0.2.1\n", 3)},
		"behind stubs": {map[string]string{"etc/resolv.conf": "nameserver 127.0.0.53\n", "run/systemd/resolve/resolv.conf": "nameserver 192.0.2.2\n"}, "nameserver 192.0.2.2\n"},
		"link":         {map[string]string{"etc/resolv.conf": "->../run/systemd/resolve/resolv.conf", "run/systemd/resolve/resolv.conf": "nameserver 192.0.2.2\n"}, "nameserver 192.0.2.2\n"},
		"none":         {nil, ""},
		"out of reach": {map[string]string{"etc/resolv.conf": "nameserver ::1\nnameserver 2001:db8::1\nnameserver 0.0.0.0\nnameserver 127.0.0.1\nnameserver words\nnameserver\nsearch x\n"}, ""},
		"options":      {map[string]string{"etc/resolv.conf": "nameserver 192.0.2.1\noptions ndots:2 edns0\nsearch a.example b.example `x`\nsortlist 1\n"}, "nameserver 192.0.2.1\noptions ndots:2 edns0\nsearch a.example b.example\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok, err := ResolvConf(layer(t, c.files))
			require.NoError(t, err)
			require.Equal(t, c.want != "", ok)
			if ok {
				require.Equal(t, c.want, got)
			} else {
				require.Equal(t, "# "+noServers+"\n", got)
			}
		})
	}
}
