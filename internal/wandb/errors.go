package wandb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// What an Error can be, for errors.Is.
var (
	ErrUnauthorized = errors.New("W&B does not know the credentials")
	ErrForbidden    = errors.New("W&B forbids it to this user")
	ErrNotFound     = errors.New("W&B has no such thing")
	ErrConflict     = errors.New("W&B is at odds with its own state")
	ErrDeleted      = errors.New("W&B had such a run, and it was deleted")
	ErrTooLarge     = errors.New("too large for W&B")
	ErrRateLimited  = errors.New("W&B's rate limit")
	ErrUnavailable  = errors.New("W&B cannot be reached or has trouble")
	ErrRefused      = errors.New("W&B refuses the request")
	ErrMalformed    = errors.New("the answer is none of W&B's")
)

// Error is why a call of W&B failed in the end.
type Error struct {
	Op       string // "UpsertBucket", "file stream", …
	Host     string // of the server
	Run      string // entity/project/run, where it is about one
	Status   int    // of the last answer; 0 where there was none
	Messages []string
	Attempts int
	Kind     error // one of the Err… of this package
	Err      error // the cause below, if any

	transient bool
}

// Transient tells whether the same call may succeed later, though nobody
// changes anything. A fatal one will not.
func (e *Error) Transient() bool { return e.transient }

// IsTransient tells whether err is worth another try later. Errors that are
// not W&B's are not.
func IsTransient(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Transient()
}

// Is finds the kind.
func (e *Error) Is(target error) bool { return e.Kind == target }

func (e *Error) Unwrap() error { return e.Err }

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("wandb: " + e.Op)
	if e.Run != "" {
		b.WriteString(" of " + e.Run)
	}
	b.WriteString(" at " + e.Host)
	if e.Attempts > 1 {
		fmt.Fprintf(&b, ", %d times", e.Attempts)
	}
	b.WriteString(": ")
	switch {
	case e.Status != 0:
		fmt.Fprintf(&b, "%d %s", e.Status, http.StatusText(e.Status))
	case e.Err == nil:
		b.WriteString(e.Kind.Error())
	}
	for _, m := range e.Messages {
		b.WriteString(": " + m)
	}
	if e.Err != nil {
		if e.Status != 0 {
			b.WriteString(": ")
		}
		b.WriteString(e.Err.Error())
	}
	if remedy := e.Remedy(); remedy != "" {
		b.WriteString(": " + remedy)
	}
	return b.String()
}

// remedies by kind; HOST is the server.
var remedies = map[error]string{
	ErrUnauthorized: "give an API key of HOST, in WANDB_API_KEY, the configuration or netrc",
	ErrForbidden:    "let the owner of the entity give this key's user access, or set another entity or project",
	ErrNotFound:     "check host, entity and project; an entity must exist, and the id of a deleted run is gone for good",
	ErrConflict:     "see that nobody else writes to this run",
	ErrDeleted:      "restore it at W&B, or upload it under another id",
	ErrTooLarge:     "log less in one row: W&B takes lines up to 10 MB",
	ErrRateLimited:  "it goes on by itself; send less often, or fewer runs at once, to go faster",
	ErrUnavailable:  "check the network and HOST",
	ErrMalformed:    "see whether a proxy or a login page answers in place of HOST",
}

// Remedy is what a person can do about it.
func (e *Error) Remedy() string {
	switch {
	case errors.Is(e.Err, context.Canceled):
		return ""
	case e.Status >= 300 && e.Status < 400:
		return "the server is elsewhere: set the host to the address it names"
	}
	if remedy, ok := remedies[e.Kind]; ok {
		return strings.ReplaceAll(remedy, "HOST", e.Host)
	}
	return ""
}

// kindOf is what a status says.
func kindOf(status int) error {
	switch {
	case status == http.StatusUnauthorized:
		return ErrUnauthorized
	case status == http.StatusForbidden:
		return ErrForbidden
	case status == http.StatusNotFound || status == http.StatusGone:
		return ErrNotFound
	case status == http.StatusConflict:
		return ErrConflict
	case status == http.StatusRequestEntityTooLarge:
		return ErrTooLarge
	case status == http.StatusTooManyRequests:
		return ErrRateLimited
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly ||
		status >= 500 && status != http.StatusNotImplemented:
		return ErrUnavailable
	case status >= 400:
		return ErrRefused
	default:
		return ErrMalformed
	}
}

// deletedMessage is how W&B refuses to make a run whose id a deleted one had.
// Its status is 409 (400 in old servers), which an upsert would try again.
const deletedMessage = "previously created and deleted"

// isDeleted tells whether an answer says so.
func isDeleted(status int, messages []string) bool {
	return status >= 400 && status < 500 &&
		slices.ContainsFunc(messages, func(m string) bool { return strings.Contains(m, deletedMessage) })
}

// maxMessage bounds what of an answer gets into an error.
const maxMessage = 500

// messagesOf reads the forms in which W&B says what is wrong.
func messagesOf(body []byte) []string {
	var answer struct {
		Errors []struct{ Message string }
		Error  json.RawMessage
	}
	if json.Unmarshal(body, &answer) != nil {
		text := strings.Join(strings.Fields(string(body)), " ")
		if text == "" {
			return nil
		}
		return []string{cut(text)}
	}
	var messages []string
	for _, e := range answer.Errors {
		messages = append(messages, cut(e.Message))
	}
	var text string
	var nested struct{ Message string }
	switch {
	case json.Unmarshal(answer.Error, &text) == nil && text != "":
		messages = append(messages, cut(text))
	case json.Unmarshal(answer.Error, &nested) == nil && nested.Message != "":
		messages = append(messages, cut(nested.Message))
	}
	return messages
}

func cut(text string) string {
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}
