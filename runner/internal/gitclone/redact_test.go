package gitclone

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRedactedIsAllThatIsSecret(t *testing.T) {
	t.Parallel()
	const shown = "https://host/x"
	tests := map[string]struct{ url, said, told string }{
		"the URL": {
			"https://u5er:p4ss@host/x?key=v4lue", "fatal: unable to access 'https://u5er:p4ss@host/x?key=v4lue/'\n",
			"fatal: unable to access 'https://host/x/'\n",
		},
		"parts of it": {
			"https://u5er:p4ss@host/x?key=v4lue", "u5er, u5ers, p4ss, key=v4lue, v4lue, u5er:p4ss@host",
			"[hidden], u5ers, [hidden], [hidden], [hidden], host",
		},
		"as it is meant":    {"https://u%40er:p%2Fss@host/x", "u@er p/ss p%2Fss u%40er", "[hidden] [hidden] [hidden] [hidden]"},
		"an @ within":       {"https://user:p@ss@host/x", "p@ss https://user:p@ss@host/y", "[hidden] https://host/y"},
		"another's":         {"https://host/x", "'https://a:b@other/y' 'ssh://c@other/z?q=r'", "'https://other/y' 'ssh://other/z'"},
		"short":             {"https://u:p@host/x", "up https://u:p@host/x", "up https://host/x"},
		"everybody's":       {"https://git:t0ken@host/x.git", "git fetch x.git with t0ken", "git fetch x.git with [hidden]"},
		"the short form":    {"git@host:x/y", "git@host: Permission denied; git@host:x/y", "host: Permission denied; https://host/x"},
		"ssh":               {"ssh://deploy@host/x", "deploy@host: no; deploying", "host: no; deploying"},
		"no text":           {"https://u5er:p4ss@host/x", "\xff\x1b[1mp4ss\x1b[0m\r\x00", "\xff\x1b[1m[hidden]\x1b[0m\r\x00"},
		"the machine's dir": {"https://host/x", "into '/depot/1/tmp/y'", "into '/tmp/y'"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRedactor(Clone{URL: test.url, Shown: shown, Hidden: "/depot/1"})
			require.Equal(t, test.told, string(r.apply([]byte(test.said))))
		})
	}
}

func TestReasonsOfWhatServersSay(t *testing.T) {
	t.Parallel()
	for said, reason := range map[string]Reason{
		"remote: Repository not found.\nfatal: repository 'https://github.com/a/b/' not found":                                                                                   NotFound,
		"ERROR: Repository not found.\nfatal: Could not read from remote repository.":                                                                                            NotFound,
		"remote: The project you were looking for could not be found or you don't have permission to view it.":                                                                   NotFound,
		"remote: HTTP Basic: Access denied\nfatal: Authentication failed for 'https://gitlab.com/a/b.git/'":                                                                      Refused,
		"git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.":                                                                          Refused,
		"fatal: could not read Username for 'https://github.com': terminal prompts disabled":                                                                                     Refused,
		"fatal: unable to access 'https://x/': Could not resolve host: x":                                                                                                        Unreachable,
		"fatal: unable to access 'https://x/': The requested URL returned error: 502":                                                                                            Unreachable,
		"ssh: connect to host x port 22: Connection timed out":                                                                                                                   Unreachable,
		"fatal: unable to access 'https://x/': SSL certificate problem: self-signed certificate":                                                                                 Distrusted,
		"Host key verification failed.\nfatal: Could not read from remote repository.":                                                                                           Distrusted,
		"fatal: Remote branch x not found in upstream origin":                                                                                                                    NoRef,
		"error: Server does not allow request for unadvertised object 1\nfatal: Fetched in submodule path 'x', but it did not contain 1. Direct fetching of that commit failed.": NoRef,
		"fatal: transport 'ext' not allowed":                                                                                                                                     Forbidden,
		"error: RPC failed; curl 18 transfer closed with x remaining":                                                                                                            Unknown,
	} {
		require.Equal(t, reason, reasonOf([]byte(said)), said)
	}
}
