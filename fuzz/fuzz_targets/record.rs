#![no_main]

#[path = "../../tests/bodies/mod.rs"]
mod bodies;

use bodies::record::{record, unsealed};
use leasehold::persist::{ClientRecord, Record};

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    record::<Record>(octets);
    record::<ClientRecord>(octets);
    unsealed::<Record>(octets);
    unsealed::<ClientRecord>(octets);
});
