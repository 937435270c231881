//! Errors on their way to a person: every cause is told, and what Postgres means is decided once.

use crate::sources::{code_of, module_of, read, root, source_files};

/// Ways of logging an error that leave its causes out: as its own text, and as a value, which lines of JSON cut.
const WITHOUT_CAUSES: &[&str] = &["error = %", "error = ?", "as &dyn Error", "as &dyn std::error::Error", "anyhow!(\"{error}\")"];

/// A rejection of an upload has no causes.
const NO_ERRORS: &[&str] = &["error = %rejection"];

fn logged_without_causes(code: &str) -> Vec<&str> {
    let lines = code.lines().filter(|line| !NO_ERRORS.iter().any(|fine| line.contains(fine)));
    lines.filter(|line| WITHOUT_CAUSES.iter().any(|way| line.contains(way))).map(str::trim).collect()
}

#[test]
fn an_error_in_a_log_keeps_its_causes() {
    let source = root().join("src");
    let mut found = vec![];
    for path in source_files() {
        let name = path.strip_prefix(&source).expect("a file in src").display().to_string();
        let code = code_of(&read(&path));
        let without = logged_without_causes(&code);
        found.extend(without.into_iter().map(|line| format!("{name}: {line}")));
    }
    assert_eq!(found, Vec::<String>::new(), "`telemetry::chain` has the causes");
    assert_eq!(logged_without_causes("warn!(error = %error, \"x\");\nwarn!(error = chain(&error));"), ["warn!(error = %error, \"x\");"]);
}

#[test]
fn what_postgres_means_is_decided_in_one_place() {
    let mut found = vec![];
    for path in source_files().into_iter().filter(|path| module_of(path) != "pg") {
        let code = code_of(&read(&path));
        let ways = ["SqlState", "as_db_error", "code.code()", "code().code()"];
        found.extend(ways.iter().filter(|way| code.contains(**way)).map(|way| format!("{}: {way}", path.display())));
    }
    assert_eq!(found, Vec::<String>::new(), "`pg::fault` and `pg::no_session` know the codes");
}
