package stage

import (
	"strings"
	"testing"
	"time"
)

// What an app's owner or a buildpack writes is refused or read, in no time, and comes to no more than a result holds.
func FuzzProcessTypes(f *testing.F) {
	for _, text := range []string{
		"web: x\n", "{}", "- a", "web: [a", "a: &a {web: x}\n<<: [*a, *a]\n", "web: &a x\nb: *a\n", "a: &a [*a]\n", "? {a: b}\n: c\n",
		"default_process_types:\n  web: 'x'\n", "--- !!map {web: !!binary eA==}\n...\n---\n", "web: |\n  a\n  b\n", "\xff\xfew\x00:\x00",
		strings.Repeat("[", 50), strings.Repeat("{a: ", 50), "%YAML 1.1\n---\nweb: 1_000\n", "web: ~\n1: 2\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > maxProcfile {
			t.Skip()
		}
		begun := time.Now()
		var types processTypes
		_ = parseMap(text, &types)
		if types, err := parseRelease(text); err == nil && types.size() > maxTypes {
			t.Errorf("%d bytes came through", types.size())
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
