//! A small world and one operation in it, judged by the machine and by the model.

use super::steps::{FILES, Octets, Step};
use super::world::World;

/// How many CREATEs at most make the world.
const HOLDERS: u8 = 7;

/// Sets up the world that the octets spell, and lets the operation that they spell happen to it.
///
/// Up to six holders of one file come one after the other; what they make of the holders before them is acknowledged, or not.
/// Then locks, and where opens may outlive their connections up to three ends of them. Then up to two requests whose breaks remain in flight.
pub fn operation(octets: &[u8]) {
    let mut octets = Octets::new(octets);
    let mut world = World::new(octets.profile());
    // A file as a rule, or the directory that it stands in.
    let name = if octets.rarely(8) { FILES } else { 0 };
    for _ in 0..octets.below(HOLDERS) {
        world.step(Step::Create(octets.wish(Some(name))));
        // A holder that has to wait for another gets in when that one gives up what it has.
        for _ in 0..octets.below(3) {
            world.step(Step::Ack { slot: 0, nth: 0, how: 0, level: 0 });
        }
        let (fails, empty) = (octets.rarely(16), octets.rarely(3));
        world.step(Step::Opened { nth: 0, fails, empty });
    }
    for _ in 0..octets.below(4) {
        world.step(octets.lock());
    }
    if octets.lasting {
        for _ in 0..octets.below(4) {
            world.step(octets.lasting_step());
        }
    }
    for _ in 0..octets.below(3) {
        let step = if octets.below(2) == 0 {
            Step::Create(octets.wish(Some(name)))
        } else {
            octets.operate(Some(name))
        };
        world.step(step);
    }
    world.step(octets.step(Some(name)));
    world.end();
}
