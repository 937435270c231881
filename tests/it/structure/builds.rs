//! What one command compiled serves the other.

use std::collections::BTreeSet;
use std::process::Command;

use crate::sources::root;

/// Every dependency of some edges, with its features.
fn dependencies(edges: &str) -> BTreeSet<(String, String)> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--locked", "--offline", "--prefix", "none", "--format", "{p}|{f}|", "--edges", edges]).current_dir(root());
    let output = command.output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let parts = |line: &str| {
        let (package, rest) = line.split_once('|')?;
        let (features, _) = rest.split_once('|')?;
        Some((package.trim_end_matches(" (proc-macro)").to_owned(), features.to_owned()))
    };
    text.lines().filter_map(parts).collect()
}

/// The blocks in `Cargo.toml` that name features alone see to it.
#[test]
fn tests_compile_no_dependency_of_the_program_again() {
    let (program, tests) = (dependencies("normal,build"), dependencies("normal,build,dev"));
    assert!(program.len() > 100, "{} dependencies", program.len());
    let known: BTreeSet<&String> = program.iter().map(|(package, _)| package).collect();
    let again: Vec<_> = tests.difference(&program).filter(|(package, _)| known.contains(package)).collect();
    assert!(again.is_empty(), "with other features than in the program, so compiled twice: {again:#?}");
}
