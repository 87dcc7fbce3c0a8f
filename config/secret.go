package config

import (
	"fmt"
	"net/url"
	"strconv"
)

const hidden = "***"

// Secret is a text that is never shown: every verb of fmt, JSON and YAML give "***" (nothing, when it is empty).
// fmt cannot see this inside an unexported field, so keep a Secret in exported fields only.
type Secret string

// Reveal gives the text itself, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// String hides the text.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// Format hides the text from all verbs, also from wrong ones, which would print the bare value.
func (s Secret) Format(f fmt.State, verb rune) { formatHidden(f, verb, s.String()) }

// MarshalJSON hides the text.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(s.String())), nil }

// MarshalText hides the text from loggers and from whatever else writes texts. encoding/json does not ask it for the
// key of a map: a Secret is no key.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML hides the text.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// URL is an address that may hold a user's name and password. Printed, in JSON and in YAML it shows neither the
// password nor the query's values.
type URL string

// Reveal gives the whole address, for the one place that needs it.
func (u URL) Reveal() string { return string(u) }

// String is Redact of the address.
func (u URL) String() string { return Redact(string(u)) }

// Format shows the redacted address whatever the verb.
func (u URL) Format(f fmt.State, verb rune) { formatHidden(f, verb, u.String()) }

// MarshalJSON gives the redacted address.
func (u URL) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(u.String())), nil }

// MarshalText gives the redacted address.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// MarshalYAML gives the redacted address.
func (u URL) MarshalYAML() (any, error) { return u.String(), nil }

// Redact hides what is secret in an address: the password, the whole user when it stands alone (it is a token then),
// and the values of the query, where signatures stand. What cannot be read as an address is hidden whole.
func Redact(address string) string {
	if address == "" {
		return ""
	}
	u, err := url.Parse(address)
	if err != nil || u.Opaque != "" {
		return hidden
	}
	if u.User != nil {
		if _, set := u.User.Password(); set {
			u.User = url.UserPassword(u.User.Username(), "xxxxx")
		} else {
			u.User = url.User("xxxxx")
		}
	}
	if u.RawQuery != "" {
		q := u.Query()
		for name, values := range q {
			for i := range values {
				values[i] = "xxxxx"
			}
			q[name] = values
		}
		u.RawQuery = q.Encode()
	}
	return u.String()
}

func formatHidden(f fmt.State, verb rune, shown string) {
	if verb == 'q' || f.Flag('#') {
		shown = strconv.Quote(shown)
	}
	_, _ = f.Write([]byte(shown)) // fmt keeps the error of its writer itself
}
