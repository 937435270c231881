//! What `docker compose` is told fits the program and the example of its secrets. No engine is needed to see that.

use clap::Parser as _;
use keystone_edge::cli::Arguments;

use crate::sources::{is_word, read, root};

fn compose() -> String {
    read(&root().join("docker-compose.yml"))
}

/// The lines of one service.
fn service(compose: &str, name: &str) -> String {
    let (_, rest) = compose.split_once(&format!("\n  {name}:\n")).unwrap_or_else(|| panic!("there is no service `{name}`"));
    rest.lines().take_while(|line| line.is_empty() || line.starts_with("    ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_robot_of_the_profile_starts_with_arguments_that_there_are() {
    let robot = service(&compose(), "robot");
    assert!(robot.contains("profiles: [\"robot\"]"), "{robot}");
    let arguments = robot.lines().find_map(|line| line.trim().strip_prefix("command: ")).expect("a command");
    let arguments: Vec<String> = serde_json::from_str(arguments).expect("a list of words");
    let words = std::iter::once("keystone").chain(arguments.iter().map(String::as_str));
    if let Err(error) = Arguments::try_parse_from(words) {
        panic!("{error}");
    }
    // It signs in as the administrator that the server is told of.
    let password = "${KEYSTONE_ADMIN_PASSWORD:?set KEYSTONE_ADMIN_PASSWORD}";
    assert!(robot.contains(&format!("KEYSTONE_SIMULATE_PASSWORD: {password}")), "{robot}");
    assert!(service(&compose(), "keystone").contains(&format!("KEYSTONE_ADMIN_PASSWORD: {password}")));
}

#[test]
fn what_has_to_be_set_stands_in_the_example() {
    let (compose, example) = (compose(), read(&root().join(".env.example")));
    let names: Vec<&str> =
        compose.match_indices("${").map(|(at, _)| compose[at + 2..].split(|c| !is_word(c)).next().unwrap_or_default()).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(example.lines().any(|line| line.trim_start_matches('#').starts_with(&format!("{name}="))), "{name} is not in .env.example");
    }
}
