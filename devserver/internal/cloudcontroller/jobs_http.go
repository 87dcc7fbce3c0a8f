package cloudcontroller

import (
	"net/http"
	"time"
)

// jobBody is the wire's form of a job.
type jobBody struct {
	Metadata jobMetadata `json:"metadata"`
	Entity   jobEntity   `json:"entity"`
}

type jobMetadata struct {
	GUID      string    `json:"guid"`
	CreatedAt time.Time `json:"created_at"`
	URL       string    `json:"url"`
}

type jobEntity struct {
	GUID         string     `json:"guid"`
	Status       jobStatus  `json:"status"`
	ErrorDetails *errorBody `json:"error_details,omitempty"`
}

func (s *Server) jobBody(r *http.Request, j job) jobBody {
	return jobBody{
		Metadata: jobMetadata{GUID: j.GUID, CreatedAt: j.CreatedAt, URL: s.urlFor(r, "/staging/jobs/"+j.GUID)},
		Entity:   jobEntity{GUID: j.GUID, Status: j.Status, ErrorDetails: j.Failure},
	}
}

func (s *Server) getJob(w http.ResponseWriter, r *http.Request) error {
	j, ok := s.jobs.get(r.PathValue("guid"))
	if !ok {
		return notFound("The job")
	}
	return writeJSON(w, http.StatusOK, s.jobBody(r, j))
}
