package codec

import (
	"net/http"
	"slices"

	"go.temporal.io/sdk/converter"
)

// maxHandlerBody bounds a request: Temporal's own limit of a message is 4 MB, and base64 adds a third.
const maxHandlerBody = 16 << 20

// Handler is a codec server: POST /encode and /decode, for Temporal's UI and command line. Pages of allowedOrigins
// (scheme://host[:port], compared exactly; "*" is no origin and allows nothing) may use it from a browser; a request
// from any other origin is refused. A request without an origin comes from a program, not a page, and is served: whoever
// mounts the handler decides who can reach it.
func Handler(ring *Keyring, allowedOrigins []string) http.Handler {
	payloads := converter.NewPayloadCodecHTTPHandler(ring.Codec())
	origins := slices.Clone(allowedOrigins)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Origin")
		// Decoded payloads must not stay in a cache on the disk.
		w.Header().Set("Cache-Control", "no-store")
		if origin := r.Header.Get("Origin"); origin != "" {
			if origin == "*" || !slices.Contains(origins, origin) {
				http.Error(w, "this origin may not use the codec server", http.StatusForbidden)
				return
			}
			w.Header().Set("Access-Control-Allow-Origin", origin)
		}
		if r.Method == http.MethodOptions {
			w.Header().Set("Access-Control-Allow-Methods", "POST, OPTIONS")
			w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Namespace, Authorization-Extras")
			w.Header().Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxHandlerBody)
		payloads.ServeHTTP(w, r)
	})
}
