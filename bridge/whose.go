package bridge

import (
	"context"
	"sync"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// whose asks W&B whose the program's key is, once for each server: runs that
// name no entity go to that one's default. Nobody waits for the answer.
//
// ConcurrentSafe: by a lock.
type whose struct {
	client func(host string) (*wandb.Client, error) // nil client: there is no key

	mu     sync.Mutex // guards everything below
	entity map[string]string
	asked  map[string]bool
	cancel []context.CancelFunc
	down   bool
	work   sync.WaitGroup
}

// of is the entity of a server's runs that name none; "" as long as it is not
// known.
func (w *whose) of(host string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.asked[host] && !w.down && w.client != nil {
		if w.asked == nil {
			w.asked, w.entity = map[string]bool{}, map[string]string{}
		}
		w.asked[host] = true
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		w.cancel = append(w.cancel, cancel)
		w.work.Go(func() {
			defer cancel()
			w.ask(ctx, host)
		})
	}
	return w.entity[host]
}

// ask asks. That there is no answer is no trouble: the run's page is just not known.
func (w *whose) ask(ctx context.Context, host string) {
	client, err := w.client(host)
	if err != nil || client == nil {
		return
	}
	viewer, err := client.Viewer(ctx)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entity[host] = viewer.Entity
}

// shutdown ends what is asked.
func (w *whose) shutdown() {
	w.mu.Lock()
	w.down = true
	for _, cancel := range w.cancel {
		cancel()
	}
	w.mu.Unlock()
	w.work.Wait()
}
