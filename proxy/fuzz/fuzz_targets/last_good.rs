#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fleetway_proxy::fuzz::last_good(data));
