package directory

import (
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// format is how a listing is answered.
type format string

const (
	asText format = "text"
	asJSON format = "json"
	asHTML format = "html"
)

// errBadFormat refuses a format that there is not.
var errBadFormat = errors.New("format is not text, json or html")

// formatOf is the format that a request names, else the one that its Accept header likes best, else text.
func formatOf(r *http.Request) (format, error) {
	if query := r.URL.Query(); query.Has(paramFormat) {
		switch f := format(query.Get(paramFormat)); f {
		case asText, asJSON, asHTML:
			return f, nil
		default:
			return "", errBadFormat
		}
	}
	return accepted(r.Header.Values("Accept")), nil
}

// accepted is the best liked of the formats, the one named first of several that are liked alike. What is no media type is
// passed over.
func accepted(headers []string) format {
	best, liking := asText, 0.0
	for media := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		kind, params, err := mime.ParseMediaType(media)
		if err != nil {
			continue
		}
		quality := 1.0
		if q, given := params["q"]; given {
			if quality, err = strconv.ParseFloat(q, 64); err != nil {
				continue
			}
		}
		f, known := map[string]format{
			"text/html": asHTML, "application/json": asJSON, "text/plain": asText, "text/*": asText, "*/*": asText,
		}[kind]
		if known && quality > liking {
			best, liking = f, quality
		}
	}
	return best
}
