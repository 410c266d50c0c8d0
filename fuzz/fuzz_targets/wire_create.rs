#![no_main]

#[path = "../../tests/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    bodies::wire::header(octets);
    bodies::wire::create(octets);
});
