//! The tree beside the recursive definitions of the RFC, which are as short as they are slow.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::comparison::{Comparison, Fault, beside, root_with};
use super::proof::{is_consistent, is_included, of_consistency, of_inclusion};
use super::span::{Span, consistency, inclusion, tiles_of};
use super::tiles::of_root;
use super::*;

const LARGEST: u64 = 70_000;

/// RFC 6962, section 2.1.
fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash(Sha256::digest([]).into()),
        [one] => *one,
        more => {
            let k = (more.len().next_power_of_two() / 2).max(1);
            let mut bytes = vec![1];
            bytes.extend(mth(&more[..k]).0);
            bytes.extend(mth(&more[k..]).0);
            Hash(Sha256::digest(bytes).into())
        }
    }
}

/// Section 2.1.1.
fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() <= 1 {
        return vec![];
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(k);
    if m < k { [path(m, left), vec![mth(right)]].concat() } else { [path(m - k, right), vec![mth(left)]].concat() }
}

/// Section 2.1.2.
fn subproof(m: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if known { vec![] } else { vec![mth(leaves)] };
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(k);
    if m <= k { [subproof(m, left, known), vec![mth(right)]].concat() } else { [subproof(m - k, right, false), vec![mth(left)]].concat() }
}

fn told(position: u64) -> Told {
    Told {
        position,
        event: format!("task/{position}/1"),
        event_type: "task_created".into(),
        recorded_at_us: 1_000_000 * i64::try_from(position).unwrap(),
        commitment: Hash(Sha256::digest(position.to_be_bytes()).into()),
    }
}

fn leaves(size: u64) -> Vec<Hash> {
    (1..=size).map(|position| told(position).leaf_hash()).collect()
}

/// Every tile of a tree that grew in steps.
fn grown(leaves: &[Hash], step: usize) -> (Kept, Growth) {
    let (mut tiles, mut growth) = (Kept::new(), Growth::default());
    for some in leaves.chunks(step.max(1)) {
        // Each step begins from what is kept.
        growth = Growth::of(growth.size(), &tiles).expect("its tiles");
        some.iter().for_each(|leaf| growth.append(*leaf));
        tiles.extend(growth.take_tiles());
    }
    (tiles, growth)
}

