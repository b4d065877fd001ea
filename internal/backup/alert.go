package backup

import "time"

// AlertKind is what an alert is about. One alert per tenant, kind and subject is open at a time.
type AlertKind string

const (
	AlertNotConnected   AlertKind = "not_connected"   // no connector of the tenant is connected
	AlertKeyUnavailable AlertKind = "key_unavailable" // the key's holder refuses or fails
	AlertTaskWaiting    AlertKind = "task_waiting"    // a prerequisite or an approval waits for a person
	AlertImportProblems AlertKind = "import_problems" // entries without mail, two with one mail
	AlertImportRefused  AlertKind = "import_refused"  // the listing failed, broke off or was empty
	AlertRunFailed      AlertKind = "run_failed"
	AlertRunPartial     AlertKind = "run_partial"
	AlertSignalRefused  AlertKind = "decision_refused" // a decision that came as a signal was not accepted
	AlertKeyDrill       AlertKind = "key_drill"        // a source of the key could not prove it in the loss drill
	AlertFlapping       AlertKind = "flapping"         // a connector comes and goes
)

// AlertTitle is the kind in the administrator's words.
func (k AlertKind) Title() string {
	switch k {
	case AlertNotConnected:
		return "Not Connected"
	case AlertKeyUnavailable:
		return "Key Unavailable"
	case AlertTaskWaiting:
		return "Waiting For You"
	case AlertImportProblems:
		return "People With Problems"
	case AlertImportRefused:
		return "Import Refused"
	case AlertRunFailed:
		return "Backup Failed"
	case AlertRunPartial:
		return "Backup Incomplete"
	case AlertSignalRefused:
		return "Decision Refused"
	case AlertKeyDrill:
		return "Key Drill Failed"
	case AlertFlapping:
		return "Connector Unsteady"
	}
	return string(k)
}

// Alert is something a person should know.
type Alert struct {
	ID     int64     `json:"id,omitempty"`
	Tenant string    `json:"tenant"`
	Kind   AlertKind `json:"kind"`
	// Subject tells two alerts of a kind apart: a task, a directory, an app.
	Subject string `json:"subject"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Times counts how often it was raised; Raised is the first time, Last the latest.
	Times    int       `json:"times,omitempty"`
	Raised   time.Time `json:"raised,omitzero"`
	Last     time.Time `json:"last,omitzero"`
	Resolved time.Time `json:"resolved,omitzero"`
	// MutedUntil is until when nobody is told of it again; it stays open and counted.
	MutedUntil time.Time `json:"mutedUntil,omitzero"`
}
