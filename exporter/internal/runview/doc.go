// Package runview reads run logs back: it finds the parts of runs below a
// directory and replays those of one run as W&B's own sync would.
//
//	List ─► parts ─► Group ─► the parts of each run ─► Read ─► Run
//
//	part 1   run  config  rows 0…99    summary  exit │
//	part 2                 run  config  rows 100…    │ summary  exit
//	         └─ rows and console append; config and summary of the later replace ─┘
//
// The one idea: what is read here is what W&B would get. Reading is strict, it
// ends at the first damage, and what lies behind an exit record is only counted.
//
// The package owns nothing and writes nothing. It reads logs while they are
// written, by this module or by W&B's own client.
package runview
