//! The codecs without a heap: a lease request written into a fixed buffer, and read back without copying.
//!
//! Needs no feature of the crate: `cargo run --no-default-features --example no_alloc_codec`.

use std::error::Error;

use leasehold::wire::{ContextWriter, Contexts, Lease, LeaseFlags, LeaseV2, RequestContexts};
use leasehold::{Epoch, LeaseKey, LeaseState};

fn main() -> Result<(), Box<dyn Error>> {
    let lease = LeaseV2 {
        key: LeaseKey::new(*b"sixteen octets!!"),
        state: LeaseState::RWH,
        flags: LeaseFlags::empty(),
        parent: None,
        epoch: Epoch::ZERO,
    };

    let mut buffer = [0; 128];
    let mut writer = ContextWriter::new(&mut buffer);
    writer.push(b"MxAc", &[])?;
    writer.put(&lease)?;
    let len = writer.finish();
    let chain = buffer.get(..len).ok_or("a chain longer than its buffer")?;

    println!("{len} octets:");
    for context in Contexts::new(chain) {
        let context = context?;
        println!("  {} with {} octets of data", context.name.escape_ascii(), context.data.len());
    }

    let mut others = 0u8;
    let ours = RequestContexts::decode(chain, |_| others = others.saturating_add(1))?;
    println!("ours: {:?}\nothers: {others}", ours.lease);
    if ours.lease != Some(Lease::V2(lease)) || others != 1 {
        return Err("what was read is not what was written".into());
    }

    // Cut short, the error says what is wrong, and where.
    let cut = chain.get(..len.saturating_sub(1)).ok_or("an empty chain")?;
    match RequestContexts::decode(cut, |_| ()) {
        Ok(_) => Err("a chain that was cut short is no chain".into()),
        Err(error) => {
            println!("cut short: {error}\nok: what was written was read, and nothing else");
            Ok(())
        }
    }
}
