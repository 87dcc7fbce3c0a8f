package cloudcontroller

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
)

// user is the name that a Cloud Controller's staging endpoints know.
const user = "staging"

const credentialsFile = "credentials.json"

// Credentials let a client in. They print as the user's name alone; the password is only had by asking for it.
type Credentials struct {
	// User is always "staging".
	User string `json:"user"`
	// Password is made at random, once for a store.
	Password string `json:"password"`
}

// Userinfo puts the credentials into a URL.
func (c Credentials) Userinfo() *url.Userinfo { return url.UserPassword(c.User, c.Password) }

// String leaves the password out.
func (c Credentials) String() string { return c.User + ":***" }

// GoString leaves the password out.
func (c Credentials) GoString() string { return c.String() }

// allow compares in a time that tells nothing of how much was right.
func (c Credentials) allow(r *http.Request) bool {
	name, password, ok := r.BasicAuth()
	gotName, wantName := sha256.Sum256([]byte(name)), sha256.Sum256([]byte(c.User))
	gotPassword, wantPassword := sha256.Sum256([]byte(password)), sha256.Sum256([]byte(c.Password))
	same := subtle.ConstantTimeCompare(gotName[:], wantName[:]) &
		subtle.ConstantTimeCompare(gotPassword[:], wantPassword[:])
	return ok && same == 1
}

// loadCredentials reads the store's credentials, or makes them when there are none.
func loadCredentials(s *store) (Credentials, error) {
	info, err := s.root.Stat(credentialsFile)
	if errors.Is(err, fs.ErrNotExist) {
		c := Credentials{User: user, Password: rand.Text()}
		if err := s.putJSON(credentialsFile, c); err != nil {
			return Credentials{}, fmt.Errorf("keep the credentials: %w", err)
		}
		return c, nil
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("look for the credentials: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return Credentials{}, fmt.Errorf("%s is open to others (mode %04o): chmod 600 it, or remove it for new ones",
			credentialsFile, mode)
	}
	text, err := s.root.ReadFile(credentialsFile)
	if err != nil {
		return Credentials{}, fmt.Errorf("read the credentials: %w", err)
	}
	var c Credentials
	// The decoder's error could quote the password.
	if json.Unmarshal(text, &c) != nil || c.User == "" || c.Password == "" {
		return Credentials{}, fmt.Errorf("%s holds no credentials: remove it for new ones", credentialsFile)
	}
	return c, nil
}
