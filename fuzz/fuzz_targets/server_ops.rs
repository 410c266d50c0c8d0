#![no_main]

#[path = "../../tests/bodies/mod.rs"]
mod bodies;
#[path = "../../tests/model/mod.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    bodies::server::histories(octets);
    model::world::history(octets);
    model::world::promises(octets);
});
