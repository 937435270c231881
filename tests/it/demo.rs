//! `keystone demo`, as somebody runs it who has just cloned the project.

use std::process::Command;

#[test]
fn the_demo_keeps_every_promise() {
    let folder = crate::harness::temp_folder();
    let ran = Command::new(env!("CARGO_BIN_EXE_keystone"))
        .args(["demo", "--seconds", "1", "--data-dir"])
        .arg(folder.path().join("shift"))
        .current_dir(folder.path())
        .output()
        .expect("the program runs");
    let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}\n{complained}");
    assert!(said.contains("20 of 24 recordings are episodes, byte for byte."), "{said}");
    assert!(said.contains("Every promise was kept."), "{said}");
}
