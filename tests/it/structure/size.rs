//! A file is read in one sitting.

use crate::sources::{code_of, read, root, source_files};

const LOGIC_LINES_MAX: usize = 600;

/// Larger ones, each with what it is held to until it is split.
const LARGER: &[(&str, usize)] = &[("domain/task.rs", 800)];

/// Lines that are neither blank, nor comments, nor tests.
fn lines_of_logic(text: &str) -> usize {
    code_of(text).lines().filter(|line| !line.trim().is_empty()).count()
}

#[test]
fn no_file_holds_more_than_can_be_kept_in_mind() {
    let source = root().join("src");
    let mut larger = vec![];
    for path in source_files() {
        let name = path.strip_prefix(&source).expect("a file in src").display().to_string();
        let lines = lines_of_logic(&read(&path));
        let most = LARGER.iter().find(|(known, _)| *known == name).map_or(LOGIC_LINES_MAX, |(_, most)| *most);
        if lines > most {
            larger.push(format!("{name}: {lines} lines of logic, {most} at most"));
        }
        if most > LOGIC_LINES_MAX && lines <= LOGIC_LINES_MAX {
            larger.push(format!("{name} needs no permission any more"));
        }
    }
    assert_eq!(larger, Vec::<String>::new());
    assert_eq!(lines_of_logic("// a\n\nfn f() {\n    g(); // b\n}\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n"), 3);
}
