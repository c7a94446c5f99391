use std::{collections::BTreeMap, fs, path::Path};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::*;

/// The seeds of a target, by name.
fn seeds(target: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let entries = fs::read_dir(folder.join(target)).unwrap();
    let seeds: BTreeMap<_, _> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds
}

/// The names in a folder of `proxy/fuzz`, without their endings.
fn names(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(folder);
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// `seed` with up to four bytes, or runs of bytes, changed.
fn mutated(seed: &[u8], random: &mut SmallRng) -> Vec<u8> {
    /// What parsers stumble over.
    const ODD: &[u8] = b"\0\r\n\t ,;:/%.-+\"_\x0b\x7f\xff0aAfF";
    let mut bytes = seed.to_vec();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=bytes.len());
        let end = random.random_range(at..=bytes.len().min(at + 16));
        let odd = ODD[random.random_range(0..ODD.len())];
        match random.random_range(0..6) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.insert(at, odd),
            2 => bytes.truncate(at),
            3 => {
                let run = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, run));
            }
            4 if at < bytes.len() => bytes[at] = odd,
            _ if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            _ => {}
        }
    }
    bytes
}

#[test]
fn every_target_has_a_program_and_seeds() {
    let targets = TARGETS.map(|(name, _)| name);
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("seeds"), targets);
}

#[test]
fn the_properties_hold_of_the_seeds() {
    let mut broken = Vec::new();
    for (name, holds) in TARGETS {
        holds(b"");
        for (seed, bytes) in seeds(name) {
            if std::panic::catch_unwind(|| holds(&bytes)).is_err() {
                broken.push(seed);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_properties_hold_of_what_is_easily_made_of_the_seeds() {
    let mut random = SmallRng::seed_from_u64(7);
    let mut broken = Vec::new();
    for (name, holds) in TARGETS {
        for (seed, bytes) in seeds(name) {
            for _ in 0..50 {
                let input = mutated(&bytes, &mut random);
                if std::panic::catch_unwind(|| holds(&input)).is_err() {
                    broken.push(format!("{} of {seed}", input.escape_ascii()));
                    break;
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
