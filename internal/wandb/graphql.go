package wandb

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
)

// graphQL asks one operation and decodes its data into out. Variables that are
// not set are sent as null, which leaves what W&B has.
func (c *Client) graphQL(ctx context.Context, p policy, op, run, document string, variables, out any) error {
	body, err := json.Marshal(map[string]any{"operationName": op, "query": document, "variables": variables})
	if err != nil {
		return &Error{Op: op, Host: c.base.Host, Run: run, Kind: ErrRefused, Err: err}
	}
	header := c.graphQLH.Clone()
	header.Set("Content-Type", "application/json")
	a, err := c.do(ctx, request{
		op: op, run: run, method: http.MethodPost, url: c.base.String() + "/graphql",
		header: header, body: bytesBody(body), policy: p, ok: exactly200,
		limited: &Call{Op: op, Run: run},
	})
	if err != nil {
		return err
	}
	var answer struct {
		Data   json.RawMessage
		Errors []struct{ Message string }
	}
	fail := func(kind, err error, transient bool) error {
		return &Error{Op: op, Host: c.base.Host, Run: run, Kind: kind, Err: err, Attempts: 1, transient: transient}
	}
	if err := json.Unmarshal(a.body, &answer); err != nil {
		return fail(ErrMalformed, errors.New("not JSON"), true)
	}
	if len(answer.Errors) > 0 { // W&B understood: asking again is of no use
		e := &Error{Op: op, Host: c.base.Host, Run: run, Kind: ErrRefused, Attempts: 1}
		for _, m := range answer.Errors {
			e.Messages = append(e.Messages, cut(m.Message))
		}
		return e
	}
	if err := json.Unmarshal(answer.Data, out); err != nil {
		return fail(ErrMalformed, err, true)
	}
	return nil
}

// malformed is an answer that lacks what it must have.
func (c *Client) malformed(op, run, what string) error {
	return &Error{Op: op, Host: c.base.Host, Run: run, Kind: ErrMalformed, Err: errors.New(what), Attempts: 1, transient: true}
}

// null makes a variable of a text: "" leaves what W&B has.
func null(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
