//! Random histories of `bodies/client.rs`; the committed ones are run by `histories.rs`.

use super::bodies::client::{Chaos, Ends, Seeded};
use super::*;

#[test]
fn whatever_a_server_says_every_request_has_its_end() {
    let mut ends = Ends::default();
    for seed in 1..2_000 {
        let mut chaos = Chaos::new(Seeded::new(seed), HashKey::new([1; 16]));
        for _ in 0..200 {
            chaos.step();
        }
        chaos.end();
        ends.ready += chaos.ends.ready;
        ends.failed += chaos.ends.failed;
        ends.regained += chaos.ends.regained;
        ends.lost += chaos.ends.lost;
        ends.restored += chaos.ends.restored;
    }
    println!("{ends:?}");
    let Ends { ready, failed, regained, lost, restored } = ends;
    for times in [ready, failed, regained, lost, restored] {
        assert!(times > 500, "{ends:?}");
    }
}
