#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| leasehold_interop::smb::hostile::hostile(octets));
