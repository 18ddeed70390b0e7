package wandb

import (
	"crypto/rand"
	"math/big"
)

const clientIDAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789"

// NewClientID makes the id of one of several writers of a run: 32 characters,
// as W&B's client does.
func NewClientID() string {
	id := make([]byte, 32)
	for i := range id {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(clientIDAlphabet))))
		if err != nil {
			panic(err) // crypto/rand never fails
		}
		id[i] = clientIDAlphabet[n.Int64()]
	}
	return string(id)
}
