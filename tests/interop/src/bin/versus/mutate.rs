//! Damages chains, the same way in every run with one seed.

use crate::octets::{APP_INSTANCE_ID, APP_INSTANCE_VERSION};
use crate::random::Random;

/// No chain grows beyond this, so none has more than 64 elements: one that walks takes 24 octets at least.
const LONGEST: usize = 1024;

/// Values that length fields go wrong with.
const WRONG: [u32; 14] = [0, 1, 3, 4, 8, 15, 16, 17, 20, 24, 0x7fff_ffff, 0xffff, 0xffff_fff8, 0xffff_ffff];
const NAMES: [&[u8]; 14] = [
    b"DHnQ",
    b"DHnC",
    b"DH2Q",
    b"DH2C",
    b"RqLs",
    b"MxAc",
    b"QFid",
    b"AlSi",
    b"TWrp",
    b"ExtA",
    b"SecD",
    b"FooO",
    &APP_INSTANCE_ID,
    &APP_INSTANCE_VERSION,
];

/// Puts a damaged copy of one of `seeds` into `chain`. One in sixteen is not damaged at all.
pub(crate) fn mutate(random: &mut Random, seeds: &[Vec<u8>], chain: &mut Vec<u8>) {
    chain.clear();
    chain.extend(&seeds[random.below(seeds.len())]);
    let blows = [0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4][random.below(16)];
    for _ in 0..blows {
        match random.below(9) {
            0 => flip(random, chain),
            1 => set(random, chain),
            2 => chain.truncate(random.below(chain.len() + 1)),
            3 => extend(random, chain),
            4 => {
                let other = random.below(seeds.len());
                splice(random, &seeds[other], chain);
            }
            5 => rename(random, chain),
            _ => tweak(random, chain),
        }
    }
    chain.truncate(LONGEST);
}

fn flip(random: &mut Random, chain: &mut [u8]) {
    let at = random.below(chain.len());
    if let Some(octet) = chain.get_mut(at) {
        *octet ^= 1 << random.below(8);
    }
}

fn set(random: &mut Random, chain: &mut [u8]) {
    let at = random.below(chain.len());
    if let Some(octet) = chain.get_mut(at) {
        *octet = random.octet();
    }
}

fn extend(random: &mut Random, chain: &mut Vec<u8>) {
    let zeros = random.below(2) == 0;
    for _ in 0..=random.below(32) {
        chain.push(if zeros { 0 } else { random.octet() });
    }
}

/// Cuts both chains and puts the head of one before the tail of the other, at the edges of elements or anywhere.
fn splice(random: &mut Random, other: &[u8], chain: &mut Vec<u8>) {
    let (head, tail) = if random.below(2) == 0 {
        let (heads, tails) = (starts(chain), starts(other));
        (pick(random, &heads), pick(random, &tails))
    } else {
        (random.below(chain.len() + 1), random.below(other.len() + 1))
    };
    chain.truncate(head);
    chain.extend(other.get(tail..).unwrap_or_default());
}

/// Sets one of the five fields of an element that say where something is and how long.
fn tweak(random: &mut Random, chain: &mut [u8]) {
    const FIELDS: [(usize, usize); 5] = [(0, 4), (4, 2), (6, 2), (10, 2), (12, 4)];
    let element = pick(random, &starts(chain));
    let (at, width) = FIELDS[random.below(FIELDS.len())];
    let len = u32::try_from(chain.len()).unwrap_or(u32::MAX);
    let Some(field) = chain.get_mut(element + at..element + at + width) else { return };
    let mut old = [0; 4];
    old[..width].copy_from_slice(field);
    let old = u32::from_le_bytes(old);
    let near = [1, 4, 8, 16][random.below(4)];
    let new = match random.below(6) {
        0 => old.wrapping_add(near),
        1 => old.wrapping_sub(near),
        2 => len
            .wrapping_sub(u32::try_from(element).unwrap_or(0))
            .wrapping_sub([0, 8, 15, 16, 17][random.below(5)]),
        3 => u32::from_le_bytes(std::array::from_fn(|_| random.octet())),
        _ => WRONG[random.below(WRONG.len())],
    };
    field.copy_from_slice(&new.to_le_bytes()[..width]);
}

/// Gives an element another name, of the length that it has now.
fn rename(random: &mut Random, chain: &mut [u8]) {
    let element = pick(random, &starts(chain));
    let name = NAMES[random.below(NAMES.len())];
    if let Some(place) = chain.get_mut(element + 16..element + 16 + name.len()) {
        place.copy_from_slice(name);
    }
}

/// Where elements start, as far as they can be followed.
fn starts(chain: &[u8]) -> Vec<usize> {
    let mut starts = vec![0];
    let mut at = 0_usize;
    while let Some(&[a, b, c, d]) = chain.get(at..).and_then(<[u8]>::first_chunk) {
        let next = u32::from_le_bytes([a, b, c, d]) as usize;
        if next < 16 || next > chain.len() {
            break;
        }
        at += next;
        if at + 16 <= chain.len() {
            starts.push(at);
        }
    }
    starts
}

fn pick(random: &mut Random, among: &[usize]) -> usize {
    among.get(random.below(among.len())).copied().unwrap_or(0)
}