#[test]
fn a_leaf_is_position_and_commitment() {
    let commitment = Hash([7; 32]);
    let leaf = leaf(258, &commitment);
    assert_eq!(leaf[..8], [0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(leaf[8..], [7; 32]);
    let mut hashed = vec![0];
    hashed.extend(leaf);
    assert_eq!(Hash::of_leaf(&leaf), Hash(Sha256::digest(hashed).into()));
}

/// Of the test data of Certificate Transparency, which every library of such trees has.
#[test]
fn roots_are_those_that_others_compute() {
    let data: [&[u8]; 8] = [
        b"",
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
    ];
    let leaves: Vec<Hash> = data.iter().map(|leaf| Hash::of_leaf(leaf)).collect();
    let (tiles, growth) = grown(&leaves, 3);
    assert_eq!(growth.root().to_string(), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    assert_eq!(tiles.root(1).unwrap().to_string(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
    assert_eq!(tiles.root(0).unwrap().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

#[test]
fn tiles_have_one_name_each() {
    for (resource, name) in [
        (Resource::Hashes { tile: TileId { level: 0, number: 1_234_067 }, width: 256 }, "0/x001/x234/067"),
        (Resource::Hashes { tile: TileId { level: 2, number: 0 }, width: 1 }, "2/000.p/1"),
        (Resource::Entries { number: 999, width: 255 }, "entries/999.p/255"),
        (Resource::Entries { number: 1000, width: 256 }, "entries/x001/000"),
        (Resource::Hashes { tile: TileId { level: 63, number: 5 }, width: 256 }, "63/005"),
    ] {
        assert_eq!((resource.to_string().as_str(), Resource::parse(name)), (name, Some(resource)));
    }
    for none in [
        "",
        "0",
        "0/",
        "/000",
        "0/0",
        "0/00",
        "0/0000",
        "00/000",
        "64/000",
        "-1/000",
        "+1/000",
        "0/x000/001",
        "0/001/x002",
        "0/xx01",
        "0/x001",
        "a/000",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/01",
        "0/000.p/",
        "0/000.p/1/2",
        "entries/",
        "entries",
        "0/000/",
        "0/+01",
        "0/x001/+02",
        "0/999999999999999999999999",
        "Entries/000",
        "0/000.p/1.p/1",
        "0/٣00",
    ] {
        assert_eq!(Resource::parse(none), None, "{none}");
    }
    // The example of the specification.
    let widths = |level| {
        let mut tiles: Vec<usize> = TileId::all_in(70_000).filter(|tile| tile.level == level).map(|tile| tile.width_in(70_000)).collect();
        (tiles.pop(), tiles.len(), tiles.iter().all(|width| *width == 256))
    };
    assert_eq!((widths(0), widths(1), widths(2)), ((Some(112), 273, true), (Some(17), 1, true), (Some(1), 0, true)));
    assert_eq!(TileId { level: 63, number: 0 }.width_in(u64::MAX), 0);
}

#[test]
fn checkpoints_are_three_lines() {
    let head = Checkpoint { origin: "keystone-edge/a".into(), size: 20_852_163, root: Hash([9; 32]) };
    assert_eq!(head.text(), "keystone-edge/a\n20852163\nCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n");
    assert_eq!(Checkpoint::parse(&head.text()), Some(head.clone()));
    assert_eq!(Checkpoint::parse(&(head.text() + "extension\n")), Some(head.clone()));
    for (from, to) in
        [("20852163", "020852163"), ("20852163", "+20852163"), ("20852163", ""), ("CQk", "CQ"), ("CQk", "%Qk"), ("keystone-edge/a", "")]
    {
        assert_eq!(Checkpoint::parse(&head.text().replacen(from, to, 1)), None, "{to}");
    }
}

#[test]
fn a_proof_among_a_million_is_small() {
    let (size, json) = (1_000_000u64, |hashes: usize| 2 + hashes * (44 + 3));
    let longest = (0..size).step_by(997).map(|index| inclusion(index, size).len()).max().unwrap();
    assert_eq!(longest, 20);
    assert!(json(longest) < 1000);
    assert!(consistency(size - 1, size).len() <= 21);
    // As an answer of the route, with its names.
    assert!(json(longest) + 600 < 2000);
}

fn damaged(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = vec![];
    for at in 0..proof.len() {
        let (mut changed, mut dropped, mut added) = (proof.to_vec(), proof.to_vec(), proof.to_vec());
        changed[at].0[at % 32] ^= 1;
        dropped.remove(at);
        added.insert(at, proof[at]);
        all.extend([changed, dropped, added]);
        if at > 0 && proof[at - 1] != proof[at] {
            let mut swapped = proof.to_vec();
            swapped.swap(at - 1, at);
            all.push(swapped);
        }
    }
    all.push([proof, &[Hash([0; 32])]].concat());
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn proofs_from_tiles_are_those_of_the_rfc_and_every_damage_is_refused(size in 1u64..900, a in 0u64..900, b in 1u64..900, step in 1usize..400) {
        let leaves = leaves(size);
        let (tiles, growth) = grown(&leaves, step);
        let root = mth(&leaves);
        prop_assert_eq!(growth.root(), root);
        prop_assert_eq!(tiles.root(size), Some(root));
        let index = a % size;
        let proof = of_inclusion(&tiles, index, size).unwrap();
        let at = usize::try_from(index).unwrap();
        prop_assert_eq!(&proof, &path(at, &leaves));
        prop_assert!(is_included(leaves[at], index, size, &root, &proof));
        for damaged in damaged(&proof) {
            prop_assert!(!is_included(leaves[at], index, size, &root, &damaged));
        }
        prop_assert!(!is_included(Hash([0; 32]), index, size, &root, &proof));
        prop_assert!(!is_included(leaves[at], size, size, &root, &proof));
        if size > 1 {
            prop_assert!(!is_included(leaves[at], (index + 1) % size, size, &root, &proof));
        }
        let old = 1 + (b - 1) % size;
        let from = usize::try_from(old).unwrap();
        let old_root = mth(&leaves[..from]);
        let proof = of_consistency(&tiles, old, size).unwrap();
        prop_assert_eq!(&proof, &subproof(from, &leaves, true));
        prop_assert!(is_consistent(old, size, &old_root, &root, &proof));
        for damaged in damaged(&proof) {
            prop_assert!(!is_consistent(old, size, &old_root, &root, &damaged));
        }
        let other = Hash([1; 32]);
        prop_assert!(!is_consistent(old, size, &other, &root, &proof));
        prop_assert!(!is_consistent(old, size, &old_root, &other, &proof));
        prop_assert!(!is_consistent(0, size, &old_root, &root, &proof));
        prop_assert!(!is_consistent(size + 1, size, &old_root, &root, &proof));
        // Only the tiles that are named are needed.
        let wanted = tiles_of(&[inclusion(index, size), consistency(old, size)].concat());
        let some: Kept = tiles.into_iter().filter(|(id, _)| wanted.contains(id)).collect();
        prop_assert!(of_inclusion(&some, index, size).is_some() && of_consistency(&some, old, size).is_some());
    }

    #[test]
    fn a_range_and_what_stands_beside_it_make_the_root(size in 1u64..2000, a in 0u64..2000, b in 0u64..2000) {
        let (start, end) = (a.min(b) % size, a.max(b) % size + 1);
        prop_assume!(start < end);
        let leaves = leaves(size);
        let (tiles, _) = grown(&leaves, 500);
        let needed = tiles_of(&beside(size, Span { start, end }));
        let few: Kept = tiles.iter().filter(|(id, _)| needed.contains(id)).map(|(id, hashes)| (*id, hashes.clone())).collect();
        let range = &leaves[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
        prop_assert_eq!(root_with(&few, size, start, range), Some(mth(&leaves)));
    }

    #[test]
    fn what_was_done_to_an_event_is_named(size in 20u64..700, at in 0u64..700, other in 0u64..700, kind in 0..6) {
        let (at, other) = (2 + at % (size - 2), 2 + other % (size - 2));
        prop_assume!(at != other);
        let (tree, _) = grown(&leaves(size), 1000);
        let mut events: Vec<Told> = (1..=size).map(told).collect();
        let index = usize::try_from(at - 1).unwrap();
        match kind {
            0 => events[index].commitment.0[3] ^= 1,
            1 => { events.remove(index); }
            // And the others moved up, or down.
            2 => { events.remove(index); }
            3 => events.insert(index, Told { commitment: Hash([5; 32]), ..told(at) }),
            4 => events.swap(index, usize::try_from(other - 1).unwrap()),
            _ => {
                events[index].commitment.0[3] ^= 1;
                events[index].recorded_at_us -= 3_600_000_000;
            }
        }
        if kind != 1 {
            (1..).zip(&mut events).for_each(|(position, event)| event.position = position);
        }
        let mut comparison = Comparison::whole([Checkpoint { origin: "o".into(), size, root: tree.root(size).unwrap() }]);
        for number in 0..size.div_ceil(256) {
            let hashes = tree.tile(TileId { level: 0, number }).unwrap();
            let first = 1 + 256 * number;
            let found = events.iter().filter(|event| (first..first + 256).contains(&event.position)).cloned().collect();
            comparison.compare(first, hashes, found);
        }
        let faults = comparison.faults();
        let first = faults.first().map(|fault| (fault.kind(), fault.position()));
        let expected = match kind {
            0 => ("changed", at),
            1 | 2 => ("removed", at),
            3 => ("inserted", at),
            4 => ("reordered", at.min(other)),
            _ => ("back-dated", at),
        };
        prop_assert_eq!(first, Some((expected.0, Some(expected.1))), "{:?}", &faults[..faults.len().min(3)]);
        prop_assert!(faults.iter().all(|fault| !matches!(fault, Fault::Head { .. })), "the tiles are the ones that were signed");
    }
}

#[test]
fn a_tree_that_was_made_anew_is_not_the_one_that_was_signed() {
    let (tree, _) = grown(&leaves(600), 1000);
    let signed = |size| Checkpoint { origin: "o".into(), size, root: tree.root(size).unwrap() };
    let mut events: Vec<Told> = (1..=600).map(told).collect();
    events[299].commitment.0[0] ^= 1;
    let mut comparison = Comparison::whole([signed(200), signed(400), signed(500)]);
    comparison.follow(1, 600, events.clone());
    assert_eq!(comparison.faults(), [Fault::Head { sound_to: 200, size: 400 }]);
    events.truncate(450);
    let mut comparison = Comparison::whole([signed(200), signed(500)]);
    comparison.follow(1, 450, events.clone());
    assert_eq!(comparison.faults(), [Fault::CutShort { size: 500, events: 450 }]);
    events.remove(9);
    let mut comparison = Comparison::whole([signed(5), signed(200)]);
    comparison.follow(1, 449, events);
    assert_eq!(comparison.faults()[0], Fault::Removed { position: 10 });
}

/// Once, because it is many hashes.
#[test]
fn a_tree_of_three_levels_of_tiles_is_the_one_of_the_rfc() {
    let leaves = leaves(LARGEST);
    let (tiles, growth) = grown(&leaves, 4096);
    assert_eq!(growth.root(), mth(&leaves));
    assert_eq!(tiles.keys().copied().collect::<Vec<_>>(), TileId::all_in(LARGEST).collect::<Vec<_>>());
    assert!(tiles.iter().all(|(id, hashes)| hashes.len() == id.width_in(LARGEST)));
    assert!(of_root(LARGEST).all(|id| tiles.contains_key(&id)));
    for index in [0, 255, 256, 65_535, 65_536, LARGEST - 1] {
        let proof = of_inclusion(&tiles, index, LARGEST).unwrap();
        assert_eq!(proof, path(usize::try_from(index).unwrap(), &leaves));
    }
}
