#![no_main]

#[path = "../../tests/model/mod.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| model::judge::operation(octets));
