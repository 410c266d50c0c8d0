#![no_main]

#[path = "../../tests/cross/mod.rs"]
mod cross;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| cross::world::history(octets));
