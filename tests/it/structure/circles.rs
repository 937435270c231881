//! Two files that use each other are one file that nobody can read by halves.
//!
//! What several files of a folder share stands in a file below them, not in the `mod.rs` above: a parent re-exports
//! its children as it likes, but a child that uses what its parent's own code defines, while that code uses the child,
//! is a circle.

use super::files::Files;

#[test]
fn no_circle_between_files() {
    let files = Files::of_the_program();
    let shown = |circle| format!("{circle:?}\n    {}", files.arrows_among(&circle).join("\n    "));
    let found: Vec<String> = files.circles().into_iter().map(shown).collect();
    assert!(found.is_empty(), "circles between files:\n{}", found.join("\n"));
}

/// A program in small, its circles as texts.
fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let files = Files::of(files.iter().map(|(name, code)| ((*name).to_owned(), (*code).to_owned())));
    files.circles().into_iter().map(|circle| circle.into_iter().collect()).collect()
}

#[test]
fn a_planted_circle_is_found() {
    let crossed = [("a.rs", "use crate::b::B;\npub struct A;"), ("b.rs", "pub struct B;\nfn f() { crate::a::A; }")];
    assert_eq!(circles(&crossed), [["a.rs", "b.rs"]]);
    let three = [
        ("a.rs", "use crate::b;\nfn f() { b::x(); }"),
        ("b.rs", "use super::c::{self, C};"),
        ("c.rs", "pub struct C;\nuse crate::{a, b};\nfn f() { a::f() }"),
    ];
    assert_eq!(circles(&three), [["a.rs", "b.rs", "c.rs"]]);
    // The parent's own code uses the child, which uses what the parent defines.
    let parent =
        [("m/mod.rs", "mod child;\npub use child::C;\npub struct P;\nfn f(c: C) {}"), ("m/child.rs", "use super::P;\npub struct C;")];
    assert_eq!(circles(&parent), [["m/child.rs", "m/mod.rs"]]);
    let called = [("m/mod.rs", "mod child;\npub struct P;\nfn f() { child::g() }"), ("m/child.rs", "pub fn g(p: super::P) {}")];
    assert_eq!(circles(&called), [["m/child.rs", "m/mod.rs"]]);
}

#[test]
fn what_is_only_passed_on_is_no_circle() {
    // A parent that only declares and re-exports; children that meet through it.
    let sisters = [
        ("m/mod.rs", "mod a;\nmod b;\npub use a::A;\npub use b::{B, other as renamed};\npub struct P;"),
        ("m/a.rs", "use super::B;\npub struct A(super::P);"),
        ("m/b.rs", "pub struct B;\npub fn other() {}"),
        ("c.rs", "use crate::m::{A, renamed};"),
    ];
    assert_eq!(circles(&sisters), Vec::<Vec<String>>::new());
    let through = [
        ("m/mod.rs", "mod a;\nmod b;\npub use a::A;\npub use b::B;"),
        ("m/a.rs", "use super::B;\npub struct A;"),
        ("m/b.rs", "use crate::m::A;\npub struct B;"),
    ];
    assert_eq!(circles(&through), [["m/a.rs", "m/b.rs"]], "the children use each other, whatever they go through");
    let globbed = [
        ("m/mod.rs", "mod ids;\npub use ids::*;\npub struct P;\nfn f(id: Id) {}"),
        ("m/ids.rs", "pub struct Id;\nuse std::fmt;"),
        ("m/x.rs", "use super::Id;"),
    ];
    assert_eq!(circles(&globbed), Vec::<Vec<String>>::new());
    let others = [("a.rs", "use std::b::B;\nuse tokio::sync::b;\nfn f() { x.b::<u8>(); b::channel(); }"), ("b.rs", "use crate::a::A;")];
    assert_eq!(circles(&others), Vec::<Vec<String>>::new(), "other crates have modules, too");
}
