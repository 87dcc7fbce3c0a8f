package router

import (
	"net/http"
	"strings"
)

const (
	// sessionCookie is what an app sets to have a client come back to the same instance, and instanceCookie what the
	// router sets beside it, to know which.
	sessionCookie  = "JSESSIONID"
	instanceCookie = "__VCAP_ID__"
)

// sessionOf is the id of the instance that the client's session is at, empty where it has none.
func sessionOf(request *http.Request) string {
	// Few clients have one, and reading cookies takes more than looking for it.
	found := false
	for _, line := range request.Header["Cookie"] {
		found = found || strings.Contains(line, instanceCookie)
	}
	if !found {
		return ""
	}
	instance, session := "", false
	for _, cookie := range request.Cookies() {
		switch {
		case cookie.Name == instanceCookie && instance == "":
			instance = cookie.Value
		case isSession(cookie):
			session = true
		}
	}
	if !session {
		return ""
	}
	return instance
}

func isSession(cookie *http.Cookie) bool {
	return strings.TrimPrefix(cookie.Name, "__Host-") == sessionCookie
}

// stick has the client come back to the instance that began a session with this answer, or that took one over. A cookie of
// the app's own by the router's name is left alone.
func stick(response *http.Response, x *exchange) {
	e := x.endpoint
	moved := x.session != "" && x.session != e.id
	if e.id == "" || (!moved && len(response.Header["Set-Cookie"]) == 0) {
		return
	}
	var begun []*http.Cookie
	for _, cookie := range response.Cookies() {
		if cookie.Name == instanceCookie {
			return
		}
		if isSession(cookie) {
			begun = append(begun, cookie)
		}
	}
	if len(begun) == 0 && moved {
		begun = []*http.Cookie{{}}
	}
	for _, session := range begun {
		cookie := http.Cookie{
			Name: instanceCookie, Value: e.id, Path: x.route.cookiePath, HttpOnly: true, Secure: session.Secure,
			SameSite: session.SameSite, Partitioned: session.Partitioned, MaxAge: session.MaxAge, Expires: session.Expires,
		}
		if text := cookie.String(); text != "" {
			response.Header.Add("Set-Cookie", text)
		}
	}
}
