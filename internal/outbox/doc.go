// Package outbox knows where a program's events wait for its collector, and what
// is sent of them. The bridge fills and empties the outbox of its program; the
// tool empties those that killed programs have left.
//
//	$WANDB_DIR/wandb/outbox/          a root, see [Root]
//	└ 1f0c52aa/                       one collector's, see [Name]
//	  ├ 3f9a…/                        one process's: package spool
//	  └ refused-3f9a…-000001.otlp     a request that its collector never took
package outbox
